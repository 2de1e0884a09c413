"""The error of all readers."""

from jaxcnn.errors import JaxcnnError


class WeightsError(JaxcnnError, ValueError):
    """A weights file that is not what it should be; names the file, what was expected and what was found."""
