"""Makes low-resolution images from high-resolution crops.

HR images arrive as float32 RGB in [0, 1]; LR images leave in the same range. The default follows
Ledig et al. 2017, section 3.2 (bicubic, factor 4). To add one: a function here (or in a module of
its own) and a line in `DEGRADATIONS`; its figures are fields of `config.DataConfig`.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from srgan_tf.config import DataConfig
from srgan_tf.data import blind, compression, draws, filters

# The antialiased bicubic kernel reaches 2 * scale HR pixels from the centre of an LR pixel, which
# lies half an LR pixel inside.
_BICUBIC_MARGIN = 2


class Degradation(NamedTuple):
    """A way to make LR images.

    Attributes:
        apply: `(hr, *, config, seed) -> lr`: HR `[H, W, 3]` float32 in [0, 1], sides multiples of
            `config.scale`, and a seed (int64 `[2]`) to LR `[H/scale, W/scale, 3]` float32, which
            may overshoot [0, 1] a little (the pipeline clips and quantises). A pure function, in
            the graph, that keeps the centres of HR and LR aligned.
        margin: `(config) -> LR pixels` around a crop that can touch its LR pixels. The pipeline
            degrades a crop together with so much of its neighbourhood.
    """

    apply: Callable[..., tf.Tensor]
    margin: Callable[[DataConfig], int]


def bicubic(hr: tf.Tensor, *, config: DataConfig, seed: tf.Tensor) -> tf.Tensor:
    """Antialiased bicubic interpolation, as in the papers.

    This is MATLAB's imresize (Keys' kernel, a = -0.5) except for a rim of 2 LR pixels, where
    TensorFlow renormalises the kernel instead of repeating the border. Overshoots [0, 1] by about
    0.01 at edges. `seed` is not used.
    """
    del seed
    height, width = tf.shape(hr)[0] // config.scale, tf.shape(hr)[1] // config.scale
    # Without antialias this is up to 34 grey levels from Pillow's bicubic, and the network would
    # learn to undo aliasing instead of blur.
    return tf.image.resize(hr, [height, width], method="bicubic", antialias=True)


def gaussian_bicubic(hr: tf.Tensor, *, config: DataConfig, seed: tf.Tensor) -> tf.Tensor:
    """A Gaussian blur of `gaussian_sigma` HR pixels, then bicubic.

    As the Keras 1 project before this one did (sigma 1 at scale 4), but for two of its faults: it
    blurred across the colour channels too, and stretched each LR image's contrast.
    """
    return bicubic(filters.gaussian(hr, config.gaussian_sigma), config=config, seed=seed)


def jpeg(hr: tf.Tensor, *, config: DataConfig, seed: tf.Tensor) -> tf.Tensor:
    """Bicubic, then JPEG at a quality from the range `jpeg_quality`."""
    choice, place = draws.seeds(seed, 2)
    quality = draws.between(draws.uniforms(choice, 1)[0], config.jpeg_quality)
    return compression.jpeg(bicubic(hr, config=config, seed=seed), quality, place)


def _gaussian_margin(config: DataConfig) -> int:
    return _BICUBIC_MARGIN - -filters.gaussian_radius(config.gaussian_sigma) // config.scale


DEGRADATIONS: dict[str, Degradation] = {
    "bicubic": Degradation(bicubic, lambda config: _BICUBIC_MARGIN),
    "gaussian_bicubic": Degradation(gaussian_bicubic, _gaussian_margin),
    # Blocks of 8 LR pixels reach further, but their places are random anyway.
    "jpeg": Degradation(jpeg, lambda config: _BICUBIC_MARGIN),
    # Its blurs reach up to 10 pixels at several resolutions, but hardly ever weigh much there.
    "blind": Degradation(blind.blind, lambda config: 4),
}
