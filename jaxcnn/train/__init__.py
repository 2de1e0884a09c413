"""Parameters over time: training, evaluation and prediction, given a model's `init` and `apply`."""

from jaxcnn.train import losses, metrics
from jaxcnn.train.callbacks import Best, Callback, EarlyStopping, Epoch
from jaxcnn.train.fit import NonFiniteLoss, evaluate, fit, predict
from jaxcnn.train.history import History
from jaxcnn.train.slices import value_and_grad
from jaxcnn.train.step import TrainState, make_evaluation, make_step, make_steps

__all__ = [
    "Best",
    "Callback",
    "EarlyStopping",
    "Epoch",
    "History",
    "NonFiniteLoss",
    "TrainState",
    "evaluate",
    "fit",
    "losses",
    "make_evaluation",
    "make_step",
    "make_steps",
    "metrics",
    "predict",
    "value_and_grad",
]
