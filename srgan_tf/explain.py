"""Shows which convention makes a score: one model under the LR makers, colours and borders in use.

"Why isn't my PSNR the paper's?" is nearly always one of these: LR pictures made by another
"bicubic" than the one that the model was trained on and the literature uses, RGB instead of luma,
luma over the full range, or the border left in.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from srgan_tf import bicubic, image_pairs, images, metrics, references, terminal
from srgan_tf.evaluation_model import Model

GIVEN = "as given (--lr)"
EXACT = "exact bicubic (MATLAB)"


def _tf_resize(hr: np.ndarray, scale: int, *, antialias: bool) -> np.ndarray:
    size = (hr.shape[0] // scale, hr.shape[1] // scale)
    unit = images.uint8_to_unit(tf.constant(hr))
    return images.unit_to_uint8(
        tf.image.resize(unit, size, method="bicubic", antialias=antialias)
    ).numpy()


def _pillow(hr: np.ndarray, scale: int) -> np.ndarray:
    size = (hr.shape[1] // scale, hr.shape[0] // scale)
    return np.asarray(Image.fromarray(hr).resize(size, Image.Resampling.BICUBIC))


# HR uint8 [H, W, 3] and the scale to LR.
LR_MAKERS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    EXACT: lambda hr, scale: bicubic.imresize(hr, 1 / scale),
    "tf.image.resize, antialias": lambda hr, scale: _tf_resize(hr, scale, antialias=True),
    "tf.image.resize, no antialias": lambda hr, scale: _tf_resize(hr, scale, antialias=False),
    "Pillow BICUBIC": _pillow,
}

# RGB [B, H, W, 3] in [0, 1] to what is compared.
COLOURS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "Y": images.to_luma,
    "Y 0-255": images.to_full_range_luma,
    "RGB": lambda rgb: rgb,
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """The mean scores of one combination of conventions; PSNR in dB."""

    lr: str
    colour: str
    border: int
    psnr: float
    ssim: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Scores under all conventions; `base` is the literature's.

    `given` says, where LR pictures were given, how they differ from the exact bicubic's.
    """

    model: str
    scale: int
    cells: list[Cell]
    reference: references.Reference | None
    given: str | None

    @property
    def base(self) -> Cell:
        """The literature's protocol: exact bicubic, luma, a border of `scale` pixels."""
        wanted = (EXACT, "Y", self.scale)
        return next(c for c in self.cells if (c.lr, c.colour, c.border) == wanted)


def explain(model: Model, pairs: Sequence[image_pairs.Pair], border: int) -> Explanation:
    """Scores `model` under every LR maker x colour x border (the scale, `border`, none).

    Args:
        model: from `evaluation_model.load`.
        pairs: pictures, large enough for a border of `scale`; LR files make a row of their own.
        border: pixels left out at each edge in the user's protocol.
    """
    borders = dict.fromkeys((model.scale, border, 0))
    collected: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    differing, levels = [], 0
    for pair in terminal.progress(pairs, total=len(pairs), desc="explain", unit="image"):
        loaded = image_pairs.load(pair, model.scale)
        lrs = {name: maker(loaded.hr, model.scale) for name, maker in LR_MAKERS.items()}
        if pair.lr_path:
            lrs[GIVEN] = loaded.lr
            difference = np.abs(loaded.lr.astype(int) - lrs[EXACT]).max(axis=2)
            differing.append((difference > 0).mean())
            levels = max(levels, int(difference.max()))
        done: list[tuple[np.ndarray, np.ndarray]] = []
        for name, lr in lrs.items():
            sr = _upscale(model, lr, done)
            for colour in COLOURS:
                for edge in borders:
                    scores = _score(sr, loaded.hr, colour, edge)
                    collected.setdefault((name, colour, edge), []).append(scores)
    cells = [
        Cell(*key, *(float(np.mean(values)) for values in zip(*scores, strict=True)))
        for key, scores in collected.items()
    ]
    reference = references.find([pair.name for pair in pairs], model.scale)
    given = _difference(differing, levels) if differing else None
    return Explanation(model.name, model.scale, cells, reference, given)


def _upscale(model: Model, lr: np.ndarray, done: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Returns SR of `lr`; `done` holds this picture's (LR, SR) so far: many LR makers agree."""
    for other, sr in done:
        if np.array_equal(lr, other):
            return sr
    sr = model.fn(lr) if model.fn else bicubic.imresize(lr, model.scale)
    done.append((lr, sr))
    return sr


def _difference(shares: list[float], levels: int) -> str:
    if not levels:
        return "The LR pictures given are the exact bicubic's, bit for bit."
    return (
        f"The LR pictures given differ from the exact bicubic's in {np.mean(shares):.0%} of "
        f"pixels, by up to {levels} levels."
    )


def to_text(explanation: Explanation) -> str:
    """Returns tables of PSNR, of its difference to the literature's protocol, and of SSIM."""
    cells, base = explanation.cells, explanation.base
    text = [
        f"{explanation.model}, x{explanation.scale}: the same model under other conventions.",
        f"The literature's: {base.lr}, {base.colour}, border {base.border} px: "
        f"{base.psnr:.2f} dB / {base.ssim:.4f}.",
        *([explanation.given] if explanation.given else []),
        *_table("PSNR in dB", cells, lambda cell: f"{cell.psnr:.2f}"),
        *_table("PSNR minus that", cells, lambda cell: f"{cell.psnr - base.psnr:+.2f}"),
        *_table("SSIM", cells, lambda cell: f"{cell.ssim:.4f}"),
    ]
    if explanation.reference:
        text += ["", *references.to_lines(explanation.reference, base.border)]
        text.append(f"  ({references.SSIM_NOTE})")
    return "\n".join(line.rstrip() for line in text)


def to_record(explanation: Explanation) -> list[dict[str, Any]]:
    """Returns the cells as plain dicts, for json; infinite PSNR (equal pictures) as None."""
    records = [dataclasses.asdict(cell) for cell in explanation.cells]
    return [
        {**record, "psnr": record["psnr"] if math.isfinite(record["psnr"]) else None}
        for record in records
    ]


def _table(title: str, cells: list[Cell], shown: Callable[[Cell], str]) -> list[str]:
    """Returns a table's lines: a row per LR maker, a column per colour, grouped by border."""
    colours = list(dict.fromkeys(cell.colour for cell in cells))
    borders = list(dict.fromkeys(cell.border for cell in cells))
    makers = list(dict.fromkeys(cell.lr for cell in cells))
    column, first = max(map(len, colours)), max(map(len, [title, *makers]))
    group = (column + 2) * len(colours)
    lines = [
        "",
        f"{title:<{first}}" + "".join(f"  {f'border {b} px':^{group}}" for b in borders),
        " " * first + ("  " + "".join(f"  {c:>{column}}" for c in colours)) * len(borders),
    ]
    for maker in makers:
        groups = (
            "".join(f"  {shown(c):>{column}}" for c in cells if (c.lr, c.border) == (maker, border))
            for border in borders
        )
        lines.append(f"{maker:<{first}}" + "".join("  " + text for text in groups))
    return lines


def _score(sr: np.ndarray, hr: np.ndarray, colour: str, border: int) -> tuple[float, float]:
    pair = [COLOURS[colour](images.uint8_to_unit(tf.constant(x[None]))) for x in (sr, hr)]
    return float(metrics.psnr(*pair, border)[0]), float(metrics.ssim(*pair, border)[0])
