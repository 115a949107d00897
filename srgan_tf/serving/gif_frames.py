"""Cuts a GIF file behind its first frame, inside a TensorFlow graph.

TensorFlow's decoder unpacks all frames of an animation, each as large as it says it is, and then
returns the first: so the others are cut off before it sees them.
"""

import tensorflow as tf

# At the usual 255 bytes 8 MB. It bounds the time that a hostile file can take (seconds).
_MAX_BLOCKS = 1 << 15
_EXTENSION, _IMAGE = 0x21, 0x2C
_TRAILER = b"\x3b"
# What the loop is at.
_BLOCK, _SUB_BLOCKS, _FRAME, _DONE, _BROKEN = range(5)


def first(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a file with the first frame alone, and that frame's height and width (int64 `[2]`).

    Both are 0 where there is no frame, or not the whole of it.
    """
    data = tf.io.decode_raw(encoded, tf.uint8)
    length = tf.size(data)

    def byte(position: tf.Tensor) -> tf.Tensor:
        return tf.cast(data[tf.clip_by_value(position, 0, length - 1)], tf.int32)

    def word(position: tf.Tensor) -> tf.Tensor:
        return byte(position) + 256 * byte(position + 1)

    def colours(position: tf.Tensor) -> tf.Tensor:
        """Returns the size of the table that the flags at `position` announce."""
        flags = byte(position)
        size = 3 * tf.bitwise.left_shift(2, flags % 8)
        return tf.where(flags >= 128, size, 0)

    def block(position: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, ...]:
        kind = byte(position)
        return tf.case(
            [
                (tf.equal(kind, _EXTENSION), lambda: (position + 2, _SUB_BLOCKS, size)),
                (
                    tf.equal(kind, _IMAGE),
                    # Nine bytes of place, size and flags, colours, and one of the coding.
                    lambda: (
                        position + 11 + colours(position + 9),
                        _FRAME,
                        tf.stack([word(position + 7), word(position + 5)]),
                    ),
                ),
            ],
            default=lambda: (position, _BROKEN, size),
        )

    def sub_block(position: tf.Tensor, state: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, ...]:
        count = byte(position)
        ended = tf.where(tf.equal(state, _FRAME), _DONE, _BLOCK)
        return position + 1 + count, tf.where(tf.equal(count, 0), ended, state), size

    def step(position: tf.Tensor, state: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tf.cond(
            position >= length,
            lambda: (position, _BROKEN, size),
            lambda: tf.cond(
                tf.equal(state, _BLOCK),
                lambda: block(position, size),
                lambda: sub_block(position, state, size),
            ),
        )

    begin = 13 + colours(tf.constant(10))
    position, state, size = tf.while_loop(
        lambda _, state, __: state < _DONE,
        step,
        (begin, tf.constant(_BLOCK), tf.zeros([2], tf.int32)),
        maximum_iterations=_MAX_BLOCKS,
        parallel_iterations=1,
    )
    whole = tf.equal(state, _DONE) & (position <= length)
    file = tf.strings.join([tf.strings.substr(encoded, 0, position), _TRAILER])
    return file, tf.cast(tf.where(whole, size, 0), tf.int64)
