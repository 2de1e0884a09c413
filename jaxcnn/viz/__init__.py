"""Pictures (matplotlib, the extra `plots`).

A function that draws returns a Matplotlib figure, or an `Animation`, and needs no display. The numbers behind a picture
are in `inspect`, which needs no matplotlib.
"""

from jaxcnn.moved import moved
from jaxcnn.viz.animation import Animation, slide, slide_backward, slide_max_pool, slide_transpose
from jaxcnn.viz.attribution_pictures import grad_cam, saliency, smooth_grad
from jaxcnn.viz.diagrams import architecture
from jaxcnn.viz.features import feature_maps, filter_path, filters
from jaxcnn.viz.maximization import activation_maximization
from jaxcnn.viz.photo import LECTURE_FILTERS, photo_filters
from jaxcnn.viz.profiles import profile_picture
from jaxcnn.viz.receptive_fields import receptive_field
from jaxcnn.viz.reports import report
from jaxcnn.viz.style import save
from jaxcnn.viz.training import confusion, curves, samples

__all__ = [
    "LECTURE_FILTERS",
    "Animation",
    "activation_maximization",
    "architecture",
    "confusion",
    "curves",
    "feature_maps",
    "filter_path",
    "filters",
    "grad_cam",
    "photo_filters",
    "profile_picture",
    "receptive_field",
    "report",
    "saliency",
    "samples",
    "save",
    "slide",
    "slide_backward",
    "slide_max_pool",
    "slide_transpose",
    "smooth_grad",
]

NUMBERS = (
    *("Field", "Profile", "field_of_view", "grad_cam_map", "maximal_input", "pixels_seen", "profile", "saliency_map"),
    "smooth_grad_map",
)
__getattr__ = moved(
    __name__,
    {"activation_maximisation": "jaxcnn.viz.activation_maximization"}
    | {name: f"jaxcnn.inspect.{name}" for name in NUMBERS},
)
