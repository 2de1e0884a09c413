"""The settings of a network's layers (strides, padding, epsilon): written into files, and compared."""
