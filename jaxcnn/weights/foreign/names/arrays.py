"""The names of the Caffe models, for files of arrays in our order of axes."""

from jaxcnn.weights.foreign.names.rules import Family

SQUEEZENET = Family(
    (
        (r"conv1", "conv1"),
        (r"fire(\d)/squeeze", lambda n: f"fire{n}/squeeze1x1"),
        (r"fire(\d)/expand/one", lambda n: f"fire{n}/expand1x1"),
        (r"fire(\d)/expand/three", lambda n: f"fire{n}/expand3x3"),
        (r"top/conv1", "conv10"),
    ),
    {"top": r"conv10/.*"},
)

FAMILIES: dict[str, tuple[Family, ...]] = {"squeezenet1_1": (SQUEEZENET,)}
