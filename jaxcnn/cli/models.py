"""`jaxcnn models`: the list of models."""

from collections.abc import Mapping
from typing import Any

import jaxcnn
from jaxcnn.cli.arguments import Parser
from jaxcnn.cli.terminal import width, wrapped
from jaxcnn.cli.wording import size_of
from jaxcnn.inspect.summaries import fitted
from jaxcnn.models import create, names, published

HELP = "Print the models there are: input, parameters, multiply-adds at inference, and the accuracy others report."


def arguments(parser: Parser) -> None:
    """`models` has no flags."""


def command(given: Mapping[str, Any]) -> int:
    """Print the models."""
    lines = [("model", "input", "parameters", "multiply-adds", "published top-1")]
    sources = {}
    for name in names():
        model = create(name)
        rows = [row for row in jaxcnn.summary(model).rows if not row.training_only]
        parameters, multiply_adds = (sum(getattr(row, n) for row in rows) for n in ("parameters", "multiply_adds"))
        reported = published(name)
        top1 = f"{reported.top1:.2f} % {reported.dataset}" if reported else "—"
        lines.append((name, size_of(model.input_shape), f"{parameters:,}", f"{multiply_adds:,}", top1))
        if reported:
            sources[reported.dataset] = reported.source
    for line in fitted(
        lines, width(), left=("model", "published top-1"), drop=("multiply-adds", "input", "published top-1")
    ):
        print(line)
    said = "top-1 by " + "; by ".join(f"{source} ({dataset})" for dataset, source in sources.items())
    print(wrapped(said))
    return 0
