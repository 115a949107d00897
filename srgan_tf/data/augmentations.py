"""Random places and orientations of crops, stateless: the same seed gives the same choice."""

from typing import NamedTuple

import tensorflow as tf


class Choice(NamedTuple):
    """Where a crop is taken (HR pixels, multiples of the scale) and how it is turned."""

    top: tf.Tensor
    left: tf.Tensor
    mirror: tf.Tensor
    quarter_turns: tf.Tensor


def draw(
    seed: tf.Tensor, *, size: tf.Tensor, crop_size: int, scale: int, flip: bool, rotate: bool
) -> Choice:
    """Draws a crop's place and orientation.

    Args:
        seed: int64 `[2]`.
        size: int32 `[2]`, height and width of the image, at least `crop_size` each.
        crop_size: side of the crop in HR pixels, a multiple of `scale`.
        scale: places are multiples of it, so that HR and LR crops cover the same area.
        flip: whether crops are mirrored half of the time.
        rotate: whether crops are turned by a random multiple of 90 degrees.
    """
    uniform = tf.random.stateless_uniform([4], seed)
    places = (size - crop_size) // scale + 1
    place = tf.cast(uniform[:2] * tf.cast(places, tf.float32), tf.int32)
    # float32 rounding may reach the upper end, which the open interval excludes.
    place = tf.minimum(place, places - 1) * scale
    mirror = uniform[2] < 0.5 if flip else tf.constant(False)
    turns = tf.cast(uniform[3] * 4.0, tf.int32) if rotate else tf.constant(0)
    return Choice(place[0], place[1], mirror, turns)


def orient(image: tf.Tensor, choice: Choice) -> tf.Tensor:
    """Mirrors and turns a square `[N, N, 3]` as `choice` says."""
    shape = image.shape
    image = tf.cond(choice.mirror, lambda: tf.reverse(image, axis=[1]), lambda: image)
    image = tf.image.rot90(image, choice.quarter_turns)
    return tf.ensure_shape(image, shape)
