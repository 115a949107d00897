"""JPEG compression of `[H, W, 3]` images in [0, 1], in the graph, at a quality that is a tensor."""

import tensorflow as tf

from srgan_tf import images
from srgan_tf.data import draws, filters

# Colour is stored at half resolution (4:2:0), so a unit of coding is 16 x 16 pixels.
_BLOCK = 16


def jpeg(image: tf.Tensor, quality: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns `image` clipped, rounded to 8 bits, compressed by libjpeg (4:2:0) and decoded.

    The grid of blocks begins at a random place. Crops are compressed on their own: with a fixed
    place a network would learn where, in a crop, the block borders are.

    Args:
        image: in about [0, 1].
        quality: scalar, 1 to 100; rounded.
        seed: draws the place.
    """
    shape = tf.shape(image)
    offset = tf.cast(tf.stack(draws.uniforms(seed, 2)) * _BLOCK, tf.int32)
    padded = filters.mirror(image, offset, tf.zeros_like(offset))
    encoded = tf.raw_ops.EncodeJpegVariableQuality(
        images=images.unit_to_uint8(padded), quality=tf.cast(tf.round(quality), tf.int32)
    )
    decoded = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    cut = decoded[offset[0] : offset[0] + shape[0], offset[1] : offset[1] + shape[1]]
    return tf.ensure_shape(images.uint8_to_unit(cut), image.shape)
