"""Content losses: how far SR is from HR, per image `[B]`, never reduced over the batch.

Pixel losses take SR and HR `[B, H, W, 3]` in [-1, 1], the range in which the paper states its MSE
(section 3.2); `vgg` takes two VGG feature maps `[B, H, W, C]`. Add one: a function here and a line
in `CONTENT`.
"""

from collections.abc import Callable

import tensorflow as tf

from srgan_tf import registry

# LapSRN's, there on [0, 1]; here a difference of an eighth of a grey level.
_CHARBONNIER_EPSILON = 1e-3


def mse(sr: tf.Tensor, hr: tf.Tensor) -> tf.Tensor:
    """Mean squared error per image (equation 4, on [-1, 1]: 4 times that on [0, 1])."""
    return tf.reduce_mean(tf.math.squared_difference(sr, hr), axis=[1, 2, 3])


def l1(sr: tf.Tensor, hr: tf.Tensor) -> tf.Tensor:
    """Mean absolute error per image (on [-1, 1]: twice that on [0, 1])."""
    return tf.reduce_mean(tf.abs(sr - hr), axis=[1, 2, 3])


def charbonnier(sr: tf.Tensor, hr: tf.Tensor) -> tf.Tensor:
    """Mean of sqrt(difference^2 + 1e-6) per image: l1 with a round tip (on [-1, 1]).

    Lai et al. 2017 (LapSRN, arXiv 1704.03915). It is `_CHARBONNIER_EPSILON` where SR
    equals HR, and about l1 where they differ by much more.
    """
    squared = tf.math.squared_difference(sr, hr)
    return tf.reduce_mean(tf.sqrt(squared + _CHARBONNIER_EPSILON**2), axis=[1, 2, 3])


def vgg_distance(
    sr_features: tf.Tensor,
    hr_features: tf.Tensor,
    normalization: str,
    distance: str = "squared",
) -> tf.Tensor:
    """Distance of the feature maps of a frozen VGG, per image (equation 5).

    Args:
        sr_features: Features of SR `[B, H, W, C]`.
        hr_features: Features of HR.
        normalization: `element` divides by H * W * C, as most implementations do; `pixel` by H * W,
            as the equation is written, and so is C times as large (128 for VGG22, 512 for VGG54).
        distance: `squared`, as in the equation, or `absolute`, as in the code of ESRGAN.
    """
    difference = registry.lookup(_DISTANCES, distance, "VGG distance")
    over_channels = registry.lookup(_OVER_CHANNELS, normalization, "VGG normalization")
    per_position = over_channels(difference(sr_features, hr_features), axis=3)
    return tf.reduce_mean(per_position, axis=[1, 2])


def _absolute(sr_features: tf.Tensor, hr_features: tf.Tensor) -> tf.Tensor:
    return tf.abs(sr_features - hr_features)


_DISTANCES: dict[str, Callable[..., tf.Tensor]] = {
    "squared": tf.math.squared_difference,
    "absolute": _absolute,
}
_OVER_CHANNELS: dict[str, Callable[..., tf.Tensor]] = {
    "element": tf.reduce_mean,
    "pixel": tf.reduce_sum,
}

# `vgg` alone works on features, and takes how they are compared as well: losses.objective knows.
CONTENT: dict[str, Callable[..., tf.Tensor]] = {
    "mse": mse,
    "l1": l1,
    "charbonnier": charbonnier,
    "vgg": vgg_distance,
}
