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
_HEADER_BYTES = 64  # What is read of a header lies within the first 34.

Pictures = tuple[tf.Tensor, tf.Tensor]


def decode(encoded: tf.Tensor, max_pixels: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes a scalar string.

    Returns:
        RGB uint8 `[H, W, 3]`; alpha uint8 `[H, W, 1]`, empty where nothing is transparent or the
        file is not a PNG; and "OK" or, in one line, what is wrong: pictures are empty then.
    """
    start = tf.strings.substr(encoded, 0, _HEADER_BYTES)
    header = tf.cast(tf.io.decode_raw(start, tf.uint8, fixed_length=_HEADER_BYTES), tf.int64)
    kind = _kind(encoded)
    file, size = tf.switch_case(
        tf.where(kind < 0, len(_SIGNATURES), kind),
        [
            lambda: (encoded, _png_size(start, header)),
            lambda: (encoded, _jpeg_size(encoded)),
            lambda: (encoded, _bmp_size(header)),
            lambda: gif_frames.first(encoded),
            lambda: (encoded, tf.zeros([2], tf.int64)),
        ],
    )
    status = _judge(encoded, kind, header, size, max_pixels)
    rgb, alpha = tf.cond(
        tf.equal(status, OK), lambda: _protected(_decoder(kind, header), file, _empty()), _empty
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


def _judge(
    encoded: tf.Tensor, kind: tf.Tensor, header: tf.Tensor, size: tf.Tensor, max_pixels: int
) -> tf.Tensor:
    """Returns "OK" or the first thing that is wrong as far as the header tells."""
    bits, compression = header[28] + 256 * header[29], header[30]
    odd_bmp = tf.equal(kind, _BMP) & ~(
        (tf.equal(bits, 24) & tf.equal(compression, 0))
        | (tf.equal(bits, 32) & (tf.equal(compression, 0) | tf.equal(compression, 3)))
    )
    # Sides first, since the product of two of 32 bits may not fit into 64.
    too_large = tf.reduce_any(size > max_pixels) | (tf.reduce_prod(size) > max_pixels)
    status = tf.constant(OK)
    for wrong, text in (  # The last that applies is reported.
        (
            too_large,
            tf.strings.format(
                f"has {{}}x{{}} pixels (width x height): this model takes at most {max_pixels}",
                (size[1], size[0]),
            ),
        ),
        (odd_bmp, "is a BMP file of other than 24 or 32 bits a pixel, or compressed"),
        (tf.reduce_any(size < 1), "has a damaged or truncated header"),
        (kind < 0, "is not a PNG, JPEG, BMP or GIF file"),
        (tf.equal(tf.strings.length(encoded), 0), "is empty"),
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
    def read(file: tf.Tensor) -> tuple[tf.Tensor]:
        return (tf.cast(tf.image.extract_jpeg_shape(file), tf.int64)[:2],)

    return _protected(read, encoded, (tf.zeros([2], tf.int64),))[0]


def _bmp_size(header: tf.Tensor) -> tf.Tensor:
    """Returns height and width of a BMP file; the height is negative if its rows begin at the top.

    They are where TensorFlow's decoder reads them, whichever version of the header it is.
    """
    places = tf.constant([1, 1 << 8, 1 << 16, 1 << 24], tf.int64)
    width, height = (tf.reduce_sum(header[begin : begin + 4] * places) for begin in (18, 22))
    signed = tf.where(height >= 1 << 31, height - (1 << 32), height)
    return tf.stack([tf.abs(signed), width])


def _decoder(kind: tf.Tensor, header: tf.Tensor) -> Callable[[tf.Tensor], Pictures]:
    """Returns what decodes files of `kind` to RGB and alpha; it raises what decoders raise."""
    opaque = tf.zeros([0, 0, 1], tf.uint8)

    def png(file: tf.Tensor) -> Pictures:
        rgba = tf.cond(
            tf.equal(header[24], 16),
            lambda: images.uint16_to_uint8(tf.io.decode_png(file, channels=4, dtype=tf.uint16)),
            lambda: tf.io.decode_png(file, channels=4),
        )
        alpha = rgba[..., 3:]
        return rgba[..., :3], tf.cond(
            tf.reduce_all(alpha >= tf.uint8.max), lambda: opaque, lambda: alpha
        )

    def decode(file: tf.Tensor) -> Pictures:
        return tf.switch_case(
            tf.cast(kind, tf.int32),
            [
                lambda: png(file),
                # As Pillow and libjpeg do by default; TensorFlow would take a faster one.
                lambda: (
                    tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE"),
                    opaque,
                ),
                # A fourth byte means nothing in most BMP files.
                lambda: (tf.io.decode_bmp(file)[..., :3], opaque),
                lambda: (tf.io.decode_gif(file)[0], opaque),
            ],
        )

    return decode


def _empty() -> Pictures:
    return tf.zeros([0, 0, 3], tf.uint8), tf.zeros([0, 0, 1], tf.uint8)


def _protected(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, ...]],
    encoded: tf.Tensor,
    otherwise: tuple[tf.Tensor, ...],
) -> tuple[tf.Tensor, ...]:
    """Returns `function(encoded)`, or `otherwise` if that raises."""
    options = tf.data.Options()
    # What is rewritten or tuned for long data sets costs more than it can save here.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    options.experimental_slack = False
    dataset = tf.data.Dataset.from_tensors(encoded).map(function).ignore_errors()
    return dataset.with_options(options).reduce(otherwise, lambda _, made: made)
