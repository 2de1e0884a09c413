"""Training, evaluation and prediction, for any model that has `init` and `apply`."""

from jaxcnn.moved import moved
from jaxcnn.train import losses, metrics
from jaxcnn.train.callbacks import Best, Callback, EarlyStopping, Epoch
from jaxcnn.train.devices import device_mesh
from jaxcnn.train.evaluation import evaluate, outputs, predict
from jaxcnn.train.fitting import NonFiniteLoss, fit
from jaxcnn.train.gradient import value_and_grad
from jaxcnn.train.groups import decayed, group_params
from jaxcnn.train.history import History
from jaxcnn.train.precision import Policy
from jaxcnn.train.scoring import Score, score
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import make_evaluation, make_step, make_steps

__all__ = [
    "Best",
    "Callback",
    "EarlyStopping",
    "Epoch",
    "History",
    "NonFiniteLoss",
    "Policy",
    "Score",
    "TrainState",
    "decayed",
    "device_mesh",
    "evaluate",
    "fit",
    "group_params",
    "losses",
    "make_evaluation",
    "make_step",
    "make_steps",
    "metrics",
    "outputs",
    "predict",
    "score",
    "value_and_grad",
]

__getattr__ = moved(__name__, {"label_params": "jaxcnn.train.group_params"})
