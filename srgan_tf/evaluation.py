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

from srgan_tf import (
    bicubic,
    diagnostics,
    errors,
    files,
    image_pairs,
    images,
    metrics,
    photos,
    terminal,
)
from srgan_tf.evaluation_model import Model


@dataclasses.dataclass(frozen=True)
class Row:
    """One picture's scores by metric name, of the model and of bicubic upscaling."""

    name: str
    height: int
    width: int
    model: dict[str, float]
    bicubic: dict[str, float]
    is_grey: bool = False


@dataclasses.dataclass(frozen=True)
class Pictures:
    """One picture's pixels, uint8 `[H, W, 3]`; `lr` is smaller by the scale."""

    lr: np.ndarray
    sr: np.ndarray
    hr: np.ndarray
    bicubic: np.ndarray


OnImage = Callable[[Row, Pictures], None]


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
    vgg: str | None = None

    def mean(self, of: str = "model") -> dict[str, float]:
        """Returns the mean of the per-image scores of "model" or "bicubic".

        Scores that a picture does not have (nan: too small for the checkerboard) are left out.
        """
        scores = [getattr(row, of) for row in self.rows]
        return {name: _mean([s[name] for s in scores]) for name in scores[0]}


def run(
    model: Model,
    pairs: Sequence[image_pairs.Pair],
    *,
    hr: str,
    lr: str | None = None,
    border: int | None = None,
    vgg: diagnostics.VggDistance | None = None,
    on_image: Sequence[OnImage] = (),
) -> Evaluation:
    """Evaluates a model on pairs of pictures.

    Args:
        model: from `evaluation_model.load`.
        pairs: from `find_pairs`, for the same scale, border and VGG.
        hr: folder of the originals, for the protocol.
        lr: the same of the LR pictures.
        border: pixels left out at each edge; None takes the scale.
        vgg: distance in VGG features, if wanted.
        on_image: called with each picture's row and pixels, for example `saver(folder)`.
    """
    border = model.scale if border is None else border
    rows = []
    for pair in terminal.progress(pairs, total=len(pairs), desc="evaluate", unit="image"):
        row, pictures = evaluate(pair, model, border=border, vgg=vgg)
        for call in on_image:
            call(row, pictures)
        rows.append(row)
    if any(row.is_grey for row in rows):
        grey = ", ".join(row.name for row in rows if row.is_grey)
        logging.info("Grey, and so scored as RGB with three equal channels: %s.", grey)
    description = vgg.description if vgg else None
    return Evaluation(model.name, model.origin, model.scale, border, hr, lr, rows, description)


def find_pairs(
    hr: str,
    lr: str | None,
    scale: int,
    border: int,
    vgg: diagnostics.VggDistance | None = None,
) -> list[image_pairs.Pair]:
    """Returns the pairs of two folders, all large enough to be scored; see `image_pairs.find`."""
    smallest = max(metrics.SMALLEST, vgg.smallest if vgg else 0)
    return image_pairs.find(hr, lr, scale, smallest=smallest + 2 * border)


def evaluate(
    pair: image_pairs.Pair,
    model: Model,
    *,
    border: int,
    vgg: diagnostics.VggDistance | None = None,
) -> tuple[Row, Pictures]:
    """Scores a model and bicubic on one picture."""
    loaded = image_pairs.load(pair, model.scale)
    baseline = bicubic.imresize(loaded.lr, model.scale)
    sr = model.fn(loaded.lr) if model.fn else baseline
    pictures = Pictures(lr=loaded.lr, sr=sr, hr=loaded.hr, bicubic=baseline)

    def scores(upscaled: np.ndarray) -> dict[str, float]:
        return {
            **score(upscaled, loaded.hr, border),
            **diagnostics.colour_drift(upscaled, loaded.lr),
            "checkerboard": diagnostics.checkerboard(
                upscaled, loaded.hr, scale=model.scale, border=border
            ),
            "blockiness": diagnostics.blockiness(upscaled, scale=model.scale, border=border),
            **({"vgg_distance": vgg(upscaled, loaded.hr, border)} if vgg else {}),
        }

    baseline_scores = scores(baseline)
    model_scores = scores(sr) if model.fn else baseline_scores
    height, width = loaded.hr.shape[:2]
    return Row(pair.name, height, width, model_scores, baseline_scores, loaded.is_grey), pictures


def score(sr: np.ndarray, hr: np.ndarray, border: int) -> dict[str, float]:
    """Returns every metric of two uint8 `[H, W, 3]` pictures, by name."""
    sr_unit, hr_unit = (images.uint8_to_unit(tf.constant(image[None])) for image in (sr, hr))
    return {
        name: float(metric.fn(sr_unit, hr_unit, border)[0])
        for name, metric in metrics.METRICS.items()
    }


def saver(folder: str, pairs: Sequence[image_pairs.Pair]) -> OnImage:
    """Returns an `on_image` that writes SR pictures to `folder` as png.

    Raises:
        errors.InputError: `folder` is one that pictures of `pairs` are in: they would be replaced.
    """
    sources = {os.path.dirname(path) for p in pairs for path in (p.hr_path, p.lr_path) if path}
    for source in sorted(sources):
        if files.lies_in(source, folder) or files.lies_in(folder, source):
            raise errors.InputError(
                f"--save={folder} and the pictures' folder {source} lie in one another: choose "
                "another folder."
            )
    files.require_writable(os.path.join(folder, "probe"), "save")

    def save(row: Row, pictures: Pictures) -> None:
        path = os.path.join(folder, f"{row.name}.png")
        files.make_folder(os.path.dirname(path))
        photos.save(path, pictures.sr)

    return save


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
