"""Training, evaluation and prediction, for any model that has `init` and `apply`."""

from jaxcnn.train import losses, metrics
from jaxcnn.train.callbacks import Best, Callback, EarlyStopping, Epoch
from jaxcnn.train.evaluation import evaluate, outputs, predict
from jaxcnn.train.fitting import NonFiniteLoss, fit
from jaxcnn.train.gradient import value_and_grad
from jaxcnn.train.history import History
from jaxcnn.train.labels import decayed, label_params
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
    "evaluate",
    "fit",
    "label_params",
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
