"""Upscales large pictures tile by tile, with the same result as in one piece. NumPy only.

A generator's memory grows with its input (11.8 KB per LR pixel for the paper's: a 1080p photo
would need 25 GB). Each tile is cut with a rim of real pixels at least as wide as the generator's
receptive radius, and the rim's output is thrown away: no kept pixel sees the tile's edge, so there
are no seams. At the picture's own border a tile ends where the picture ends, as in one piece.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

# Core side in LR pixels; with the paper's rim of 40 a tile takes 336 x 336 x 11.8 KB = 1.3 GB.
DEFAULT_TILE_SIZE = 256


@dataclasses.dataclass(frozen=True)
class Span:
    """One tile along one axis, in LR pixels: it reads [read_from, read_to), keeps [start, stop)."""

    read_from: int
    start: int
    stop: int
    read_to: int


def spans(size: int, *, tile_size: int, overlap: int, alignment: int = 1) -> list[Span]:
    """Cuts an axis into equal tiles of at most `tile_size` pixels plus the overlap on each side.

    An axis that fits into tile_size + 2 * overlap stays whole: that is what a tile reads anyway.
    Tiles are read from multiples of `alignment` (a wider rim on that side), because networks with
    strides look at blocks of pixels that are counted from the corner.
    """
    if tile_size < 1 or overlap < 0 or size < 1 or alignment < 1:
        raise ValueError(
            "size, tile_size and alignment must be at least 1, overlap at least 0: "
            f"{size=}, {tile_size=}, {overlap=}, {alignment=}."
        )
    count = 1 if size <= tile_size + 2 * overlap else -(-size // tile_size)
    edges = [size * i // count for i in range(count + 1)]
    return [
        Span(
            max(0, (start - overlap) // alignment * alignment),
            start,
            stop,
            min(size, stop + overlap),
        )
        for start, stop in zip(edges[:-1], edges[1:], strict=True)
    ]


def tiles(
    height: int, width: int, *, tile_size: int, overlap: int, alignment: int = 1
) -> Iterator[tuple[Span, Span]]:
    """Yields (rows, columns) of every tile, line by line."""
    options = {"tile_size": tile_size, "overlap": overlap, "alignment": alignment}
    columns = spans(width, **options)
    for row in spans(height, **options):
        for column in columns:
            yield row, column


def upscale(
    upscale_tile: Callable[[np.ndarray], np.ndarray],
    lr: np.ndarray,
    *,
    scale: int,
    overlap: int,
    tile_size: int = DEFAULT_TILE_SIZE,
    alignment: int = 1,
) -> np.ndarray:
    """Upscales `lr` `[H, W, C]` to `[H * scale, W * scale, C']` of `upscale_tile`'s dtype.

    Args:
        upscale_tile: maps `[h, w, C]` to `[h * scale, w * scale, C']` for any h and w.
        lr: the whole picture.
        scale: upscaling factor of `upscale_tile`.
        overlap: width of the rim in LR pixels; at least the receptive radius.
        tile_size: side of the part that a tile contributes, in LR pixels.
        alignment: what the first row and column of a tile must be multiples of.
    """
    height, width = lr.shape[:2]
    whole = None
    options = {"tile_size": tile_size, "overlap": overlap, "alignment": alignment}
    for row, column in tiles(height, width, **options):
        source = lr[row.read_from : row.read_to, column.read_from : column.read_to]
        tile = upscale_tile(source)
        expected = (source.shape[0] * scale, source.shape[1] * scale)
        if tile.shape[:2] != expected:
            raise ValueError(f"A tile came out as {tile.shape[:2]}, expected {expected}: {scale=}.")
        if whole is None:
            whole = np.empty((height * scale, width * scale, *tile.shape[2:]), tile.dtype)
        kept_rows = slice((row.start - row.read_from) * scale, (row.stop - row.read_from) * scale)
        kept_columns = slice(
            (column.start - column.read_from) * scale, (column.stop - column.read_from) * scale
        )
        whole[row.start * scale : row.stop * scale, column.start * scale : column.stop * scale] = (
            tile[kept_rows, kept_columns]
        )
    return whole
