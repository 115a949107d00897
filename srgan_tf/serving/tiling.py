"""Upscales large pictures tile by tile, with the same result as in one piece. NumPy only.

A generator's memory grows with its input (11.8 KB per LR pixel for the paper's: a 1080p photo
would need 25 GB). Each tile is cut with a rim of real pixels at least as wide as the generator's
receptive radius, and the rim's output is thrown away: no kept pixel sees the tile's edge, so there
are no seams. At the picture's own border a tile ends where the picture ends, as in one piece.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np

# Maps a tile `[h, w, C]` and the rows and columns of it that are kept to what they become,
# `[rows * scale, columns * scale, C']`. Slices have their start and stop within the tile.
TileFunction = Callable[[np.ndarray, slice, slice], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Span:
    """One tile along one axis, in LR pixels: it reads [read_from, read_to), keeps [start, stop)."""

    read_from: int
    start: int
    stop: int
    read_to: int


def spans(size: int, *, tile_size: int, overlap: int, alignment: int = 1) -> list[Span]:
    """Cuts an axis into tiles that keep `tile_size` pixels and read `overlap` more on each side.

    All read equally many (where alignment is 1, and nearly so where it is not), so that a network
    meets one size: there is no rim at the picture's border, so the tiles there keep more, and the
    last one begins earlier than it need. An axis that fits into tile_size + 2 * overlap stays
    whole. Tiles are read from multiples of `alignment` (both figures are rounded up to it), because
    networks with strides look at blocks of pixels that are counted from the corner.
    """
    if tile_size < 1 or overlap < 0 or size < 1 or alignment < 1:
        raise ValueError(
            "size, tile_size and alignment must be at least 1, overlap at least 0: "
            f"{size=}, {tile_size=}, {overlap=}, {alignment=}."
        )
    rim, tile_size = _round_up(overlap, alignment), _round_up(tile_size, alignment)
    inner = size - 2 * rim
    if inner <= tile_size:
        return [Span(0, 0, size, size)]
    kept = _round_up(-(-inner // -(-inner // tile_size)), alignment)
    count = -(-inner // kept)
    found = []
    for start in range(0, count * kept, kept):
        read_from, read_to = start, start + kept + 2 * rim
        if start == (count - 1) * kept:
            read_from = (size - kept - 2 * rim) // alignment * alignment
            read_to = size
        found.append(Span(read_from, start + rim, min(start + kept + rim, size), read_to))
    found[0] = dataclasses.replace(found[0], start=0)
    found[-1] = dataclasses.replace(found[-1], stop=size)
    return found


def strips(
    upscale_tile: TileFunction,
    lr: np.ndarray,
    *,
    scale: int,
    overlap: int,
    tile_size: tuple[int, int],
    alignment: int = 1,
    in_order: Callable[..., Iterator] = map,
) -> Iterator[np.ndarray]:
    """Yields the upscaled picture from top to bottom as arrays `[rows, W * scale, C']`.

    Args:
        upscale_tile: see `TileFunction`; for tiles of any size.
        lr: the whole picture, `[H, W, C]`.
        scale: upscaling factor of `upscale_tile`.
        overlap: width of the rim in LR pixels; at least the receptive radius.
        tile_size: height and width of the part that a tile contributes, in LR pixels.
        alignment: what the first row and column of a tile must be multiples of.
        in_order: as `map`, which does one tile after the other; another may look ahead.
    """
    height, width = lr.shape[:2]
    rows, columns = (
        spans(size, tile_size=tile, overlap=overlap, alignment=alignment)
        for size, tile in zip((height, width), tile_size, strict=True)
    )

    def run(place: tuple[Span, Span]) -> np.ndarray:
        row, column = place
        kept = [slice(x.start - x.read_from, x.stop - x.read_from) for x in place]
        tile = upscale_tile(
            lr[row.read_from : row.read_to, column.read_from : column.read_to], *kept
        )
        expected = tuple(scale * (one.stop - one.start) for one in kept)
        if tile.shape[:2] != expected:
            raise ValueError(f"A tile came out as {tile.shape[:2]}, expected {expected}: {scale=}.")
        return tile

    tiles = in_order(run, itertools.product(rows, columns))
    for _ in rows:
        strip = None
        for column in columns:
            tile = next(tiles)
            if strip is None:
                strip = np.empty((len(tile), width * scale, *tile.shape[2:]), tile.dtype)
            strip[:, column.start * scale : column.stop * scale] = tile
        del tile  # The caller may take its time with the strip.
        yield strip


def keeping(upscale: Callable[[np.ndarray], np.ndarray], scale: int) -> TileFunction:
    """Returns the tile function that upscales whole tiles by `upscale` and cuts the rim off."""

    def upscale_tile(tile: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        sr = upscale(tile)
        expected = (tile.shape[0] * scale, tile.shape[1] * scale)
        if sr.shape[:2] != expected:
            raise ValueError(f"A tile came out as {sr.shape[:2]}, expected {expected}: {scale=}.")
        return sr[enlarged(rows, scale), enlarged(columns, scale)]

    return upscale_tile


def enlarged(pixels: slice, scale: int) -> slice:
    """Returns what LR pixels [start, stop) become."""
    return slice(pixels.start * scale, pixels.stop * scale)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
