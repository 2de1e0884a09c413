"""Keras on JAX: its layers, loss and optimizer, in the stateless form of its guide to training with JAX."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.networks import Network
from benchmark.peers.on_jax import check_parameters
from benchmark.timing import Program, compiled

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported, and only then

import keras
from keras import layers


class Keras:
    """`keras.Sequential`."""

    def training_step(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """`stateless_call` and `stateless_apply`."""
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(net.input_shape), *map(_layer, net.layers)])
        check_parameters(net.name, net.parameters(), model.count_params(), "Keras")
        optimizer = keras.optimizers.Adam(1e-3)
        optimizer.build(model.trainable_variables)
        loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

        def loss(trainable, fixed, x, labels):
            logits, fixed = model.stateless_call(trainable, fixed, x, training=True)
            return loss_of(labels, logits), fixed

        def step(carry, batch):
            trainable, fixed, optimizer_state = carry
            (value, fixed), gradients = jax.value_and_grad(loss, has_aux=True)(trainable, fixed, *batch)
            trainable, optimizer_state = optimizer.stateless_apply(optimizer_state, gradients, trainable)
            return (trainable, fixed, optimizer_state), value

        variables = model.trainable_variables, model.non_trainable_variables, optimizer.variables
        carry = tuple([v.value for v in group] for group in variables)
        return compiled(step, carry, (jnp.asarray(x), jnp.asarray(labels)), compared=lambda result: result[1])


def _layer(layer: tuple) -> Any:
    match layer:
        case ("conv", channels, window, padding):
            return layers.Conv2D(channels, window, padding=padding.lower(), data_format="channels_last")
        case ("relu",):
            return layers.ReLU()
        case ("pool", window):
            return layers.MaxPooling2D(window, data_format="channels_last")
        case ("flatten",):
            return layers.Flatten()
        case ("dense", features):
            return layers.Dense(features)
    raise ValueError(f"no such layer: {layer}")
