"""The tiles of tiling.py as part of a TensorFlow graph: for servers, which run no Python.

A batch that is small enough is one call of the network. Otherwise a loop goes over groups of
pictures, or over the tiles of one picture after the other, one at a time; what each becomes (uint8
mostly) is kept, and all of it is joined once at the end: twice the output is the most that is held.
"""

from collections.abc import Callable

import tensorflow as tf

# Maps `[b, h, w, C]` to `[b, h * scale, w * scale, C']`.
Function = Callable[[tf.Tensor], tf.Tensor]


def apply(
    function: Function,
    inputs: tf.Tensor,
    *,
    scale: int,
    rim: int,
    pixels: int | tf.Tensor,
    alignment: int = 1,
    dtype: tf.DType = tf.uint8,
) -> tf.Tensor:
    """Returns `function(inputs)`, computed on about `pixels` pixels at a time.

    Args:
        function: enlarges pictures of any size and number by `scale`. It is called in three places
            of the graph: a tf.function is stored once.
        inputs: `[B, H, W, C]`, none of them 0.
        scale: the factor.
        rim: how many pixels around its own an output pixel can depend on.
        pixels: of the input, rims included; at least (2 * rim + 1)**2; as a tensor int64.
        alignment: what the positions of tiles must be multiples of.
        dtype: of what `function` returns.
    """
    pixels = tf.convert_to_tensor(pixels, tf.int64)
    options = {"scale": scale, "rim": rim, "pixels": pixels, "alignment": alignment}
    shape = tf.shape(inputs, tf.int64)
    return tf.cond(
        tf.reduce_prod(shape[:3]) <= pixels,
        lambda: function(inputs),
        lambda: _loop(function, inputs, **options, dtype=dtype),
    )


def spans(size: tf.Tensor, tile_size: tf.Tensor, *, rim: int, alignment: int) -> tf.Tensor:
    """Returns `tiling.spans` as int64 `[tiles, 4]`: read_from, start, stop, read_to.

    Args:
        size: int64, at least 1.
        tile_size: int64, at least 1.
        rim: a multiple of `alignment`.
        alignment: what `read_from` is a multiple of.
    """
    inner = tf.maximum(size - 2 * rim, 1)
    tile_size = _round_up(tile_size, alignment)
    kept = _round_up(-(-inner // -(-inner // tile_size)), alignment)
    count = -(-inner // kept)
    starts = tf.range(count) * kept
    first, last = starts < 1, starts >= (count - 1) * kept
    latest = tf.maximum((size - kept - 2 * rim) // alignment * alignment, 0)
    return tf.stack(
        [
            tf.where(last, latest, starts),
            tf.where(first, tf.zeros_like(starts), starts + rim),
            tf.where(last, size, starts + kept + rim),
            tf.where(last, size, starts + kept + 2 * rim),
        ],
        axis=1,
    )


def _loop(
    function: Function,
    inputs: tf.Tensor,
    *,
    scale: int,
    rim: int,
    pixels: tf.Tensor,
    alignment: int,
    dtype: tf.DType,
) -> tf.Tensor:
    count, height, width, _ = tf.unstack(tf.shape(inputs, tf.int64))
    rim = -(-rim // alignment) * alignment
    rows, columns = (
        spans(size, tf.maximum(side - 2 * rim, 1), rim=rim, alignment=alignment)
        for size, side in zip((height, width), _sides(height, width, pixels), strict=True)
    )
    row_count = tf.shape(rows, tf.int64)[0]
    tiles = row_count * tf.shape(columns, tf.int64)[0]
    # Pictures at a time: several only if they are whole.
    group = tf.where(tiles > 1, tf.ones_like(tiles), tf.maximum(pixels // (height * width), 1))

    def strip(job: tf.Tensor) -> tf.Tensor:
        begin, row = job // row_count * group, rows[job % row_count]
        part = inputs[begin : begin + group, row[0] : row[3]]

        def tile(index: tf.Tensor) -> tf.Tensor:
            column = columns[index]
            made = function(part[:, :, column[0] : column[3]])
            top, bottom, left, right = (
                scale * (x - span[0]) for span in (row, column) for x in (span[1], span[2])
            )
            # Lists are joined along their first axis.
            return tf.transpose(made[:, top:bottom, left:right], [2, 0, 1, 3])

        made = tf.transpose(_join(tile, tf.shape(columns, tf.int64)[0], dtype), [1, 2, 0, 3])
        # Strips follow each other as rows do, from picture to picture.
        return tf.reshape(made, tf.concat([[-1], tf.shape(made)[2:]], 0))

    strips = _join(strip, -(-count // group) * row_count, dtype)
    sizes = tf.stack([count, height * scale, width * scale])
    return tf.reshape(strips, tf.concat([sizes, tf.shape(strips, tf.int64)[2:]], 0))


def _join(make: Function, count: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns what `make` gives for 0, 1, ... `count` - 1, one after the other along axis 0."""
    made = tf.TensorArray(dtype, tf.cast(count, tf.int32), infer_shape=False)
    _, made = tf.while_loop(
        lambda index, _: index < count,
        lambda index, array: (index + 1, array.write(tf.cast(index, tf.int32), make(index))),
        (tf.zeros([], tf.int64), made),
        parallel_iterations=1,  # Memory.
    )
    return made.concat()


def smallest(rim: int) -> int:
    """Returns the pixels of the smallest tile that pays: it keeps as much as one of its rims."""
    return (3 * rim + 1) ** 2


def _sides(height: tf.Tensor, width: tf.Tensor, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns height and width of tiles of `pixels` pixels within a picture, as square as can be.

    They are those of `memory.plan`.
    """
    root = tf.cast(tf.sqrt(tf.cast(pixels, tf.float64)), tf.int64)
    short = tf.minimum(tf.minimum(height, width), root)
    long = tf.minimum(tf.maximum(height, width), pixels // short)
    wide = width > height
    return tf.where(wide, short, long), tf.where(wide, long, short)


def _round_up(number: tf.Tensor, multiple: int) -> tf.Tensor:
    return -(-number // multiple) * multiple
