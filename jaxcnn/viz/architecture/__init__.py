"""Diagrams of networks."""

from jaxcnn.viz.architecture.diagram import architecture

__all__ = ["architecture"]
