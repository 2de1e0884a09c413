"""`jaxcnn datasets`: the list of datasets."""

from collections.abc import Mapping
from typing import Any

from jaxcnn import data
from jaxcnn.cli.arguments import Parser
from jaxcnn.cli.terminal import wrapped
from jaxcnn.cli.wording import size_of

HELP = "Print the datasets there are."


def arguments(parser: Parser) -> None:
    """`datasets` has no flags."""


def command(given: Mapping[str, Any]) -> int:
    """Print the datasets."""
    for name in data.names():
        source = data.describe(name)
        print(wrapped(f"{name}: {source.description}"))
        if source.sizes and source.image_shape:
            training, test = source.sizes
            print(wrapped(f"{training:,} training and {test:,} test images of {size_of(source.image_shape)}", "    "))
        print(wrapped(source.license, "    "))
    return 0
