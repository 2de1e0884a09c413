"""The pictures of the README: python docs/readme/draw.py writes them beside this file.

The photos come with scikit-learn (china.jpg and flower.jpg, CC BY).
"""

from pathlib import Path

from sklearn.datasets import load_sample_image

from jaxcnn import models, viz

HERE = Path(__file__).parent
X = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
KERNEL = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
DY = [[1, 0, 2], [0, -1, 0], [3, 0, 1]]

viz.slide_backward(X, KERNEL, DY).save(HERE / "rotated_filter.gif", seconds=10)
viz.save(viz.photo_filters(load_sample_image("china.jpg")[20:340, 80:560]), HERE / "photo.jpg")
flower = load_sample_image("flower.jpg")[100:324, 230:454]
viz.save(
    viz.receptive_field(models.create("vgg16"), "stage3/max_pool1", unit=(14, 14), image=flower), HERE / "sees.jpg"
)
viz.save(viz.architecture(models.create("googlenet")), HERE / "googlenet.png")
