"""The command `jaxcnn`.

command.py     subcommands, errors in one line, exit codes
arguments.py   flags and their values, and the hints for flags that do not exist
wording.py     the command's own words
recipes.py     the defaults of `train` for each dataset: model, training, reading of images
settings.py    command.json: all settings of a run, and which may change when it is resumed
run.py         the content of a run folder
terminal.py, exit_codes.py     the terminal's width; exit codes
train.py, evaluate.py, predict.py, summary.py, models.py, datasets.py, doctor.py    the subcommands
faults.py      known faults of jaxlib, each with a small program that shows it
accelerators.py   GPUs and TPUs that JAX does not use

Exit codes: 0 done; 1 the run failed, or one of several images could not be read; 2 wrong usage; 130 stopped by Ctrl-C,
143 by a signal to end; 141 what read the output has closed it.
"""

from jaxcnn.cli.command import main

__all__ = ["main"]
