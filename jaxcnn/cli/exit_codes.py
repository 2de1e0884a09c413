"""Exit codes of the command."""

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED, CLOSED_PIPE, TERMINATED = (128 + signal for signal in (2, 13, 15))  # as in shells: INT, PIPE, TERM
