"""What is evaluated: any model by name, or bicubic upscaling, behind one function."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from srgan_tf import errors
from srgan_tf.serving.upscaler import Upscaler

# The model name that stands for the baseline.
BICUBIC = "bicubic"
DEFAULT_SCALE = 4


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded model: `fn` maps LR uint8 `[h, w, 3]` to SR uint8; None is bicubic."""

    name: str
    fn: Callable[[np.ndarray], np.ndarray] | None
    scale: int
    origin: dict[str, Any]


def load(
    name: str,
    *,
    scale: int | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    tile_size: int | None = None,
) -> Model:
    """Loads a model by name for evaluation.

    Args:
        name: a run folder, a SavedModel, a pretrained model, or "bicubic" for the baseline.
        scale: the factor asked for; None takes the model's (bicubic: 4).
        checkpoint: "last", "best" or a step of a run folder.
        weights: "raw" or "ema" of a run folder; None is "ema" where the run has it.
        tile_size: side of the tiles in which pictures are upscaled, in LR pixels; None: by memory.

    Raises:
        errors.InputError: the model cannot be loaded, or has another scale.
    """
    if name == BICUBIC:
        if checkpoint != "last" or weights:
            raise errors.InputError(f"--checkpoint and --weights are for run folders, not {name}.")
        if os.path.isdir(name):
            logging.warning("bicubic is the baseline here; the folder is written ./bicubic.")
        return Model(name, None, DEFAULT_SCALE if scale is None else scale, {"kind": BICUBIC})
    upscaler = Upscaler.load(name, checkpoint, weights=weights, tile_size=tile_size)
    if scale not in (None, upscaler.scale):
        raise errors.InputError(
            f"{name} enlarges by {upscaler.scale}; --scale={scale} cannot be had from it."
        )
    return Model(name, upscaler.upscale, upscaler.scale, upscaler.origin)
