"""Real-ESRGAN's second-order degradation (Wang et al. 2021, arXiv 2107.10833, figure 2).

Blur, resize, noise, JPEG; once more blur, resize, noise; then the LR size with a sinc filter, and
JPEG before or after both. Order and defaults follow the authors' published training code. What
differs: JPEG is libjpeg's instead of a differentiable imitation (so images are rounded to 8 bits
there), Poisson noise always counts 256 levels, every image draws its own sizes (theirs share one
in a batch, which a pool of images then mends), HR images are not sharpened, and the bicubic is
`tf.image.resize`'s with a = -0.5 (theirs: torch's `F.interpolate` with a = -0.75, which overshoots
more at edges).
"""

import tensorflow as tf

from srgan_tf.config import BlindPass, DataConfig, Weights
from srgan_tf.data import compression, draws, filters, kernels, noise

_DIRECTIONS = ("up", "down", "keep")
# Without antialias, as in the original: aliasing is part of what cameras and websites do.
_MODES = ("area", "bilinear", "bicubic")


def blind(hr: tf.Tensor, *, config: DataConfig, seed: tf.Tensor) -> tf.Tensor:
    """Real-ESRGAN's: blur, resize, noise and JPEG, twice, then a sinc filter, all at random.

    Args:
        hr: float32; sides are multiples of the scale.
        config: gives `scale`, `blind`, `blind2` and `blind_final`.
        seed: int64 `[2]`; the same seed gives the same image.
    """
    size = tf.shape(hr)[:2]
    lr_size = size // config.scale
    first, middle, second, last = draws.seeds(seed, 4)
    image = _blur_resize_noise(hr, size, config.blind, first)
    image = _jpeg(image, config.blind.jpeg_quality, middle)
    image = _blur_resize_noise(image, lr_size, config.blind2, second)
    lr = _finish(image, lr_size, config, last)
    shape = [side and side // config.scale for side in hr.shape[:2]]
    return tf.ensure_shape(lr, [*shape, 3])


def _blur_resize_noise(
    image: tf.Tensor, reference: tf.Tensor, config: BlindPass, seed: tf.Tensor
) -> tf.Tensor:
    """The part that both passes share; factors of the resize are relative to `reference`."""
    choice, kernel, grain = draws.seeds(seed, 3)
    u = draws.uniforms(choice, 4)
    image = tf.cond(
        u[0] < config.blur_probability,
        lambda: filters.convolve(image, kernels.draw(config, kernel)),
        lambda: image,
    )
    smallest, largest = config.resize_range
    factors = tf.stack(
        [draws.between(u[2], (1.0, largest)), draws.between(u[2], (smallest, 1.0)), 1.0]
    )
    factor = factors[draws.choose(u[1], config.resize, _DIRECTIONS)]
    size = tf.maximum(tf.cast(tf.cast(reference, tf.float32) * factor, tf.int32), 1)
    return noise.add(resize(image, size, config.resize_modes, u[3]), config, grain)


def _finish(image: tf.Tensor, lr_size: tf.Tensor, config: DataConfig, seed: tf.Tensor) -> tf.Tensor:
    """The LR size and a sinc filter, with JPEG before or after both."""
    final, quality = config.blind_final, config.blind2.jpeg_quality
    choice, kernel, last = draws.seeds(seed, 3)
    u = draws.uniforms(choice, 3)

    jpeg_last = u[0] < final.jpeg_last_probability
    image = tf.cond(jpeg_last, lambda: image, lambda: _jpeg(image, quality, last))
    lr = resize(image, lr_size, final.resize_modes, u[1])
    lr = tf.cond(
        u[2] < final.sinc_probability,
        lambda: filters.convolve(lr, kernels.draw_sinc(final, kernel)),
        lambda: lr,
    )
    return tf.cond(jpeg_last, lambda: _jpeg(lr, quality, last), lambda: lr)


def resize(image: tf.Tensor, size: tf.Tensor, modes: Weights, uniform: tf.Tensor) -> tf.Tensor:
    """Resizes `[H, W, 3]` to `size` (int32 `[2]`) by an interpolation that `uniform` picks."""
    branches = [
        lambda mode=mode: tf.ensure_shape(tf.image.resize(image, size, mode), [None, None, 3])
        for mode in _MODES
    ]
    return tf.switch_case(draws.choose(uniform, modes, _MODES), branches)


def _jpeg(image: tf.Tensor, limits: tuple[float, float], seed: tf.Tensor) -> tf.Tensor:
    choice, place = draws.seeds(seed, 2)
    quality = draws.between(draws.uniforms(choice, 1)[0], limits)
    return compression.jpeg(image, quality, place)
