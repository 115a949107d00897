"""Decodes a PNG, JPEG, BMP or GIF file inside a TensorFlow graph, or says what is wrong with it.

Sizes are read from the header before anything is decoded, so that a small file cannot claim a large
amount of memory. What decoders raise is caught by a data set that ignores errors: in a graph there
is no other way. EXIF orientation is not honoured; 16 bits are rounded to 8.
"""

from collections.abc import Callable

import tensorflow as tf

from srgan_tf import images
from srgan_tf.serving import gif_frames

OK = "OK"

_PNG, _JPEG, _BMP, _GIF = range(4)
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8")
_HEADER_BYTES = 66  # The last that is read of a header are the masks of a BMP file.
_MASKS_AT = 54
# Red, green, blue: the order that TensorFlow takes for granted.
_MASKS = tuple(int(digits, 16) for digits in ("ff0000", "ff00", "ff"))

Pictures = tuple[tf.Tensor, tf.Tensor]


def decode(
    encoded: tf.Tensor, *, max_pixels: int, max_side: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes a scalar string that has at most so many pixels in all and on a side.

    Returns:
        RGB uint8 `[H, W, 3]`; alpha uint8 `[H, W, 1]`, empty where nothing is transparent or the
        file is not a PNG; and "OK" or, in one line, what is wrong: pictures are empty then.
    """
    start = tf.strings.substr(encoded, 0, _HEADER_BYTES)
    header = tf.cast(tf.io.decode_raw(start, tf.uint8, fixed_length=_HEADER_BYTES), tf.int64)
    kind = _kind(encoded)
    file, size, problem = tf.switch_case(
        tf.where(kind < 0, len(_SIGNATURES), kind),
        [
            lambda: (encoded, _png_size(start, header), ""),
            lambda: (encoded, _jpeg_size(encoded), ""),
            lambda: (encoded, *_bmp_size(header)),
            lambda: gif_frames.first(encoded),
            lambda: (encoded, tf.zeros([2], tf.int64), "is not a PNG, JPEG, BMP or GIF file"),
        ],
    )
    problem = tf.where(tf.equal(tf.strings.length(encoded), 0), "is empty", problem)
    status = _judge(size, problem, max_pixels=max_pixels, max_side=max_side)
    rgb, alpha = tf.cond(
        tf.equal(status, OK),
        lambda: _decode(kind, file, header),
        lambda: (_none(tf.uint8, 3), _none(tf.uint8, 1)),
    )
    rgb.set_shape([None, None, 3])
    alpha.set_shape([None, None, 1])
    failed = tf.equal(status, OK) & tf.reduce_any(tf.shape(rgb, tf.int64)[:2] != size)
    return rgb, alpha, tf.where(failed, "cannot be decoded: damaged or truncated", status)


def _kind(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the number of the format, -1 if it is none of them."""
    matches = [
        tf.equal(tf.strings.substr(encoded, 0, len(signature)), signature)
        for signature in _SIGNATURES
    ]
    numbers = tf.range(len(_SIGNATURES))
    return tf.reduce_max(tf.where(tf.stack(matches), numbers, -1))


def _judge(size: tf.Tensor, problem: tf.Tensor, *, max_pixels: int, max_side: int) -> tf.Tensor:
    """Returns "OK" or the first thing that is wrong as far as the header tells.

    Args:
        size: height and width.
        problem: what is known to be wrong, or "".
        max_pixels: in all.
        max_side: of height and width.
    """
    shown = "has {}x{} pixels (width x height): this model takes at most "
    sides = (size[1], size[0])
    status = tf.constant(OK)
    for wrong, text in (  # The last that applies is reported.
        (
            tf.reduce_any(size > max_side),
            tf.strings.format(f"{shown}{max_side} on a side", sides),
        ),
        # Sides, too, since the product of two of 32 bits may not fit into 64.
        (
            tf.reduce_any(size > max_pixels) | (tf.reduce_prod(size) > max_pixels),
            tf.strings.format(f"{shown}{max_pixels}", sides),
        ),
        (tf.reduce_any(size < 1), "has a damaged or truncated header"),
        (tf.not_equal(problem, ""), problem),
    ):
        status = tf.where(wrong, text, status)
    return status


def _png_size(start: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    """Returns height and width of a PNG file, 0 and 0 if its first chunk is not the header."""
    found = tf.equal(tf.strings.substr(tf.strings.join([start, "\0" * 16]), 12, 4), "IHDR")
    places = tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64)
    width, height = (tf.reduce_sum(header[begin : begin + 4] * places) for begin in (16, 20))
    return tf.where(found, tf.stack([height, width]), tf.zeros([2], tf.int64))


def _jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns height and width of a JPEG file, 0 and 0 if they cannot be read."""
    found = _protected(tf.image.extract_jpeg_shape, encoded, tf.zeros([3], tf.int32))
    return tf.cast(found[:2], tf.int64)


def _bmp_size(header: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns height and width of a BMP file, and what the decoder would not tell of it, or "".

    They are where TensorFlow's decoder reads them, whichever version of the header it is.
    """
    places = tf.constant([1, 1 << 8, 1 << 16, 1 << 24], tf.int64)
    width, height = (tf.reduce_sum(header[begin : begin + 4] * places) for begin in (18, 22))
    signed = tf.where(height >= 1 << 31, height - (1 << 32), height)
    size = tf.stack([tf.abs(signed), width])  # Negative if its rows begin at the top.

    bits, compression = header[28] + 256 * header[29], tf.reduce_sum(header[30:34] * places)
    masks = tf.reshape(header[_MASKS_AT : _MASKS_AT + 12], [3, 4])
    usual = tf.reduce_all(tf.equal(tf.reduce_sum(masks * places, axis=1), _MASKS))
    plain = tf.equal(compression, 0) & (tf.equal(bits, 24) | tf.equal(bits, 32))
    masked = tf.equal(compression, 3) & tf.equal(bits, 32)
    text = "is a BMP file of other than 24 or 32 bits a pixel, or compressed"
    text = tf.where(masked, "is a BMP file whose bytes are not blue, green, red", text)
    fine = plain | (masked & usual) | tf.reduce_any(size < 1)
    return size, tf.where(fine, "", text)


def _decode(kind: tf.Tensor, file: tf.Tensor, header: tf.Tensor) -> Pictures:
    """Returns RGB and alpha of a file of `kind`, empty if it cannot be decoded."""
    opaque = tf.zeros([0, 0, 1], tf.uint8)

    def png() -> Pictures:
        rgba = tf.cond(
            tf.equal(header[24], 16),
            lambda: images.uint16_to_uint8(
                _protected(lambda x: tf.io.decode_png(x, 4, tf.uint16), file, _none(tf.uint16, 4))
            ),
            lambda: _protected(lambda x: tf.io.decode_png(x, 4), file, _none(tf.uint8, 4)),
        )
        alpha = rgba[..., 3:]
        # Without alpha in the file it is the largest value of its bits: 15 if they are 4.
        filler = tf.cast(tf.bitwise.left_shift(tf.constant(1, tf.int64), header[24]) - 1, tf.uint8)
        none = (alpha >= tf.uint8.max) | ((header[24] < 8) & tf.equal(alpha, filler))
        return rgba[..., :3], tf.cond(tf.reduce_all(none), lambda: opaque, lambda: alpha)

    def jpeg(encoded: tf.Tensor) -> tf.Tensor:
        # As Pillow and libjpeg do by default; TensorFlow would take a faster one.
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    rgb = _none(tf.uint8, 3)
    return tf.switch_case(
        kind,
        [
            png,
            lambda: (_protected(jpeg, file, rgb), opaque),
            # A fourth byte means nothing in most BMP files.
            lambda: (_protected(lambda x: tf.io.decode_bmp(x)[..., :3], file, rgb), opaque),
            lambda: (_protected(lambda x: tf.io.decode_gif(x)[0], file, rgb), opaque),
        ],
    )


def _none(dtype: tf.DType, channels: int) -> tf.Tensor:
    return tf.zeros([0, 0, channels], dtype)


def _protected(
    function: Callable[[tf.Tensor], tf.Tensor], encoded: tf.Tensor, otherwise: tf.Tensor
) -> tf.Tensor:
    """Returns `function(encoded)`, or `otherwise` if that raises.

    `function` is made ready at each call: the smaller the quicker (1 ms).
    """
    options = tf.data.Options()
    # What is rewritten or tuned for long data sets costs several times as much.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    found = tf.data.Dataset.from_tensors(encoded).map(function).ignore_errors()
    either = found.concatenate(tf.data.Dataset.from_tensors(otherwise)).take(1)
    return either.with_options(options).get_single_element()
