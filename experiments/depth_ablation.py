"""What one convolution is worth: the lecture's CIFAR-10 network with one of its four taken out.

The AlexNet paper: each convolution holds no more than 1 % of the parameters, yet removing any one of the middle layers
costs about 2 % of top-1 accuracy. Here the first convolution of either pair is left out, the padded one, so that all
others keep their sizes. Few epochs and no dropout: the networks are compared, not finished.

Attains (test accuracy after 2 epochs, mean ± standard deviation of 3 seeds; the cost seed by seed):
  the whole network                68.59 ± 0.62 %
  without one of the first pair    66.84 ± 0.68 %, costs 1.75 ± 0.77 % and saves 0.7 % of the parameters
  without one of the second pair   67.14 ± 0.61 %, costs 1.45 ± 0.88 % and saves 3.0 % of them
Measured: 2 virtual cores of an AMD EPYC (AVX-512), Python 3.11.7, jax 0.10.2; 27 minutes with other programs beside it.
Command: python experiments/depth_ablation.py --data-dir DIR
Source: Krizhevsky et al., ImageNet classification with deep convolutional neural networks (2012), sections 1 and 7.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import optax
import tyro

from jaxcnn import data, models, summary, train
from jaxcnn.models import Model

LEFT_OUT = {"none": (), "one of the first pair": ("conv1", "relu1"), "one of the second pair": ("conv3", "relu3")}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is trained, and how."""

    data_dir: Path | None = None
    """Folder with cifar-10-binary.tar.gz or cifar-10-batches-bin; fetched when not given."""
    seeds: int = 3
    """How many runs of each network, with seeds 0, 1, 2, …"""
    epochs: int = 2
    batch_size: int = 128
    """Images per step."""
    peak_learning_rate: float = 2e-3
    """Of AdamW, reached a third of the way (one-cycle, cosine)."""


def network(left_out: tuple[str, ...]) -> Model:
    """The lecture's network without some of its layers."""
    model = models.create("cifar10_cnn", dropout=False)
    kept = {name: layer for name, layer in model.layer.children.items() if name not in left_out}
    return dataclasses.replace(model, layer=model.layer.combine(kept))


def accuracy(config: Config, model: Model, splits: data.Splits, seed: int) -> float:
    """On the test images, after training."""
    steps = config.epochs * -(-len(splits.train) // config.batch_size)
    train_state, _ = train.fit(
        model,
        splits.train,
        epochs=config.epochs,
        batch_size=config.batch_size,
        optimizer=optax.adamw(optax.cosine_onecycle_schedule(steps, config.peak_learning_rate, pct_start=1 / 3)),
        loss=model.loss,
        seed=seed,
        augment=data.augment.flip(),
    )
    return train.evaluate(model, train_state, splits.test, batch_size=250)["accuracy"]


def main(config: Config) -> None:
    """Train each network by each seed; print mean ± standard deviation, and what leaving out costs seed by seed."""
    splits = data.load("cifar10", data_dir=config.data_dir)
    start, lines, whole = time.perf_counter(), [], None
    for name, left_out in LEFT_OUT.items():
        model = network(left_out)
        accuracies = np.array([accuracy(config, model, splits, seed) for seed in range(config.seeds)])
        whole = accuracies if whole is None else whole
        loss, table = whole - accuracies, summary(model)
        lines.append(
            f"left out {name}: {accuracies.mean():.2%} ± {accuracies.std():.2%}, "
            f"costs {loss.mean():.2%} ± {loss.std():.2%}; "
            f"{table.total('parameters'):,} parameters, {table.total('multiply_adds'):,} multiply-adds"
        )
        print(lines[-1], flush=True)
    print("\n".join(["", *lines, f"{(time.perf_counter() - start) / 60:.1f} minutes"]))


if __name__ == "__main__":
    main(tyro.cli(Config))
