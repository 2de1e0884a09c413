"""Diagrams of networks."""

from jaxcnn.viz.diagrams.diagram import architecture

__all__ = ["architecture"]
