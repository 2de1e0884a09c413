"""`jaxcnn summary`: the table of a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jaxcnn
from jaxcnn.cli import run
from jaxcnn.cli.arguments import Parser, whole
from jaxcnn.cli.terminal import width
from jaxcnn.cli.wording import UsageError, alike, known
from jaxcnn.models import create, names

HELP = "Print the table of a model or of a run's: layers, output shapes, parameters, multiply-adds, bytes."


def arguments(parser: Parser) -> None:
    """The flags of `summary`."""
    parser.add_argument("model", metavar="MODEL|RUN", help="one of jaxcnn models, or a run folder")
    parser.add_argument("--num-classes", metavar="N", type=whole(1), help="of the model; by default its own")


def command(given: Mapping[str, Any]) -> int:
    """Print the table."""
    name, options = given["model"], {key: given[key] for key in ("num_classes",) if key in given}
    if name not in names() and Path(name).exists():
        if options:
            raise UsageError("--num-classes is for a model's name: a run's model has the classes of its data")
        model, _, _ = run.load_model(Path(name))
    else:
        if not alike(name, names()):
            raise UsageError(f"{name} is neither a run folder nor a model; models are {', '.join(names())}")
        known("model", name, names())
        try:
            model = create(name, **options)
        except TypeError:
            raise UsageError(f"{name} is for {create(name).num_classes} classes; it has no --num-classes") from None
    print(jaxcnn.summary(model).table(width()))
    return 0
