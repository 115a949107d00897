"""Cuts a GIF file behind its first frame, inside a TensorFlow graph, or says why it cannot.

TensorFlow's decoder unpacks all frames of an animation, each as large as it says it is, and then
returns the first: so the others are cut off before it sees them. A first frame that is not the
whole canvas it decodes to something else, so that is refused.
"""

import tensorflow as tf

# At the usual 255 bytes 8 MB. It bounds the time that a hostile file can take (seconds).
_MAX_BLOCKS = 1 << 15
# Pixels come in blocks of 254 or 255 bytes; of shorter ones there are a few between (their ends,
# headers), and up to some hundreds in a comment or metadata. Each takes 0.1 ms, however short.
_SHORT_BYTES = 128
_MAX_SHORT = 400
FRAGMENTED = "is a GIF file in too many small blocks"
PARTIAL = "is a GIF file whose first frame is not the whole picture"
_EXTENSION, _IMAGE = 0x21, 0x2C
_TRAILER = b"\x3b"
# What the loop is at.
_BLOCK, _SUB_BLOCKS, _FRAME, _DONE, _BROKEN = range(5)


def first(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns a file with the first frame alone, its height and width, and what is wrong with it.

    Sizes are int64 `[2]`, 0 where there is no frame or not the whole of it; what is wrong is
    `FRAGMENTED`, `PARTIAL`, or "" where nothing else is.
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
                        tf.stack([word(position + at) for at in (7, 5, 3, 1)]),
                    ),
                ),
            ],
            default=lambda: (position, _BROKEN, size),
        )

    def sub_block(position: tf.Tensor, state: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, ...]:
        count = byte(position)
        ended = tf.where(tf.equal(state, _FRAME), _DONE, _BLOCK)
        return position + 1 + count, tf.where(tf.equal(count, 0), ended, state), size

    def step(
        position: tf.Tensor, state: tf.Tensor, size: tf.Tensor, short: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        after, state, size = tf.cond(
            position >= length,
            lambda: (position, _BROKEN, size),
            lambda: tf.cond(
                tf.equal(state, _BLOCK),
                lambda: block(position, size),
                lambda: sub_block(position, state, size),
            ),
        )
        return after, state, size, short + tf.cast(after - position < _SHORT_BYTES, tf.int32)

    begin = 13 + colours(tf.constant(10))
    position, state, place, short = tf.while_loop(
        lambda _, state, __, short: (state < _DONE) & (short <= _MAX_SHORT),
        step,
        # Of the frame: height, width, top and left.
        (begin, tf.constant(_BLOCK), tf.zeros([4], tf.int32), tf.constant(0)),
        maximum_iterations=_MAX_BLOCKS,
        parallel_iterations=1,
    )
    whole = tf.equal(state, _DONE) & (position <= length)
    canvas = tf.stack([word(tf.constant(8)), word(tf.constant(6)), 0, 0])
    wrong = tf.where(whole & tf.reduce_any(place != canvas), PARTIAL, "")
    wrong = tf.where((state < _DONE) & (short > _MAX_SHORT), FRAGMENTED, wrong)
    file = tf.strings.join([tf.strings.substr(encoded, 0, position), _TRAILER])
    return file, tf.cast(tf.where(whole, place[:2], 0), tf.int64), wrong
