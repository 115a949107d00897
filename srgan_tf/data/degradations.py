"""Makes low-resolution images from high-resolution crops.

HR images arrive as float32 RGB in [0, 1]; LR images leave in the same range. The default follows
Ledig et al. 2017, section 3.2 (bicubic, factor 4). To add one: a function here and a line in
`DEGRADATIONS`.
"""

from collections.abc import Callable

import tensorflow as tf

Degradation = Callable[..., tf.Tensor]

# HR pixels around a crop that can touch its LR pixels, in LR pixels. The antialiased bicubic kernel
# reaches 2 * scale HR pixels from the centre of an LR pixel, which lies half an LR pixel inside.
MARGIN_LR_PIXELS = 2


def bicubic(hr: tf.Tensor, *, scale: int, seed: tf.Tensor) -> tf.Tensor:
    """Shrinks `[H, W, 3]` to `[H/scale, W/scale, 3]` by antialiased bicubic interpolation.

    This is MATLAB's imresize (Keys' kernel, a = -0.5) except for a rim of 2 LR pixels, where
    TensorFlow renormalises the kernel instead of repeating the border.

    Args:
        hr: float32 in [0, 1]; sides are multiples of `scale`.
        scale: the factor.
        seed: not used; every degradation has the same signature.

    Returns:
        float32; overshoots [0, 1] by about 0.01 at edges (the pipeline clips and quantises).
    """
    del seed
    height, width = tf.shape(hr)[0] // scale, tf.shape(hr)[1] // scale
    # Without antialias this is up to 34 grey levels from Pillow's bicubic, and the network would
    # learn to undo aliasing instead of blur.
    return tf.image.resize(hr, [height, width], method="bicubic", antialias=True)


DEGRADATIONS: dict[str, Degradation] = {"bicubic": bicubic}
