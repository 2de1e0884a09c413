"""Many models or many gradients at once.

gradients.py    a gradient for every example, their norms, and clipping by them
bookkeeping.py  clipping in one pass, without the gradients of every example
ensemble.py     several models of one architecture, trained side by side; sweeps
"""

from jaxcnn.population import ensemble
from jaxcnn.population.gradients import clip_and_average, clipped_gradient, gradient_norms, per_example_gradients

__all__ = ["clip_and_average", "clipped_gradient", "ensemble", "gradient_norms", "per_example_gradients"]
