"""`jaxcnn evaluate`: a run's score on its test images, and the report in its folder."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxcnn import data
from jaxcnn.cli import accelerators, run, settings
from jaxcnn.cli.arguments import Parser, devices, path
from jaxcnn.cli.recipes import images
from jaxcnn.cli.wording import plural, said_of
from jaxcnn.train import score
from jaxcnn.viz.reports import write_report

HELP = "Loss, accuracy and the most frequent mistakes of a run's model on its test images."
MISTAKES = 5


def arguments(parser: Parser) -> None:
    """The flags of `evaluate`."""
    parser.add_argument("run", metavar="RUN", type=path, help="the run folder")
    parser.add_argument(
        "--data-dir",
        metavar="FOLDER",
        type=path,
        help="where the dataset's files are, if no longer where they were",
    )
    parser.add_argument(
        "--devices",
        metavar="all|N",
        type=devices,
        help="how many devices share the images; by default all GPUs or TPUs that JAX has here",
    )


def command(given: Mapping[str, Any]) -> int:
    """Evaluate a run."""
    run_dir, mesh = given["run"], accelerators.mesh(given.get("devices"))
    model, _, _ = run.load_model(run_dir)
    asked = settings.read(run_dir)
    splits = images(
        asked.dataset,
        given.get("data_dir", asked.data_dir),
        model.input_shape,
        asked.classes,
        skip_unreadable=asked.skip_unreadable,
    )
    matrix, _ = report(run_dir, splits.test, mesh)
    off = matrix * (1 - np.eye(len(matrix), dtype=int))
    for flat in np.argsort(off, axis=None, kind="stable")[::-1][:MISTAKES]:
        true, predicted = np.unravel_index(flat, off.shape)
        if off[true, predicted]:
            classes = splits.test.classes
            print(f"  {off[true, predicted]:4d} × {classes[true]} taken for {classes[predicted]}")
    return 0


def report(run_dir: Path, test: data.Dataset, mesh: Mesh | None) -> tuple[np.ndarray, bool]:
    """Print a run's score, and write it and the pictures into its folder.

    Returns:
      (matrix, written): the confusion matrix, and whether all files could be written; if not, the reason is printed.
    """
    found = score(run_dir, test, mesh=mesh)
    loss, accuracy = found.scores["loss"], found.scores["accuracy"]
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.2%} on {plural(len(test), 'image')}", flush=True)
    try:
        write_report(run_dir, test, found)
    except OSError as error:
        print(f"jaxcnn: the report could not be written: {said_of(error)}", file=sys.stderr, flush=True)
        return found.matrix, False
    print(
        f"{run_dir}: " + ", ".join(sorted(p.name for p in run_dir.iterdir() if not p.name.startswith("."))), flush=True
    )
    return found.matrix, True
