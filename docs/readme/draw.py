"""The pictures of the README: python docs/readme/draw.py writes them beside this file.

The photos come with scikit-learn (china.jpg and flower.jpg, CC BY).
"""

import dataclasses
import itertools
from pathlib import Path

from sklearn.datasets import load_sample_image

from jaxcnn import models, viz

HERE = Path(__file__).parent
X = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
KERNEL = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
DY = [[1, 0, 2], [0, -1, 0], [3, 0, 1]]

SLOW, FAST = 1.2, 0.15  # seconds a frame: some are to be read, the others to be seen moving


def paced(animation: viz.Animation) -> tuple[viz.Animation, float]:
    """The animation with the first two windows of each part, and what holds on by itself, slow; and its seconds."""
    frames = []
    for _, part in itertools.groupby(animation.frames, key=lambda frame: frame.heading):
        windows = 0
        for frame in part:
            windows = windows + 1 if frame.hold >= 1 else 0  # below 1 the filter is turning
            slow = frame.hold > 1 or 0 < windows <= 2
            frames.append(dataclasses.replace(frame, hold=SLOW if slow else FAST))
    return viz.Animation(frames), sum(frame.hold for frame in frames)


animation, seconds = paced(viz.slide_backward(X, KERNEL, DY))
animation.save(HERE / "rotated_filter.gif", seconds=seconds)
viz.save(viz.photo_filters(load_sample_image("china.jpg")[20:340, 80:560]), HERE / "photo.jpg")
flower = load_sample_image("flower.jpg")[100:324, 230:454]
viz.save(
    viz.receptive_field(models.create("vgg16"), "stage3/max_pool1", unit=(14, 14), image=flower), HERE / "sees.jpg"
)
viz.save(viz.architecture(models.create("googlenet")), HERE / "googlenet.png")
