"""Networks in numbers: their tables, what their units see, and which pixels move a score; `viz` draws it."""

from jaxcnn.inspect.attribution import class_scores, grad_cam_map, saliency_map, smooth_grad_map
from jaxcnn.inspect.estimates import CHIPS, Chip, Estimate, LayerEstimate, estimate
from jaxcnn.inspect.maximization import maximal_input
from jaxcnn.inspect.profiling import Cost, Profile, profile
from jaxcnn.inspect.receptive_fields import Field, field_of_view, pixels_seen
from jaxcnn.inspect.summaries import Row, Summary, summary

__all__ = [
    "CHIPS",
    "Chip",
    "Cost",
    "Estimate",
    "Field",
    "LayerEstimate",
    "Profile",
    "Row",
    "Summary",
    "class_scores",
    "estimate",
    "field_of_view",
    "grad_cam_map",
    "maximal_input",
    "pixels_seen",
    "profile",
    "saliency_map",
    "smooth_grad_map",
    "summary",
]
