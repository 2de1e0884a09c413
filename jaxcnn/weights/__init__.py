"""Parameters and state on disk."""

from jaxcnn.weights.models import describe, load, load_model, save
from jaxcnn.weights.tensors import WeightsError

__all__ = ["WeightsError", "describe", "load", "load_model", "save"]
