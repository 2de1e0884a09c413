"""Pictures for eyes (matplotlib, the `plots` extra): each function returns a figure and needs no display."""

from jaxcnn.viz.report import report
from jaxcnn.viz.style import save
from jaxcnn.viz.training import confusion, curves, samples

__all__ = ["confusion", "curves", "report", "samples", "save"]
