"""PSNR and SSIM per image, on luma or RGB, after a border is cut away.

Images are `[B, H, W, C]` float32 in [0, 1]; round them to 8 bits first (`images.quantize`) to score
what a file would hold. The paper scores luma with a border of `scale` pixels (section 3.1).
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from srgan_tf import errors, images

_SSIM_WINDOW = 11


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
    return tf.image.psnr(sr, hr, max_val=1.0)


def ssim(sr: tf.Tensor, hr: tf.Tensor, border: int) -> tf.Tensor:
    """Structural similarity `[B]` as in Wang et al. 2004; the mean over channels.

    Gaussian window of 11 pixels and sigma 1.5, K1 0.01, K2 0.03, and no padding: windows lie wholly
    inside what the border leaves.
    """
    sr, hr = _crop(sr, hr, border, smallest=_SSIM_WINDOW)
    return tf.image.ssim(sr, hr, max_val=1.0, filter_size=_SSIM_WINDOW, filter_sigma=1.5)


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
