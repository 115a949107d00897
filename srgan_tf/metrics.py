"""PSNR and SSIM per image, on luma or RGB, after a border is cut away.

Images are `[B, H, W, C]` float32 in [0, 1]; round them to 8 bits first (`images.quantize`) to score
what a file would hold. The paper scores luma with a border of `scale` pixels (section 3.1).
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from srgan_tf import errors, images

_SSIM_WINDOW = 11
# Sides that a picture needs after its border is cut away, for every metric.
SMALLEST = _SSIM_WINDOW
_SSIM_SIGMA = 1.5


@dataclasses.dataclass(frozen=True)
class Metric:
    """A score of SR against HR.

    Attributes:
        fn: `(sr, hr, border) -> [B]` on RGB `[B, H, W, 3]` in [0, 1].
        higher_is_better: Which way is better, for choosing the best checkpoint.
    """

    fn: Callable[..., tf.Tensor]
    higher_is_better: bool


def psnr(sr: tf.Tensor, hr: tf.Tensor, border: int) -> tf.Tensor:
    """Peak signal-to-noise ratio in dB, `[B]`: 10 log10(1 / MSE) over all pixels and channels.

    Infinite for identical images.
    """
    sr, hr = _crop(sr, hr, border, smallest=1)
    mse = _mean(tf.math.squared_difference(sr, hr), axis=[1, 2, 3])
    return tf.cast(-10.0 / math.log(10.0) * tf.math.log(mse), tf.float32)


def ssim(sr: tf.Tensor, hr: tf.Tensor, border: int) -> tf.Tensor:
    """Structural similarity `[B]` as in Wang et al. 2004; the mean over channels.

    Gaussian window of 11 pixels and sigma 1.5, K1 0.01, K2 0.03, and no padding: windows lie wholly
    inside what the border leaves. `tf.image.ssim` is not used: it adds up the map of a colour image
    in float32, by which its mean is off by up to 6e-4 at 512x768 pixels; and it is slower.
    """
    sr, hr = _crop(sr, hr, border, smallest=_SSIM_WINDOW)
    shape = tf.shape(hr)
    sr, hr = _channels_to_batch(sr), _channels_to_batch(hr)
    moments = _blur(tf.concat([sr, hr, sr * sr + hr * hr, sr * hr], axis=0))
    mean_sr, mean_hr, squares, product = tf.split(moments, 4)
    c1, c2 = 0.01**2, 0.03**2
    means, means_squared = mean_sr * mean_hr, mean_sr**2 + mean_hr**2
    luminance = (2 * means + c1) / (means_squared + c1)
    structure = (2 * (product - means) + c2) / (squares - means_squared + c2)
    per_channel = tf.reshape(_mean(luminance * structure, axis=[1, 2, 3]), [shape[0], shape[3]])
    return tf.cast(tf.reduce_mean(per_channel, axis=1), tf.float32)


def _mean(values: tf.Tensor, axis: list[int]) -> tf.Tensor:
    """Means in float64: float32 sums of a million pixels can be off in the fourth digit."""
    return tf.reduce_mean(tf.cast(values, tf.float64), axis=axis)


def _channels_to_batch(image: tf.Tensor) -> tf.Tensor:
    """`[B, H, W, C]` to `[B * C, H, W, 1]`: one channel is several times faster."""
    shape = tf.shape(image)
    return tf.reshape(tf.transpose(image, [0, 3, 1, 2]), [-1, shape[1], shape[2], 1])


def _blur(image: tf.Tensor) -> tf.Tensor:
    """Applies the window of the SSIM, one direction after the other."""
    offsets = np.arange(_SSIM_WINDOW) - _SSIM_WINDOW // 2
    line = np.exp(-(offsets**2) / (2 * _SSIM_SIGMA**2))
    line = tf.constant(line / line.sum(), image.dtype)
    for shape in ([_SSIM_WINDOW, 1, 1, 1], [1, _SSIM_WINDOW, 1, 1]):
        image = tf.nn.conv2d(image, tf.reshape(line, shape), strides=1, padding="VALID")
    return image


def _crop(
    sr: tf.Tensor, hr: tf.Tensor, border: int, *, smallest: int
) -> tuple[tf.Tensor, tf.Tensor]:
    sr, hr = tf.convert_to_tensor(sr), tf.convert_to_tensor(hr)
    sr.shape.assert_is_compatible_with(hr.shape)
    needed = smallest + 2 * border
    if any(side is not None and side < needed for side in hr.shape[1:3]):
        height, width = hr.shape[1:3]
        raise errors.InputError(
            f"An image of {width}x{height} pixels is too small to be scored: a border of {border} "
            f"pixels needs at least {needed}x{needed}. Leave it out or set a smaller border."
        )
    height, width = tf.shape(hr)[1], tf.shape(hr)[2]
    inside = (slice(None), slice(border, height - border), slice(border, width - border))
    return sr[inside], hr[inside]


def _on_luma(score: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    def on_luma(sr: tf.Tensor, hr: tf.Tensor, border: int) -> tf.Tensor:
        return score(images.to_luma(sr), images.to_luma(hr), border)

    return on_luma


METRICS: dict[str, Metric] = {
    "psnr_y": Metric(_on_luma(psnr), higher_is_better=True),
    "ssim_y": Metric(_on_luma(ssim), higher_is_better=True),
    "psnr_rgb": Metric(psnr, higher_is_better=True),
    "ssim_rgb": Metric(ssim, higher_is_better=True),
}
