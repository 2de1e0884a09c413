"""Animations of sliding windows: every number of them, as a GIF, a page, or in a notebook."""

from jaxcnn.viz.animation.backward import slide_backward
from jaxcnn.viz.animation.convolution import slide, slide_transpose
from jaxcnn.viz.animation.player import Animation
from jaxcnn.viz.animation.pooling import slide_max_pool

__all__ = ["Animation", "slide", "slide_backward", "slide_max_pool", "slide_transpose"]
