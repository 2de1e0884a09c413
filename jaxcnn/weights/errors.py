"""The error of all readers."""


class WeightsError(ValueError):
    """A weights file that is not what it should be; names the file, what was expected and what was found."""
