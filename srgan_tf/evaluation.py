"""Scores a model on whole pictures: folders in, one row per picture out, always beside bicubic.

The protocol is the literature's: HR cropped to a multiple of the scale, LR as published or made by
the exact bicubic (bicubic.py), SR rounded to uint8, a border of `scale` pixels left out, and the
mean of the per-image scores. Grey pictures count as RGB with three equal channels; transparent ones
are put on white.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from srgan_tf import bicubic, errors, images, metrics, photos, terminal
from srgan_tf.serving import tiling
from srgan_tf.serving.upscaler import Upscaler

# The model name that stands for the baseline.
BICUBIC = "bicubic"

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".jp2")


@dataclasses.dataclass(frozen=True)
class Row:
    """One picture's scores by metric name, of the model and of bicubic upscaling."""

    name: str
    height: int
    width: int
    model: dict[str, float]
    bicubic: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Rows with the protocol that made them; report.py writes it down in several forms."""

    model: str
    origin: dict[str, Any]
    scale: int
    border: int
    hr: str
    lr: str | None
    rows: list[Row]

    def mean(self, of: str = "model") -> dict[str, float]:
        """Returns the mean of the per-image scores of "model" or "bicubic"."""
        scores = [getattr(row, of) for row in self.rows]
        return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}


def run(
    model: str,
    *,
    hr: str,
    lr: str | None = None,
    scale: int | None = None,
    border: int | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    tile_size: int = tiling.DEFAULT_TILE_SIZE,
    save: str | None = None,
) -> Evaluation:
    """Evaluates a model by name on folders by name.

    Args:
        model: a run folder, a SavedModel, or "bicubic" for the baseline alone.
        hr: folder, file or pattern of the originals.
        lr: the same of their LR versions; None makes them.
        scale: upscaling factor; None takes the model's (bicubic: 4).
        border: pixels left out at each edge; None takes the scale.
        checkpoint: "last", "best" or a step of a run folder.
        weights: "raw" or "ema" of a run folder; None is "ema" where the run has it.
        tile_size: side of the tiles in which pictures are upscaled, in LR pixels.
        save: folder for the SR pictures.
    """
    hr_paths, lr_paths = _pictures(hr), _pictures(lr) if lr else None
    if model == BICUBIC:
        model_fn, origin, scale = None, {"kind": BICUBIC}, 4 if scale is None else scale
    else:
        upscaler = Upscaler.load(model, checkpoint, weights=weights, tile_size=tile_size)
        if scale not in (None, upscaler.scale):
            raise errors.InputError(
                f"{model} enlarges by {upscaler.scale}; --scale={scale} cannot be had."
            )
        model_fn, origin, scale = upscaler.upscale, upscaler.origin, upscaler.scale
    border = scale if border is None else border
    on_image = _saver(save) if save else None
    rows = evaluate(model_fn, hr_paths, lr_paths, scale, border=border, on_image=on_image)
    return Evaluation(model, origin, scale, border, hr, lr, rows)


def evaluate(
    model_fn: Callable[[np.ndarray], np.ndarray] | None,
    hr_paths: Sequence[str],
    lr_paths: Sequence[str] | None,
    scale: int,
    *,
    border: int | None = None,
    on_image: Callable[[str, np.ndarray], None] | None = None,
) -> list[Row]:
    """Scores `model_fn` and bicubic on every picture.

    Args:
        model_fn: maps LR uint8 `[h, w, 3]` to SR uint8 `[h * scale, w * scale, 3]`; None scores
            bicubic alone.
        hr_paths: the originals.
        lr_paths: their LR versions, matched by name (`baby.png` to `baby.png` or `babyx4.png`), in
            any order; None makes them by the exact bicubic.
        scale: upscaling factor.
        border: pixels left out at each edge of SR and HR; default `scale`.
        on_image: called with (name, SR) of each picture.

    Raises:
        errors.InputError: the folders do not match, or a picture cannot be used.
    """
    border = scale if border is None else border
    rows = []
    pairs = match(hr_paths, lr_paths, scale)
    for name, hr_path, lr_path in terminal.progress(
        pairs, total=len(pairs), desc="evaluate", unit="image"
    ):
        hr = _load_hr(hr_path, scale)
        lr = _load_lr(lr_path, hr_path, hr, scale) if lr_path else bicubic.imresize(hr, 1 / scale)
        baseline = bicubic.imresize(lr, scale)
        try:
            baseline_scores = score(baseline, hr, border)
        except errors.InputError as error:  # Too small for the border; metrics.py says so.
            raise errors.InputError(f"{hr_path}: {error}") from error
        sr = baseline if model_fn is None else model_fn(lr)
        model_scores = baseline_scores if model_fn is None else score(sr, hr, border)
        if on_image:
            on_image(name, sr)
        rows.append(Row(name, hr.shape[0], hr.shape[1], model_scores, baseline_scores))
    return rows


def score(sr: np.ndarray, hr: np.ndarray, border: int) -> dict[str, float]:
    """Returns every metric of two uint8 `[H, W, 3]` pictures, by name."""
    sr_unit, hr_unit = (images.uint8_to_unit(tf.constant(image[None])) for image in (sr, hr))
    return {
        name: float(metric.fn(sr_unit, hr_unit, border)[0])
        for name, metric in metrics.METRICS.items()
    }


def match(
    hr_paths: Sequence[str], lr_paths: Sequence[str] | None, scale: int
) -> list[tuple[str, str, str | None]]:
    """Returns (name, HR path, LR path or None), sorted by name.

    Raises:
        errors.InputError: a picture has no partner, or two have the same name.
    """
    if not hr_paths:
        raise errors.InputError("There are no HR pictures to evaluate on.")
    originals = _by_name(hr_paths)
    if lr_paths is None:
        return [(name, originals[name], None) for name in sorted(originals)]
    small = _by_name(lr_paths)
    chosen = {name: small.get(name) or small.get(f"{name}x{scale}") for name in originals}
    lonely_hr = sorted(name for name, path in chosen.items() if not path)
    lonely_lr = sorted(name for name, path in small.items() if path not in chosen.values())
    if lonely_hr or lonely_lr:
        parts = [f"no LR picture for {_some(lonely_hr)}"] if lonely_hr else []
        parts += [f"no HR picture for {_some(lonely_lr)}"] if lonely_lr else []
        raise errors.InputError(
            f"The {len(hr_paths)} HR and {len(lr_paths)} LR pictures do not match: "
            f"{'; '.join(parts)}. An LR picture is named like its HR one, or ends in x{scale}."
        )
    return [(name, originals[name], chosen[name]) for name in sorted(originals)]


def _pictures(entry: str) -> list[str]:
    """Returns the pictures that a folder, file or pattern names; other files are left out."""
    paths = photos.find([entry])
    pictures = [path for path in paths if os.path.splitext(path)[1].lower() in _PICTURES]
    if not pictures:
        raise errors.InputError(f"There are no pictures in {entry}.")
    if len(pictures) < len(paths):
        logging.info(
            "%s: left out %d files that are no pictures", entry, len(paths) - len(pictures)
        )
    return pictures


def _by_name(paths: Sequence[str]) -> dict[str, str]:
    """Returns path by its name below the common folder, without extension."""
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    named: dict[str, str] = {}
    for path in paths:
        name = os.path.splitext(os.path.relpath(path, root or "."))[0]
        if name in named:
            raise errors.InputError(f"Two pictures have the name {name}: {named[name]} and {path}.")
        named[name] = path
    return named


def _some(names: Sequence[str], limit: int = 5) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _saver(folder: str) -> Callable[[str, np.ndarray], None]:
    def save(name: str, sr: np.ndarray) -> None:
        path = os.path.join(folder, f"{name}.png")
        tf.io.gfile.makedirs(os.path.dirname(path))
        photos.save(path, sr)

    return save


def _load(path: str) -> np.ndarray:
    try:
        photo = photos.load(path)
    except photos.PhotoError as error:
        raise errors.InputError(f"{path}: {error}") from error
    return photos.flatten(photo.rgb, photo.alpha)


def _load_hr(path: str, scale: int) -> np.ndarray:
    hr = bicubic.modulo_crop(_load(path), scale)
    if not hr.size:
        raise errors.InputError(f"{path} is smaller than one LR pixel at scale {scale}.")
    return hr


def _load_lr(path: str, hr_path: str, hr: np.ndarray, scale: int) -> np.ndarray:
    lr = _load(path)
    height, width = hr.shape[0] // scale, hr.shape[1] // scale
    if lr.shape[:2] != (height, width):
        raise errors.InputError(
            f"{path} is {lr.shape[1]}x{lr.shape[0]}, but {hr_path} at scale {scale} needs "
            f"{width}x{height}."
        )
    return lr
