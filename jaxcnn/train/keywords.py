"""Hints for arguments that have another name in Keras, scikit-learn or PyTorch."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

ELSEWHERE = {
    "class_weight": "weights are the loss's: loss=losses.Classification(lambda logits, labels: weights[labels] "
    "* losses.softmax_cross_entropy(logits, labels))",
    "device": "the device is JAX's default, jax.default_device, or those of `mesh`: mesh=train.device_mesh(1)",
    "devices": "the devices are those of `mesh`: mesh=train.device_mesh(4)",
    "label_smoothing": "it is the loss's: loss=functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1)",
    "learning_rate": "it is the optimizer's: optimizer=optax.adam(1e-3)",
    "lr": "it is the optimizer's: optimizer=optax.adam(1e-3)",
    "metrics": "more metrics are a callback's to compute, of epoch.train_state",
    "sample_weight": "weights are a part of the loss: give labels (N, 2), one of them the weight, and a loss "
    "of your own",
    "shuffle": "the order is new in each epoch, by `seed`",
    "validation_data": "it is called `validation`: validation=(images, labels)",
    "validation_split": "divide first: rest, part = data.split(dataset, 0.1), then validation=part",
    "verbose": "it is called `progress`: progress=False prints nothing",
    "weight_decay": "it is the optimizer's: optimizer=optax.adamw(1e-3, weight_decay=1e-2)",
    "x": "images and labels are one argument: (images, labels)",
    "y": "images and labels are one argument: (images, labels)",
}


def hinted(positional: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function that has `positional` arguments before its keywords, the last of which is the data."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        op = function.__name__

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> T:
            if len(args) > positional:
                raise TypeError(
                    f"{op}: images and labels are one argument, (images, labels), and all after it has a name; got "
                    f"{len(args)} arguments without one"
                )
            for name in kwargs.keys() & ELSEWHERE.keys():
                raise TypeError(f"{op}: there is no argument `{name}`; {ELSEWHERE[name]}")
            return function(*args, **kwargs)

        return called

    return decorate
