"""The base of the errors that jaxcnn has beside ValueError and TypeError."""


class JaxcnnError(Exception):
    """An error that is no bad argument: the base of `DataError`, `WeightsError` and `NonFiniteLoss`."""
