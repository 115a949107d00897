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
from srgan_tf import files
from srgan_tf.evaluation import BICUBIC, Evaluation

_COLUMN = 8


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
        "mean": "of the per-image scores; null stands for infinity (equal pictures)",
        "package_version": srgan_tf.__version__,
        "tensorflow_version": tf.__version__,
        "numpy_version": np.__version__,
        "python_version": platform.python_version(),
    }


def to_json(result: Evaluation) -> str:
    """Returns json: `mean.psnr_y`, `images[i].psnr_y`, both also under `bicubic`, `protocol`."""
    record = {
        "mean": _finite(result.mean()),
        "bicubic": {"mean": _finite(result.mean("bicubic"))},
        "images": [
            {
                "name": row.name,
                "height": row.height,
                "width": row.width,
                **_finite(row.model),
                "bicubic": _finite(row.bicubic),
            }
            for row in result.rows
        ],
        "protocol": protocol(result),
    }
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def to_csv(result: Evaluation) -> str:
    """Returns one line per upscaler (model, bicubic) and picture, and their means."""
    names = list(result.mean())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["upscaler", "image", *names])
    for of in ("model", "bicubic"):
        scored = [(row.name, getattr(row, of)) for row in result.rows]
        scored.append(("mean", result.mean(of)))
        writer.writerows([of, name, *(scores[n] for n in names)] for name, scores in scored)
    return text.getvalue()


def to_table(result: Evaluation) -> str:
    """Returns text: the model's columns, then bicubic's; the last line is the mean."""
    names = list(result.mean())
    sides = ["bicubic"] if result.model == BICUBIC else ["model", "bicubic"]
    scored = [(row.name, [getattr(row, of) for of in sides]) for row in result.rows]
    scored.append(("mean", [result.mean(of) for of in sides]))
    first = max(len("image"), *(len(name) for name, _ in scored))
    group = (_COLUMN + 1) * len(names)
    rule = "-" * (first + len(sides) * (group + 2))
    text = [
        f"{result.model}, x{result.scale}, border {result.border} px, LR "
        + (f"from {result.lr}" if result.lr else "made by MATLAB's bicubic"),
        " " * first + "".join(f"  {side:^{group}}" for side in sides),
        f"{'image':<{first}}" + ("  " + "".join(map(_heading, names))) * len(sides),
        rule,
    ]
    for name, columns in scored:
        cells = "".join("  " + "".join(_cell(n, scores[n]) for n in names) for scores in columns)
        text.append(f"{name:<{first}}{cells}")
    text.insert(-1, rule)
    return "\n".join(text)


def write(path: str, text: str) -> None:
    """Writes a report file atomically, making its folder."""
    tf.io.gfile.makedirs(os.path.dirname(path) or ".")
    files.write_atomically(path, [text.encode()])


def _heading(metric: str) -> str:
    kind, _, colour = metric.partition("_")
    title = f"{kind.upper()}-{colour.upper()}" if colour else kind
    return f" {title:>{_COLUMN}}"


def _cell(metric: str, value: float) -> str:
    return f" {value:{_COLUMN}.2f}" if metric.startswith("psnr") else f" {value:{_COLUMN}.4f}"


def _finite(scores: dict[str, float]) -> dict[str, float | None]:
    """Json has no infinity: equal pictures have no finite PSNR."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}
