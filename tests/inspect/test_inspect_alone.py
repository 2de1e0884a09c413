"""Numbers need no pictures: `jaxcnn.inspect`, and the score of a run, work where there is no matplotlib."""

import subprocess
import sys
from pathlib import Path

import jaxcnn
from jaxcnn import inspect

WITHOUT = """
import sys
sys.modules["matplotlib"] = None  # an import of it is an ImportError
import jax, numpy as np, jaxcnn.inspect
from jaxcnn import inspect, models, train
model = models.create("lenet5")
trees = model.init(jax.random.key(0))
image, key = np.ones((28, 28, 1), np.float32), jax.random.key(1)
results = {
    "class_scores": inspect.class_scores(model, *trees, image),
    "field_of_view": inspect.field_of_view(model, "conv2"),
    "grad_cam_map": inspect.grad_cam_map(model, *trees, image, layer="relu2"),
    "maximal_input": inspect.maximal_input(model, *trees, layer="conv1", channel=0, steps=1, key=key),
    "pixels_seen": inspect.pixels_seen(model, "conv2"),
    "profile": inspect.profile(model, *trees, batch_size=1, rounds=1),
    "saliency_map": inspect.saliency_map(model, *trees, image),
    "smooth_grad_map": inspect.smooth_grad_map(model, *trees, image, samples=1, key=key),
    "summary": inspect.summary(model),
}
others = {"CHIPS", "estimate"}  # no function; a function with tests of its own, where the TPU's compiler is
functions = {name for name in inspect.__all__ if not isinstance(getattr(inspect, name), type)} - others
assert functions == results.keys(), functions ^ results.keys()
assert train.score
try:
    import jaxcnn.viz
except ImportError:
    print("no pictures")
"""


def test_every_function_of_numbers_runs_without_matplotlib():
    root = Path(jaxcnn.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=root, check=False, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("no pictures\n", 0), done.stderr


def test_the_surface_of_the_library_has_its_summary():
    assert jaxcnn.summary is inspect.summary
