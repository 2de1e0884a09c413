"""The command `jaxcnn`.

command.py     subcommands, errors in one line, exit codes
arguments.py   flags and their values; what is said of those that do not exist
wording.py     the command's own words
recipes.py     what `train` does for a dataset, which model fits it, how its images are read
settings.py    command.json: all that a run was asked for, and what may change when it goes on
run.py         what a run folder holds
terminal.py, exit_codes.py     what is around the command
train.py, evaluate.py, predict.py, summary.py, models.py, datasets.py, doctor.py    the subcommands
faults.py      known faults of jaxlib, each with a small program that shows it
accelerators.py   GPUs and TPUs that are there and not used

Exit codes: 0 done; 1 the run failed, or one of several images could not be read; 2 wrong usage; 130 stopped by Ctrl-C,
143 by a signal to end; 141 what read the output has closed it.
"""

from jaxcnn.cli.command import main

__all__ = ["main"]
