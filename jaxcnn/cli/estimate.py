"""`jaxcnn estimate`: what a network takes on a TPU, told by the TPU's compiler."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from jaxcnn.cli.arguments import Parser, whole
from jaxcnn.cli.wording import UsageError, known
from jaxcnn.inspect import CHIPS, estimate
from jaxcnn.models import create, names

HELP = (
    "Estimate what a model takes on a TPU: time by layer, what bounds it, memory. No TPU is needed, only its compiler."
)


def arguments(parser: Parser) -> None:
    """The flags of `estimate`."""
    parser.add_argument("model", metavar="MODEL", help="one of jaxcnn models")
    parser.add_argument("--chip", default="v5e", choices=list(CHIPS), help="the chip; by default v5e, as on Colab")
    parser.add_argument("--batch", default=128, metavar="N", type=whole(1), help="how many examples; by default 128")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="in which it computes")
    parser.add_argument("--train", action="store_true", help="a whole training step, not only the forward pass")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")


def command(given: Mapping[str, Any]) -> int:
    """Print the estimate."""
    known("model", given["model"], names())
    try:
        found = estimate(
            create(given["model"]),
            chip=given.get("chip", "v5e"),
            batch_size=given.get("batch", 128),
            dtype=given.get("dtype", "bfloat16"),
            train=given.get("train", False),
        )
    except RuntimeError as error:
        if "not installed" not in str(error):
            raise
        raise UsageError(str(error)) from None
    print(json.dumps(dataclasses.asdict(found), indent=1) if given.get("json") else found)
    return 0
