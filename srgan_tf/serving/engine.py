"""Runs a network on tiles: in one go, or its trunk on the tile and its tail part by part."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from srgan_tf.serving import memory, tiling


@dataclasses.dataclass(frozen=True)
class Halves:
    """A network cut in two (network.py).

    `trunk` maps uint8 `[1, h, w, 3]` to features `[1, h, w, C]`; `tail` these, or a part of them,
    to SR uint8. `rim` is how many features around its own an SR pixel can depend on.
    """

    trunk: Callable[[np.ndarray], Any]
    tail: Callable[[Any], np.ndarray]
    rim: int


@dataclasses.dataclass(frozen=True)
class Engine:
    """A network that enlarges by `scale`: `whole` maps uint8 `[1, h, w, 3]` to uint8.

    Attributes:
        whole: the network.
        halves: the same in two halves, where it has been cut.
        scale: its factor.
        receptive_radius: LR pixels around its own that an SR pixel depends on.
        alignment: what the positions of tiles must be multiples of.
        cost: what memory it takes.
    """

    whole: Callable[[np.ndarray], np.ndarray]
    halves: Halves | None
    scale: int
    receptive_radius: int
    alignment: int
    cost: memory.Cost

    parallel = 1  # Pictures that are worth being in the works at a time.

    def planner(self, memory_mb: int | None, tile_size: int | None) -> memory.Planner:
        """Returns what chooses the tiles of a picture; arguments as in `Upscaler.load`.

        Raises:
            errors.InputError: not even the smallest tile fits into the budget.
        """
        if tile_size is not None:
            return lambda height, width: memory.Plan((tile_size, tile_size), memory.PART)
        memory.return_freed()
        # The first run takes memory that stays: threads, the traced graph.
        self.tile_function(memory.SMALLEST_PART)(
            np.zeros([16, 16, 3], np.uint8), slice(0, 16), slice(0, 16)
        )
        planner = functools.partial(
            memory.plan,
            available=memory.left(memory_mb),
            memory_mb=memory_mb or memory.DEFAULT_MB,
            cost=self.cost,
            scale=self.scale,
            rim=-(-self.receptive_radius // self.alignment) * self.alignment,
        )
        planner(1000, 1000)
        return planner

    def in_order(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Yields `function` of each item; one after the other, for each takes all cores."""
        return map(function, items)

    def close(self) -> None:
        """There is nothing to close."""

    def tile_function(self, part_pixels: int) -> tiling.TileFunction:
        """Returns what upscales a tile; the tail takes about `part_pixels` features at once."""
        if self.halves is None or not part_pixels:
            return tiling.keeping(lambda tile: self.whole(tile[None])[0], self.scale)
        side = max(1, math.isqrt(part_pixels) - 2 * self.halves.rim)

        def upscale_tile(tile: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
            features = self.halves.trunk(tile[None])
            size = (rows.stop - rows.start, columns.stop - columns.start)
            sr = np.empty((*(self.scale * one for one in size), 3), np.uint8)
            for top, bottom in _cut(rows, side):
                for left, right in _cut(columns, side):
                    place = (
                        slice(self.scale * (top - rows.start), self.scale * (bottom - rows.start)),
                        slice(
                            self.scale * (left - columns.start),
                            self.scale * (right - columns.start),
                        ),
                    )
                    sr[place] = self._part(features, tile.shape, (top, bottom), (left, right))
            return sr

        return upscale_tile

    def _part(
        self,
        features: Any,
        size: tuple[int, ...],
        rows: tuple[int, int],
        columns: tuple[int, int],
    ) -> np.ndarray:
        """Returns what the features in `rows` and `columns` become."""
        reads, keeps = [], []
        for (start, stop), length in zip((rows, columns), size[:2], strict=True):
            begin = max(0, start - self.halves.rim)
            reads.append(slice(begin, min(length, stop + self.halves.rim)))
            keeps.append(slice((start - begin) * self.scale, (stop - begin) * self.scale))
        return self.halves.tail(features[:, reads[0], reads[1]])[0][keeps[0], keeps[1]]


def _cut(pixels: slice, side: int) -> list[tuple[int, int]]:
    """Cuts an axis into equal parts of at most `side`."""
    length = pixels.stop - pixels.start
    count = -(-length // side)
    edges = [pixels.start + length * index // count for index in range(count + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))
