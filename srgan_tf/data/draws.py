"""Draws from ranges and weighted choices, out of uniform numbers and stateless seeds."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from srgan_tf.config import Weights


def seeds(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Returns `count` independent seeds (int64 `[2]`) from one."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, count))


def uniforms(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Returns `count` scalars, uniform in [0, 1)."""
    return tf.unstack(tf.random.stateless_uniform([count], seed))


def between(uniform: tf.Tensor, limits: tuple[float, float]) -> tf.Tensor:
    """Maps a uniform number in [0, 1) to one in `limits`."""
    return limits[0] + uniform * (limits[1] - limits[0])


def choose(uniform: tf.Tensor, weights: Weights, names: Sequence[str]) -> tf.Tensor:
    """Returns an index (int32) into `names`, each as likely as its weight says; none: never."""
    given = dict(weights)
    shares = np.array([given.get(name, 0.0) for name in names])
    edges = (np.cumsum(shares) / shares.sum())[:-1]
    return tf.reduce_sum(tf.cast(uniform >= edges.astype(np.float32), tf.int32))
