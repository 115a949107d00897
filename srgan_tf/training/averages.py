"""The moving average of the generator's weights (EMA), a second generator of the same build.

After update t (from 1) of a stage each weight w moves its average a by
a += (1 - d) * (w - a), d = min(decay, (1 + t) / (10 + t)). The rising d is that of
`tf.train.ExponentialMovingAverage`: a young average is not made of the weights that it began with.
Moving statistics of batch normalization are averaged as well. They are of the last ten batches or
so, and copied to weights of a thousand steps they do not fit: a generator at a learning rate of
1e-3 lost up to 0.9 dB by that (docs/results/README.md, "SRResNet from scratch"). What is no
floating-point number is copied.

A stage that trains the generator begins a new average from the weights as they are: the weights of
another loss are not mixed in.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf


def restart(averaged: tf.keras.Model, generator: tf.keras.Model) -> None:
    """Sets the averages to the weights as they are; call inside the strategy's scope."""
    averaged.set_weights(generator.get_weights())


def decay_at(decay: float, updates: tf.Tensor) -> tf.Tensor:
    """Returns d after update number `updates` (from 1), a float32 scalar."""
    updates = tf.cast(updates, tf.float32)
    return tf.minimum(tf.constant(decay, tf.float32), (1.0 + updates) / (10.0 + updates))


def update(
    strategy: tf.distribute.Strategy,
    averaged: tf.keras.Model,
    generator: tf.keras.Model,
    decay: tf.Tensor,
) -> None:
    """Moves every average; call outside of the replicas, between two steps or in a traced one.

    Each device moves its own copies by its own weights, which are equal on all.
    """

    def move(average: tf.Variable, weight: tf.Tensor) -> None:
        average.assign_sub(tf.cast(1.0 - decay, average.dtype) * (average - weight))

    def copy(average: tf.Variable, weight: tf.Tensor) -> None:
        average.assign(weight)

    pairs = zip(_plain(averaged.variables), _plain(generator.variables), strict=True)
    for average, weight in pairs:
        function = move if average.dtype.is_floating else copy
        strategy.extended.update(average, function, args=(weight,))


def _plain(variables: Sequence[Any]) -> Iterator[tf.Variable]:
    """Yields the tf.Variable that a variable of Keras 3 wraps; Keras 2 has no others."""
    for variable in variables:
        yield variable if isinstance(variable, tf.Variable) else variable.value
