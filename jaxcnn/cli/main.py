"""Subcommands and exit codes."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any

EXTRA = "jaxcnn: the command line needs the `cli` extra: pip install 'jaxcnn[cli]'"


def run() -> None:
    """What the command `jaxcnn` starts."""
    sys.exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code: 0 done, 1 the run failed, 2 wrong usage."""
    if not all(importlib.util.find_spec(name) for name in ("tyro", "matplotlib", "sklearn", "PIL", "pooch")):
        print(EXTRA, file=sys.stderr)
        return 2
    import tyro

    from jaxcnn.cli.commands import Evaluate, Predict, Train, UsageError, datasets, models, summary
    from jaxcnn.cli.doctor import doctor
    from jaxcnn.data import DataError
    from jaxcnn.train import NonFiniteLoss

    commands: dict[str, Callable[..., Any]] = {
        "train": Train,
        "evaluate": Evaluate,
        "predict": Predict,
        "summary": summary,
        "models": models,
        "datasets": datasets,
        "doctor": doctor,
    }
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        outcome: Any = tyro.extras.subcommand_cli_from_dict(
            commands,
            prog="jaxcnn",
            description="Convolutional networks for JAX: train one, look at it, ask it.",
            args=arguments or ["--help"],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff),
        )
        result = outcome() if callable(outcome) else outcome
        return 0 if result is None else int(result)
    except UsageError as error:
        print(f"jaxcnn: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:  # tyro's own: 0 after --help, 2 for flags it does not know
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("\njaxcnn: stopped", file=sys.stderr)
        return 1
    except (DataError, NonFiniteLoss, OSError, ValueError) as error:
        print(f"jaxcnn: {error}", file=sys.stderr)
        return 1
