"""Upscales pictures with a trained model: a run folder, an exported SavedModel, or by name.

No training code is imported here. Pictures are uint8 RGB; large ones are done tile by tile
(tiling.py) with the same result.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from srgan_tf import errors, run_folder
from srgan_tf.models import pretrained, receptive
from srgan_tf.serving import export, tiling


class Upscaler:
    """A model that enlarges pictures by `scale`; make one with `Upscaler.load`."""

    def __init__(
        self,
        upscale_batch: Callable[[tf.Tensor], tf.Tensor],
        *,
        scale: int,
        receptive_radius: int,
        alignment: int,
        tile_size: int = tiling.DEFAULT_TILE_SIZE,
        origin: dict[str, Any],
    ):
        """Prefer `load`.

        Args:
            upscale_batch: maps uint8 `[1, h, w, 3]` to uint8 `[1, h * scale, w * scale, 3]`.
            scale: the model's upscaling factor.
            receptive_radius: LR pixels around its own that an SR pixel depends on.
            alignment: what the positions of tiles must be multiples of.
            tile_size: side of a tile in LR pixels, without its rim.
            origin: where the model comes from (path, step, ...), for reports.
        """
        self.scale = scale
        self.origin = origin
        self._upscale_batch = upscale_batch
        self._overlap = receptive_radius
        self._alignment = alignment
        self._tile_size = tile_size

    @classmethod
    def load(
        cls,
        path: str,
        checkpoint: str = "last",
        *,
        weights: str | None = None,
        tile_size: int = tiling.DEFAULT_TILE_SIZE,
    ) -> "Upscaler":
        """Loads a run folder, a SavedModel, the highest version in a folder of them, or by name.

        Args:
            path: the folder, or the name of a pretrained model (models/pretrained.py). A folder
                that is called like one is written `./srgan`.
            checkpoint: "last", "best" or a step; for run folders only.
            weights: "raw" or "ema" of a run folder; None is "ema" where the run has it.
            tile_size: side of a tile in LR pixels; smaller takes less memory.

        Raises:
            errors.InputError: `path` is none of these, or cannot be loaded.
        """
        if path in pretrained.PRETRAINED:
            if checkpoint != "last" or weights:
                raise errors.InputError(
                    f"--checkpoint and --weights are for run folders; {path} is a pretrained model "
                    f"(write ./{path} for a folder of that name)."
                )
            if tf.io.gfile.isdir(path):
                logging.warning("%s is the pretrained model; the folder is ./%s.", path, path)
            return cls._from_pretrained(path, tile_size)
        if run_folder.is_run_folder(path):
            return cls._from_run_folder(path, checkpoint, weights, tile_size)
        directory = _find_saved_model(path)
        chosen = {"checkpoint": checkpoint if checkpoint != "last" else None, "weights": weights}
        for flag, value in chosen.items():
            if value:
                raise errors.InputError(
                    f"--{flag}={value} is for run folders; {path} is a SavedModel, which holds a "
                    "single one."
                )
        return cls._from_saved_model(directory, tile_size)

    @classmethod
    def _from_pretrained(cls, name: str, tile_size: int) -> "Upscaler":
        return cls._from_generator(
            pretrained.load_generator(name),
            pretrained.SCALE,
            tile_size,
            {"kind": "pretrained", "name": name, "source": pretrained.SOURCE},
        )

    @classmethod
    def _from_run_folder(
        cls, path: str, checkpoint: str, weights: str | None, tile_size: int
    ) -> "Upscaler":
        generator, config, step = run_folder.load_generator(path, checkpoint, weights)
        return cls._from_generator(
            generator,
            config.data.scale,
            tile_size,
            {
                "kind": "run folder",
                "path": path,
                "checkpoint": checkpoint,
                "weights": run_folder.choose_weights(config, weights),
                "step": step,
                "recipe": config.recipe,
                "generator": config.generator.name,
            },
        )

    @classmethod
    def _from_generator(
        cls, generator: tf.keras.Model, scale: int, tile_size: int, origin: dict[str, Any]
    ) -> "Upscaler":
        module = export.ServingModule(generator)
        return cls(
            lambda lr: module.upscale(lr)["sr"],
            scale=scale,
            receptive_radius=receptive.radius(generator, scale),
            alignment=receptive.alignment(generator),
            tile_size=tile_size,
            origin=origin,
        )

    @classmethod
    def _from_saved_model(cls, directory: str, tile_size: int) -> "Upscaler":
        provenance = export.read_provenance(directory)
        try:
            with export.quiet():
                loaded = tf.saved_model.load(directory)
            signature = loaded.signatures[export.SIGNATURE]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            reason = str(error).strip().splitlines()[0]
            raise errors.InputError(f"{directory} cannot be loaded: {reason}") from error

        def upscale_batch(lr: tf.Tensor, keep_alive: Any = loaded) -> tf.Tensor:
            del keep_alive  # The signature alone does not keep the variables.
            return signature(lr=lr)["sr"]

        return cls(
            upscale_batch,
            scale=provenance["scale"],
            receptive_radius=provenance["receptive_radius"],
            # Older exports do not name it: no generator had strides then.
            alignment=provenance.get("alignment", 1),
            tile_size=tile_size,
            origin={
                "kind": "SavedModel",
                "path": directory,
                "checkpoint": provenance.get("checkpoint"),
                "weights": provenance.get("weights"),
                "step": provenance.get("step"),
                "recipe": provenance.get("recipe"),
                "generator": provenance.get("config", {}).get("generator", {}).get("name"),
                **{name: provenance[name] for name in ("interpolation",) if name in provenance},
            },
        )

    def upscale(self, rgb: np.ndarray) -> np.ndarray:
        """Returns uint8 `[H * scale, W * scale, 3]` of uint8 `[H, W, 3]`."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            raise ValueError(f"rgb must be uint8 [H, W, 3]: {rgb.dtype=}, {rgb.shape=}.")
        return tiling.upscale(
            lambda tile: self._upscale_batch(tf.constant(tile[None]))[0].numpy(),
            rgb,
            scale=self.scale,
            overlap=self._overlap,
            tile_size=self._tile_size,
            alignment=self._alignment,
        )


def _find_saved_model(path: str) -> str:
    """Returns `path` or its highest numbered subfolder, whichever is a SavedModel."""
    if not tf.io.gfile.isdir(path):
        names = ", ".join(pretrained.PRETRAINED)
        raise errors.InputError(
            f"There is no folder {path} (a run folder or a SavedModel), nor a pretrained model of "
            f"that name (there are: {names})."
        )
    if tf.saved_model.contains_saved_model(path):
        return path
    versions = [name.rstrip("/") for name in tf.io.gfile.listdir(path)]
    for version in sorted((name for name in versions if name.isdigit()), key=int, reverse=True):
        directory = os.path.join(path, version)
        if tf.saved_model.contains_saved_model(directory):
            return directory
    raise errors.InputError(
        f"{path} is neither a run folder (it has no {run_folder.CONFIG}) nor a SavedModel (it has "
        "no saved_model.pb, nor has a numbered subfolder)."
    )
