"""The command: its subcommands, its errors in one line, its exit codes."""

import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from jaxcnn.cli.exit_codes import CLOSED_PIPE, DONE, FAILED, INTERRUPTED, WRONG_USAGE
from jaxcnn.cli.wording import UsageError, known, own_words, said_of

EXTRA = "jaxcnn: the command line needs the `cli` extra: pip install 'jaxcnn[cli]'"
DESCRIPTION = "Convolutional networks for JAX: train one, look at it, ask it."
CODES = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code: the entry point of the command `jaxcnn`."""
    if not all(importlib.util.find_spec(name) for name in ("matplotlib", "sklearn", "PIL", "pooch")):
        print(EXTRA, file=sys.stderr)
        return WRONG_USAGE
    flags: list[str] = []
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments), flags)
        sys.stdout.flush()  # here, where a closed pipe is handled
        return code
    except BrokenPipeError:
        _close_output()
        return CLOSED_PIPE
    except UsageError as error:
        return _failed(str(error), WRONG_USAGE)
    except KeyboardInterrupt:
        print("\njaxcnn: stopped", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:  # argparse's after --help and --version
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    except Exception as error:
        return _failed(own_words(_said(error), flags), FAILED)


def _run(arguments: list[str], flags: list[str]) -> int:
    """The exit code of a subcommand; its flags are added to `flags`."""
    from jaxcnn import __version__
    from jaxcnn.cli import datasets, doctor, estimate, evaluate, models, predict, summary, train
    from jaxcnn.cli.arguments import Parser

    parser = Parser(prog="jaxcnn", description=DESCRIPTION, epilog=CODES)
    parser.add_argument("--version", action="version", version=f"jaxcnn {__version__}", help="print the version")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    modules: dict[str, ModuleType | Any] = {
        "train": train,
        "evaluate": evaluate,
        "predict": predict,
        "summary": summary,
        "estimate": estimate,
        "models": models,
        "datasets": datasets,
        "doctor": doctor,
    }
    parsers = {}
    for name, module in modules.items():
        parsers[name] = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.arguments(parsers[name])
    if not arguments:
        parser.print_help()
        return DONE
    if not arguments[0].startswith("-"):
        known("command", arguments[0], [*modules, "--help", "--version"])
    given, unknown = parser.parse_known_args(arguments)
    words = vars(given)
    command = words.pop("command", None)
    (parsers[command] if command else parser).refuse(unknown)
    flags += parsers[command].flags
    return modules[command].command(words)


def _said(error: Exception) -> str:
    """An error in words: its own for an error that is meant for users, else the advice where to look."""
    from jaxcnn.data import DataError

    if isinstance(error, OSError):
        return said_of(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return "not enough memory: a smaller --batch-size, --size or --model needs less"
    if isinstance(error, DataError | ValueError | TypeError | ImportError | ArithmeticError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__}: {error} ({place.filename}, line {place.lineno})"


def _failed(message: str, code: int) -> int:
    print(f"jaxcnn: {message}", file=sys.stderr)
    return code


def _close_output() -> None:
    """Write nothing more to a pipe that nobody reads, not even when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
