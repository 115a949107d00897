"""Regularizers, per image `[B]`: what is asked of SR whatever HR is, and of the discriminator."""

from collections.abc import Callable

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


def with_gradient_penalty(
    discriminator: Callable[[tf.Tensor], tf.Tensor], hr: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the logits of HR and |dD/dHR|^2 per image, R1 without its weight.

    Mescheder et al. 2018 (arXiv 1801.04406), equation 9: gamma / 2 times this, on real images. Of a
    map of logits D is the mean, as in the losses. One pass serves both; an outer tape sees the
    gradient's own gradient. Behind batch normalization D of an image depends on the others, and the
    gradient is that of the sum over the (global) batch.

    Args:
        discriminator: HR `[B, H, W, 3]` to logits `[B, 1]` or `[B, h, w, 1]`.
        hr: real images, `[B, H, W, 3]`.
    """
    with tf.GradientTape() as tape:
        tape.watch(hr)
        logits = discriminator(hr)
        per_image = tf.reduce_mean(logits, axis=list(range(1, logits.shape.rank)))
    gradient = tape.gradient(per_image, hr)
    return logits, tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3])
