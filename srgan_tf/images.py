"""THE place for value ranges, decoding, encoding and luma of images in TensorFlow.

Ranges have names: *uint8* 0..255, *unit* float32 [0, 1] (LR images, metrics), *signed* float32
[-1, 1] (HR images and what generators return: paper, section 3.2). Only here stand 255 and 2.
"""

import tensorflow as tf

# Rec. ITU-R BT.601 as MATLAB's rgb2ycbcr has it: unit RGB to Y in 16/255..235/255.
_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
_LUMA_OFFSET = 16 / 255
# The same without its headroom, as in JPEG files (JFIF) and Pillow's "L" and "YCbCr".
FULL_RANGE_LUMA = (0.299, 0.587, 0.114)
_CAFFE_MEANS_BGR = (103.939, 116.779, 123.68)


def uint8_to_unit(image: tf.Tensor) -> tf.Tensor:
    """Maps uint8 0..255 to float32 [0, 1]."""
    return tf.cast(image, tf.float32) / 255.0


def unit_to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Clips to [0, 1] and rounds to uint8 0..255."""
    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)


def unit_to_signed(image: tf.Tensor) -> tf.Tensor:
    """Maps [0, 1] to [-1, 1]."""
    return image * 2.0 - 1.0


def signed_to_unit(image: tf.Tensor) -> tf.Tensor:
    """Maps [-1, 1] to [0, 1] without clipping; clip only when encoding."""
    return (image + 1.0) / 2.0


def uint16_to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Maps 0..65535 to 0..255, rounded."""
    return unit_to_uint8(tf.cast(image, tf.float32) / 65535.0)


def signed_to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Clips [-1, 1] and rounds to uint8 0..255."""
    return unit_to_uint8(signed_to_unit(image))


def quantize(image: tf.Tensor) -> tf.Tensor:
    """Clips unit values to [0, 1] and rounds them to the 256 levels that a file can hold."""
    return uint8_to_unit(unit_to_uint8(image))


def to_luma(rgb: tf.Tensor) -> tf.Tensor:
    """Returns BT.601 luma `[..., 1]` (16/255 to 235/255) of RGB `[..., 3]` in [0, 1]."""
    weights = tf.constant(_LUMA, rgb.dtype)
    return tf.reduce_sum(rgb * weights, axis=-1, keepdims=True) + tf.cast(_LUMA_OFFSET, rgb.dtype)


def to_full_range_luma(rgb: tf.Tensor) -> tf.Tensor:
    """Returns JFIF luma `[..., 1]` in [0, 1] of RGB `[..., 3]` in [0, 1]; not the literature's."""
    return tf.reduce_sum(rgb * tf.constant(FULL_RANGE_LUMA, rgb.dtype), axis=-1, keepdims=True)


def signed_to_caffe(rgb: tf.Tensor) -> tf.Tensor:
    """Maps RGB `[..., 3]` in [-1, 1] to what the ImageNet VGGs were trained on.

    That is BGR in 0..255 minus the training set's channel means ("caffe" preprocessing).
    """
    bgr = tf.reverse(signed_to_unit(rgb) * 255.0, axis=[-1])
    return bgr - tf.constant(_CAFFE_MEANS_BGR, rgb.dtype)


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a scalar string (PNG, JPEG, BMP, GIF's first frame) to uint8 `[H, W, 3]`."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image
