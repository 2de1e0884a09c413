"""jaxcnn: convolutional networks for JAX on hand-written sliding-window primitives."""
