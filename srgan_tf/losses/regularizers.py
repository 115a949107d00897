"""Regularizers: what is asked of SR whatever HR is, per image `[B]`."""

import tensorflow as tf


def total_variation(sr: tf.Tensor) -> tf.Tensor:
    """Returns sum((dx^2 + dy^2)^1.25) over pixels and channels of SR `[B, H, W, 3]` in [-1, 1].

    A sum, not a mean: it grows with the crop, and the weights in use (2e-8) are made for that. dx
    and dy are differences to the right and lower neighbour; the last row and column have none. The
    power keeps the gradient finite (zero) on flat areas, where that of a square root is not.
    """
    down = sr[:, 1:, :-1] - sr[:, :-1, :-1]
    right = sr[:, :-1, 1:] - sr[:, :-1, :-1]
    return tf.reduce_sum(tf.pow(tf.square(down) + tf.square(right), 1.25), axis=[1, 2, 3])
