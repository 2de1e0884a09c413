"""The names that other libraries give the layers of our models: a table per library, a few rules per family."""

from jaxcnn.weights.foreign.names import arrays, keras, pytorch
from jaxcnn.weights.foreign.names.rules import Family, layer_names

__all__ = ["Family", "arrays", "keras", "layer_names", "pytorch"]
