"""Upscales pictures with a trained model, here or on a server: `Upscaler.load`.

No training code is imported here, and TensorFlow only where the model needs it. Large pictures are
done tile by tile (tiling.py) with the same result, in tiles as large as the memory budget allows
(memory.py) or the server is sent (remote.py).
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from srgan_tf import errors
from srgan_tf.serving import client, fingerprint, in_memory, remote, tiling
from srgan_tf.serving import engine as engine_lib


class Upscaler:
    """A model that enlarges pictures by `scale`; make one with `Upscaler.load`.

    One object may be used by several threads. `with Upscaler.load(...) as upscaler:` closes the
    connections to a server at the end; a model in this process has none.
    """

    def __init__(
        self,
        engine: engine_lib.Engine | remote.Engine,
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
        self.parallel = engine.parallel  # Pictures that are worth being in the works at a time.
        self._engine = engine
        self._plan = engine.planner(memory_mb, tile_size)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        checkpoint: str = "last",
        *,
        weights: str | None = None,
        tile_size: int | None = None,
        memory_mb: int | None = None,
        backend: str = "tensorflow",
        precision: str | None = None,
        **server: Any,
    ) -> "Upscaler":
        """Loads a model into this process, or connects to one on a TensorFlow Serving server.

        Args:
            path: a run folder, a SavedModel, a folder of numbered ones (the highest), the name of a
                pretrained model (models/pretrained.py; a folder that is called like one is written
                `./srgan`), or `grpc://host:port`, `http://host:port` (TLS: grpcs, https).
            checkpoint: "last", "best" or a step; for run folders only.
            weights: "raw" or "ema" of a run folder; None is "ema" where the run has it.
            tile_size: side of a tile in LR pixels; None lets `memory_mb`, or the server, decide.
            memory_mb: what the whole process may take, beside the picture and the file; None is
                650 MB for the tiles alone. Not for servers.
            backend: what runs the model, a key of `backends.BACKENDS`. Not for servers.
            precision: what the backend computes in; None is the model's own. Not for servers.
            **server: `model_name` and the other fields of `client.Options`; for servers only.

        Raises:
            errors.InputError: `path` is none of these, or cannot be loaded, or the budget is too
                small, or the backend or its precision cannot be had, or the server does not have
                the model, or an option is not for this kind of model.
            errors.RunError: the server cannot be reached.
            TypeError: there is no such argument.
        """
        path = os.fspath(path)
        unknown = server.keys() - {one.name for one in dataclasses.fields(client.Options)}
        if unknown:
            raise TypeError(f"Upscaler.load has no argument {', '.join(sorted(unknown))}.")
        if client.is_address(path):
            local = {
                "checkpoint": checkpoint != "last",
                "weights": weights,
                "memory_mb": memory_mb,
                "backend": backend != "tensorflow",
                "precision": precision,
            }
            _refuse([name for name, given in local.items() if given], path)
            engine, origin = remote.connect(path, client.Options(**server))
        else:
            _refuse(list(server), path)
            from srgan_tf.serving import models  # With TensorFlow.

            engine, origin = models.load(
                path, checkpoint, weights, backend=backend, precision=precision
            )
        return cls(engine, memory_mb=memory_mb, tile_size=tile_size, origin=origin)

    @property
    def fingerprint(self) -> str:
        """What tells this model from others: of its weights, or else of where it comes from."""
        return self.origin.get("fingerprint") or fingerprint.of_facts(self.origin)

    def strips(self, rgb: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the enlarged picture of uint8 `[H, W, 3]` from top to bottom: `[rows, W', 3]`.

        Raises:
            errors.InputError: the picture cannot be done within the memory budget, or the server
                refuses it.
            errors.RunError: the server is gone.
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
            in_order=self._engine.in_order,
        )

    def upscale(self, image: np.ndarray | Image.Image | str | os.PathLike) -> Any:
        """Returns the picture enlarged, in the kind of thing that it came as.

        Args:
            image: an array, uint8 `[H, W]` or `[H, W, C]` (1 grey, 2 grey and alpha, 3 RGB, 4 RGB
                and alpha): an array of as many axes and channels comes back. A picture of Pillow's:
                one in L, LA, RGB or RGBA comes back (from other modes the nearest of these),
                upright. A path: a picture of Pillow's.

        Raises:
            ValueError: anything else, or an array of another type or shape.
            errors.InputError: the file cannot be read, or as in `strips`.
            errors.RunError: as in `strips`.
        """
        return in_memory.upscale(image, self.strips, self.scale)

    def close(self) -> None:
        """Ends requests that are in flight and closes the connections to a server."""
        self._engine.close()

    def __enter__(self) -> "Upscaler":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _refuse(names: list[str], path: str) -> None:
    """Raises where options were given that say nothing about this kind of model."""
    if names:
        kinds = ("servers", "models in this process")
        of, here = kinds[::-1] if client.is_address(path) else kinds
        raise errors.InputError(
            f"{', '.join(f'--{name}' for name in names)}: for {of} only, but {path} is one of the "
            f"{here}; leave it out."
        )
