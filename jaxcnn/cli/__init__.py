"""The command `jaxcnn`: flags, and what they set going. Exit codes: 0 done, 1 the run failed, 2 wrong usage."""

from jaxcnn.cli.main import main, run

__all__ = ["main", "run"]
