"""Writes an evaluation down: as a table for the terminal, as json with its protocol, as csv."""

import csv
import io
import json
import math
import os
import platform
from typing import Any

import numpy as np
import tensorflow as tf

import srgan_tf
from srgan_tf import explain, files, metrics, references
from srgan_tf.evaluation import Evaluation
from srgan_tf.evaluation_model import BICUBIC

_TITLES = {
    "colour_drift": "drift",
    "colour_drift_r": "red",
    "colour_drift_g": "green",
    "colour_drift_b": "blue",
    "checkerboard": "grid",
    "blockiness": "blocks",
    "vgg_distance": "VGG",
}


def protocol(result: Evaluation) -> dict[str, Any]:
    """Returns everything that a reader needs to make the same numbers again."""
    return {
        "model": result.model,
        "origin": result.origin,
        "scale": result.scale,
        "border": result.border,
        "hr": result.hr,
        "hr_crop": "rows at the bottom and columns at the right, to a multiple of the scale",
        "lr": result.lr
        or "made from HR by bicubic.imresize (MATLAB's: antialiased, uint8, border clamped)",
        "bicubic": "bicubic.imresize of LR (MATLAB's: uint8, border clamped)",
        "sr": "clipped and rounded to uint8",
        "y": "BT.601 luma as MATLAB's rgb2ycbcr has it (16 to 235), unrounded; grey counts as RGB",
        "ssim": "Wang et al. 2004: Gaussian window 11x11, sigma 1.5, valid region",
        "colour_drift": "mean of shrunk SR minus LR, per channel, in grey levels of 255; shrunk by "
        "the exact bicubic, unrounded",
        "checkerboard": "power of SR's luma at multiples of 1/scale over that beside them (Welch), "
        "relative to the HR's; about 1: no grid",
        "blockiness": "1 - smallest / largest mean step between neighbouring pixels of SR's luma, "
        "by their place within an LR pixel; along rows or columns, the larger; 0: no blocks",
        "vgg_distance": result.vgg or "not measured (no --vgg_weights)",
        "mean": "of the per-image scores; null stands for infinity (equal pictures) or for a "
        "picture too small for the score",
        "package_version": srgan_tf.__version__,
        "tensorflow_version": tf.__version__,
        "numpy_version": np.__version__,
        "python_version": platform.python_version(),
    }


def to_json(result: Evaluation, explanation: explain.Explanation | None = None) -> str:
    """Returns json: `mean.psnr_y`, `images[i].psnr_y`, both also under `bicubic`, `protocol`.

    With an explanation its cells stand under `explain`.
    """
    record = {
        "mean": _finite(result.mean()),
        "bicubic": {"mean": _finite(result.mean("bicubic"))},
        "images": [
            {
                "name": row.name,
                "height": row.height,
                "width": row.width,
                "is_grey": row.is_grey,
                **_finite(row.model),
                "bicubic": _finite(row.bicubic),
            }
            for row in result.rows
        ],
        "protocol": protocol(result),
    }
    if explanation:
        record["explain"] = explain.to_record(explanation)
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def to_csv(result: Evaluation) -> str:
    """Returns one line per upscaler (model, bicubic) and picture, and their means.

    Infinite PSNR (equal pictures) is `inf`, a score that a picture is too small for `nan`.
    """
    names = list(result.mean())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["upscaler", "image", *names])
    for of in ("model", "bicubic"):
        scored = [(row.name, getattr(row, of)) for row in result.rows]
        scored.append(("mean", result.mean(of)))
        writer.writerows([of, name, *(scores[n] for n in names)] for name, scores in scored)
    return text.getvalue()


def to_table(result: Evaluation, *, published: bool = True) -> str:
    """Returns text: PSNR and SSIM of the model, then bicubic's; below, what they do not tell.

    `published` adds the paper's scores, where the pictures are a set that it used.
    """
    metrics_names = list(metrics.METRICS)
    others = [name for name in result.mean() if name not in metrics_names]
    head = f"{result.model}, x{result.scale}, border {result.border} px, LR " + (
        f"from {result.lr}" if result.lr else "made by MATLAB's bicubic"
    )
    lines = [head, *_table(result, metrics_names, 8), "", *_table(result, others, 6)]
    if math.isinf(result.mean()["psnr_y"]):
        equal = ", ".join(row.name for row in result.rows if math.isinf(row.model["psnr_y"]))
        lines += ["", f"Equal to the original, so that PSNR is infinite (and so the mean): {equal}"]
    lines += [
        "",
        "Colour drift (mean; red, green, blue), checkerboard grid and blocks: right are 0, 1, 0;",
        "see docs/EVALUATION.md.",
    ]
    lines += _published(result) if published else []
    return "\n".join(line.rstrip() for line in lines)


def _table(result: Evaluation, names: list[str], column: int) -> list[str]:
    """Returns the lines of a table of some scores: a row per picture, the last one the mean."""
    sides = ["bicubic"] if result.model == BICUBIC else ["model", "bicubic"]
    scored = [(row.name, [getattr(row, of) for of in sides]) for row in result.rows]
    scored.append(("mean", [result.mean(of) for of in sides]))
    first = max(len("image"), *(len(name) for name, _ in scored))
    group = (column + 1) * len(names)
    rule = "-" * (first + len(sides) * (group + 2))
    lines = [
        " " * first + "".join(f"  {side:^{group}}" for side in sides),
        f"{'image':<{first}}"
        + ("  " + "".join(f" {title(name):>{column}}" for name in names)) * len(sides),
        rule,
    ]
    for name, columns in scored:
        cells = (
            "".join(f" {format_score(n, scores[n]):>{column}}" for n in names) for scores in columns
        )
        lines.append(f"{name:<{first}}" + "".join("  " + text for text in cells))
    lines.insert(-1, rule)
    return lines


def _published(result: Evaluation) -> list[str]:
    """Returns the paper's scores where the pictures are a set that it used."""
    reference = references.find([row.name for row in result.rows], result.scale)
    if not reference:
        return []
    return ["", *references.to_lines(reference, result.border), f"  ({references.SSIM_NOTE})"]


def write(path: str, text: str) -> None:
    """Writes a report file atomically, making its folder."""
    files.make_folder(os.path.dirname(path) or ".")
    files.write_atomically(path, [text.encode()])


def title(metric: str) -> str:
    """Returns a metric's heading, for example "PSNR-Y"."""
    if metric in _TITLES:
        return _TITLES[metric]
    kind, _, colour = metric.partition("_")
    return f"{kind.upper()}-{colour.upper()}"


def format_score(metric: str, value: float) -> str:
    """Returns a score with as many digits as mean something."""
    if metric.startswith("colour_drift_"):
        return f"{value:+.2f}"
    return f"{value:.4f}" if metric.startswith("ssim") else f"{value:.2f}"


def _finite(scores: dict[str, float]) -> dict[str, float | None]:
    """Json has no infinity: equal pictures have no finite PSNR."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}
