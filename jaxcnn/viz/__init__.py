"""Pictures (matplotlib, the extra `plots`).

A function that draws returns a Matplotlib figure, or an `Animation`, and needs no display. Other functions return the
numbers behind a picture: those whose names end in _map, `maximal_input`, `field_of_view`, `pixels_seen` and `profile`.
"""

from jaxcnn.moved import moved
from jaxcnn.viz.animation import Animation, slide, slide_backward, slide_max_pool, slide_transpose
from jaxcnn.viz.architecture import architecture
from jaxcnn.viz.attribution import grad_cam_map, saliency_map, smooth_grad_map
from jaxcnn.viz.attribution_pictures import grad_cam, saliency, smooth_grad
from jaxcnn.viz.features import feature_maps, filter_path, filters
from jaxcnn.viz.maximization import activation_maximization, maximal_input
from jaxcnn.viz.photo import LECTURE_FILTERS, photo_filters
from jaxcnn.viz.profile import Profile, profile
from jaxcnn.viz.receptive_field import Field, field_of_view, pixels_seen, receptive_field
from jaxcnn.viz.report import report
from jaxcnn.viz.style import save
from jaxcnn.viz.training import confusion, curves, samples

__all__ = [
    "LECTURE_FILTERS",
    "Animation",
    "Field",
    "Profile",
    "activation_maximization",
    "architecture",
    "confusion",
    "curves",
    "feature_maps",
    "field_of_view",
    "filter_path",
    "filters",
    "grad_cam",
    "grad_cam_map",
    "maximal_input",
    "photo_filters",
    "pixels_seen",
    "profile",
    "receptive_field",
    "report",
    "saliency",
    "saliency_map",
    "samples",
    "save",
    "slide",
    "slide_backward",
    "slide_max_pool",
    "slide_transpose",
    "smooth_grad",
    "smooth_grad_map",
]

__getattr__ = moved(__name__, {"activation_maximisation": "jaxcnn.viz.activation_maximization"})
