"""`jaxcnn predict`: the classes of image files, by a run's model."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn import train
from jaxcnn.cli import run
from jaxcnn.cli.arguments import Parser, path, whole
from jaxcnn.data import DataError, read_image
from jaxcnn.models import Model
from jaxcnn.weights import Preprocessing

HELP = "Classes and probabilities of image files (PNG, JPEG, …) by a run's model."
AT_ONCE = 32


def arguments(parser: Parser) -> None:
    """The flags of `predict`."""
    parser.add_argument("run", metavar="RUN", type=path, help="the run folder, or a model's .safetensors file")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", type=path, help="image files, read as those of the training were"
    )
    parser.add_argument(
        "--top", metavar="N", type=whole(1), help="how many classes are printed per image, by default 3"
    )


def command(given: Mapping[str, Any]) -> int:
    """Predict the class of each image; 1 if an image could not be read, after the others are predicted."""
    model, train_state, about = run.load_model(given["run"])
    files, unreadable = given["images"], 0
    for first in range(0, len(files), AT_ONCE):
        readable, inputs = [], []
        for file, found in _read(files[first : first + AT_ONCE], model, about["preprocessing"]):
            if isinstance(found, DataError):
                print(f"jaxcnn: {found}", file=sys.stderr, flush=True)
                unreadable += 1
            else:
                readable.append(file)
                inputs.append(found)
        if not inputs:
            continue
        predicted = train.predict(model, train_state, np.stack(inputs), batch_size=min(AT_ONCE, len(files)))
        for file, values in zip(readable, predicted, strict=True):
            if model.loss is None:  # trained with a loss function of the user: the outputs have no known meaning
                print(f"{file}: " + ", ".join(f"{value:.5g}" for value in values), flush=True)
                continue
            best = np.argsort(-values, kind="stable")[: given.get("top", 3)]
            classes = about["classes"] or range(len(values))
            print(f"{file}: " + ", ".join(f"{classes[i]} {values[i]:.1%}" for i in best), flush=True)
    return 1 if unreadable else 0


def _read(
    files: Sequence[Path], model: Model, preprocessing: Preprocessing | None
) -> Iterator[tuple[Path, np.ndarray | DataError]]:
    """Each file with its pixels for the model, or with the reason why it cannot be read."""
    for file in files:
        try:
            if preprocessing is None:
                rows, columns, channels = model.input_shape
                yield file, read_image(file, (rows, columns, channels))
            else:
                # only a resize that keeps proportions needs the image's own size; the decoder does any other
                height, width = preprocessing.size if preprocessing.resize is None else (None, None)
                pixels = jnp.asarray(read_image(file, (height, width, 3)))
                yield file, np.asarray(preprocessing(pixels[None]))[0]
        except DataError as error:
            yield file, error
