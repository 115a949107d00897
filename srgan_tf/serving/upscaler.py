"""Upscales pictures with a trained model: a run folder, an exported SavedModel, or by name.

No training code is imported here. Pictures are uint8 RGB; large ones are done tile by tile
(tiling.py) with the same result, in tiles as large as the memory budget allows (memory.py).
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from srgan_tf.serving import engine as engine_lib
from srgan_tf.serving import memory, models, tiling


class Upscaler:
    """A model that enlarges pictures by `scale`; make one with `Upscaler.load`."""

    def __init__(
        self,
        engine: engine_lib.Engine,
        *,
        memory_mb: int | None = None,
        tile_size: int | None = None,
        origin: dict[str, Any],
    ):
        """Prefer `load`, which has the same arguments and more.

        Args:
            engine: the network.
            memory_mb: the budget that decides how large tiles are; see `memory.left`.
            tile_size: side of a tile in LR pixels, without its rim; instead of a budget.
            origin: where the model comes from (path, step, ...), for reports.

        Raises:
            errors.InputError: not even the smallest tile fits into the budget.
        """
        self.scale = engine.scale
        self.origin = origin
        self._engine = engine
        self._tile_size = tile_size
        self._memory_mb = self._available = 0
        if tile_size is None:
            memory.return_freed()
            # The first run takes memory that stays: threads, the traced graph.
            engine.tile_function(memory.SMALLEST_PART)(
                np.zeros([16, 16, 3], np.uint8), slice(0, 16), slice(0, 16)
            )
            self._memory_mb = memory_mb or memory.DEFAULT_MB
            self._available = memory.left(memory_mb)
            self._plan(1000, 1000)

    @classmethod
    def load(
        cls,
        path: str,
        checkpoint: str = "last",
        *,
        weights: str | None = None,
        tile_size: int | None = None,
        memory_mb: int | None = None,
        backend: str = "tensorflow",
        precision: str | None = None,
    ) -> "Upscaler":
        """Loads a run folder, a SavedModel, the highest version in a folder of them, or by name.

        Args:
            path: the folder, or the name of a pretrained model (models/pretrained.py). A folder
                that is called like one is written `./srgan`.
            checkpoint: "last", "best" or a step; for run folders only.
            weights: "raw" or "ema" of a run folder; None is "ema" where the run has it.
            tile_size: side of a tile in LR pixels; None lets `memory_mb` decide.
            memory_mb: what the whole process may take, beside the picture and the file; None is
                650 MB for the tiles alone.
            backend: what runs the model, a key of `backends.BACKENDS`.
            precision: what the backend computes in; None is the model's own.

        Raises:
            errors.InputError: `path` is none of these, or cannot be loaded, or the budget is too
                small, or the backend or its precision cannot be had.
        """
        engine, origin = models.load(
            path, checkpoint, weights, backend=backend, precision=precision
        )
        return cls(engine, memory_mb=memory_mb, tile_size=tile_size, origin=origin)

    @property
    def fingerprint(self) -> str:
        """What tells this model from others: of its weights, or else of where it comes from."""
        return self.origin.get("fingerprint") or models.fingerprint(self.origin)

    def strips(self, rgb: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the enlarged picture of uint8 `[H, W, 3]` from top to bottom: `[rows, W', 3]`.

        Raises:
            errors.InputError: the picture cannot be done within the memory budget.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            raise ValueError(f"rgb must be uint8 [H, W, 3]: {rgb.dtype=}, {rgb.shape=}.")
        plan = self._plan(*rgb.shape[:2])
        return tiling.strips(
            self._engine.tile_function(plan.part_pixels),
            rgb,
            scale=self.scale,
            overlap=self._engine.receptive_radius,
            tile_size=plan.tile_size,
            alignment=self._engine.alignment,
        )

    def upscale(self, rgb: np.ndarray) -> np.ndarray:
        """Returns uint8 `[H * scale, W * scale, 3]` of uint8 `[H, W, 3]`; errors as in `strips`."""
        strips = self.strips(rgb)
        first = next(strips)
        whole = np.empty((self.scale * rgb.shape[0], *first.shape[1:]), np.uint8)
        top = 0
        for strip in itertools.chain([first], strips):
            whole[top : top + len(strip)] = strip
            top += len(strip)
        return whole

    def _plan(self, height: int, width: int) -> memory.Plan:
        """Returns the tiles for a picture."""
        engine = self._engine
        if self._tile_size is not None:
            return memory.Plan((self._tile_size, self._tile_size), memory.PART)
        return memory.plan(
            height,
            width,
            available=self._available,
            memory_mb=self._memory_mb,
            cost=engine.cost,
            scale=engine.scale,
            rim=-(-engine.receptive_radius // engine.alignment) * engine.alignment,
        )
