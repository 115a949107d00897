"""Keeps what a training came to in docs/results: its config, curves, scores and pictures.

Usage: python scripts/keep_results.py --run_dir=RUN_DIR --name=NAME [--set=Set5=HR,LR]...

For a checkout: writes config.json, metrics.csv, curves.webp, scores.csv, scores.webp and
pictures.webp to docs/results/NAME. Scores are of every numbered checkpoint that the run still has,
of bicubic and of the models of --beside, on the held-out photos of docs/photos and on each --set;
scores.webp draws them against steps, beside what is --published. Pictures are details of the
held-out photos alone, which are free to be shown. config.json is the run's own: call srgan-train
with relative paths where those of your machine are nobody else's business.
"""

import collections
import csv
import dataclasses
import io
import itertools
import os
import pathlib
import sys
from typing import Any

from absl import flags, logging
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, errors, files, references

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_HELD_OUT = _ROOT / "docs" / "photos" / "heldout"
# Of each held-out photo what is shown: left, top and side in HR pixels.
_DETAILS = {"butterfly": (196, 276, 176), "dogs": (236, 62, 176), "fig": (292, 226, 176)}
_CAPTION = 22
_GAP = 4

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Folder of the training run.")
_NAME = flags.DEFINE_string("name", None, "Folder in docs/results that is written.")
_SETS = flags.DEFINE_multi_string(
    "set", [], "Pictures to score on: NAME=HR or NAME=HR,LR (folders); may be repeated."
)
_BESIDE = flags.DEFINE_list("beside", [], "Models to score and show beside it, by name or folder.")
_PUBLISHED = flags.DEFINE_list(
    "published", [], "Methods whose published scores are drawn too, such as SRResNet-MSE."
)
_VGG_WEIGHTS = flags.DEFINE_string(
    "vgg_weights", None, "Also measure distances in VGG features with these weights."
)
_VGG_LAYER = flags.DEFINE_string("vgg_layer", "block3_conv4", "Their layer.")
_OUTPUT = flags.DEFINE_string("output", str(_ROOT / "docs" / "results"), "Folder of results.")
_OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Replace what was kept by this name before.")


@dataclasses.dataclass(frozen=True)
class _Set:
    """Pictures to score on, as `evaluation.find_pairs` takes them."""

    name: str
    hr: str
    lr: str | None = None


def main(argv: list[str]) -> None:
    """Writes the folder and says where."""
    if argv[1:]:
        raise errors.InputError(f"Unexpected argument {argv[1]!r}; see --help.")
    for flag in (_RUN_DIR, _NAME):
        if not flag.value:
            raise errors.InputError(f"--{flag.name} is needed; see --help.")
    if pathlib.Path(_NAME.value).name != _NAME.value:
        raise errors.InputError(f"--name={_NAME.value} is not a name of a folder.")
    sets = [_Set("held-out", str(_HELD_OUT)), *map(_parse_set, _SETS.value)]
    _check_different("set", [one.name for one in sets])
    others = ["bicubic", *_BESIDE.value]
    _check_different("name and --beside", [*others, _NAME.value])
    for method in _PUBLISHED.value:
        if method not in references.methods():
            known = ", ".join(references.methods())
            raise errors.InputError(f"--published={method} is not known; there are {known}.")
    folder = os.path.join(files.expand(_OUTPUT.value), _NAME.value)
    if os.path.exists(folder) and not _OVERWRITE.value:
        raise errors.InputError(f"{folder} exists; choose another --name, or give --overwrite.")
    cli.import_tensorflow()
    from srgan_tf import diagnostics, evaluation, evaluation_model, run_folder

    run_dir = os.path.abspath(files.expand(_RUN_DIR.value))  # A folder `srresnet` is no model.
    scale = run_folder.read_config(run_dir)[0].data.scale
    texts = {name: _read(run_dir, name) for name in ("config.json", "metrics.csv")}
    steps = [str(step) for step in run_folder.valid_steps(run_dir)]
    if not steps:
        raise errors.InputError(f"{run_dir} has no checkpoint: there is nothing to score.")
    # What can be wrong with pictures and other models shows now, before hours of scoring.
    vgg = None
    if _VGG_WEIGHTS.value:
        vgg = diagnostics.VggDistance(files.expand(_VGG_WEIGHTS.value), layer=_VGG_LAYER.value)
    pairs = {one.name: evaluation.find_pairs(one.hr, one.lr, scale, scale, vgg) for one in sets}
    models = {name: evaluation_model.load(name, scale=scale) for name in others}
    rows, shown, published = [], {}, {}
    for name, step in [*((other, "") for other in others), *((_NAME.value, s) for s in steps)]:
        model = models.get(name) or evaluation_model.load(run_dir, scale=scale, checkpoint=step)
        for one in sets:
            result, pictures = _score(model, one, pairs[one.name], vgg)
            scores = {key: f"{value:.4f}" for key, value in result.mean().items()}
            rows.append({"model": name, "step": step, "set": one.name, **scores})
            published[one.name] = _published(
                [row.name for row in result.rows], scale, _PUBLISHED.value
            )
            if one.name == "held-out":
                shown[name] = pictures  # The last step's in the end.
    for method in _PUBLISHED.value:
        if not any(method in scores for scores in published.values()):
            logging.warning("--published=%s: not known of these sets, at this scale.", method)
    os.makedirs(folder, exist_ok=True)
    _write_scores(rows, os.path.join(folder, "scores.csv"))
    for file, content in texts.items():
        files.write_atomically(os.path.join(folder, file), [content])
    curves = os.path.join(run_dir, "curves.png")
    if os.path.exists(curves):
        _save(Image.open(curves).convert("RGB"), os.path.join(folder, "curves.webp"))
    _save(_sheet(shown), os.path.join(folder, "pictures.webp"))
    chart = _chart(rows, _NAME.value, published, _VGG_LAYER.value)
    _save(_drawn(chart), os.path.join(folder, "scores.webp"))
    cli.emit(f"Kept in {folder}.")


def _check_different(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise errors.InputError(f"--{what}: names must differ, not {', '.join(names)}.")


def _read(run_dir: str, name: str) -> bytes:
    try:
        return pathlib.Path(run_dir, name).read_bytes()
    except OSError as error:
        raise errors.InputError(f"{run_dir} has no {name} that can be read ({error}).") from error


def _parse_set(text: str) -> _Set:
    name, _, folders = text.partition("=")
    hr, _, lr = folders.partition(",")
    if not (name and hr):
        raise errors.InputError(f"--set={text} is not NAME=HR or NAME=HR,LR.")
    return _Set(name, files.expand(hr), files.expand(lr) or None)


def _published(pictures: list[str], scale: int, methods: list[str]) -> dict[str, float]:
    """Returns the published PSNR (Y) of the methods on these pictures, where it is known."""
    reference = references.find(pictures, scale)
    rows = reference.rows if reference else ()
    return {row.method: row.psnr_y for row in rows if row.method in methods}


def _score(model: Any, one: _Set, pairs: list, vgg: Any) -> tuple[Any, dict[str, dict]]:
    """Returns the evaluation on a set, and its pictures' details by the pictures' names."""
    from srgan_tf import evaluation

    details: dict[str, dict] = {}

    def keep(row, pictures) -> None:
        if row.name in _DETAILS:
            details[row.name] = {"sr": _detail(pictures.sr, row), "hr": _detail(pictures.hr, row)}

    result = evaluation.run(model, pairs, hr=one.hr, lr=one.lr, vgg=vgg, on_image=[keep])
    return result, details


def _detail(image, row) -> Image.Image:
    left, top, side = _DETAILS[row.name]
    return Image.fromarray(image[top : top + side, left : left + side])


def _sheet(shown: dict[str, dict[str, dict]]) -> Image.Image:
    """Returns details of every photo, a row each: the models and the original, twice as large."""
    columns = [(name, "sr", details) for name, details in shown.items()]
    columns.append(("original", "hr", next(iter(shown.values()))))
    side = 2 * max(side for _, _, side in _DETAILS.values())
    step = side + _GAP
    sheet = Image.new(
        "RGB", (len(columns) * step - _GAP, _CAPTION + len(_DETAILS) * step - _GAP), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for x, (name, kind, details) in enumerate(columns):
        place = (x * step + side // 2, _CAPTION // 2)
        draw.text(place, name, fill="black", font=font, anchor="mm")
        for y, photo in enumerate(_DETAILS):
            large = details[photo][kind].resize((side, side), Image.NEAREST)
            sheet.paste(large, (x * step, _CAPTION + y * step))
    return sheet


def _chart(
    rows: list[dict[str, str]],
    name: str,
    published: dict[str, dict[str, float]],
    vgg_layer: str,
) -> Figure:
    """Returns the run's PSNR (and VGG distance) against steps, with the others' as lines.

    Args:
        rows: as scores.csv has them; those of the run have a step, the others none.
        name: the run's.
        published: by set, the PSNR in dB (Y) of the methods to be drawn.
        vgg_layer: that of the VGG distances, if rows have them.
    """
    measures = {"psnr_y": "PSNR (Y), dB", "vgg_distance": f"distance in VGG19 {vgg_layer}"}
    measures = {key: label for key, label in measures.items() if key in rows[0]}
    sets = list(dict.fromkeys(row["set"] for row in rows))
    size = (4.6 * len(sets), 3.8 * len(measures) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(measures), len(sets), squeeze=False)
    tints = colormaps["tab20"].colors  # Pairs, dark and light; the first is the run's.
    palette = itertools.cycle(tints[2::2] + tints[3::2])
    colours = collections.defaultdict(lambda: next(palette))
    handles = {}
    for line, (key, label) in zip(panels, measures.items(), strict=True):
        for axes, one in zip(line, sets, strict=True):
            of_set = [row for row in rows if row["set"] == one]
            steps = [(int(row["step"]), float(row[key])) for row in of_set if row["step"]]
            (handles[name],) = axes.plot(*zip(*steps, strict=True), marker=".", zorder=3)
            others = {f"{r['model']}, measured": r[key] for r in of_set if not r["step"]}
            papers = published.get(one, {}) if key == "psnr_y" else {}
            papers = {f"{method}, published": value for method, value in papers.items()}
            for style, values in (("--", others), (":", papers)):
                for text, value in values.items():
                    colour = colours[text]
                    handles[text] = axes.axhline(float(value), color=colour, linestyle=style)
            axes.set(title=_plain(one), xlabel="step", ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
            axes.grid(alpha=0.3)
    figure.legend(
        list(handles.values()), [*map(_plain, handles)], loc="outside lower center", ncols=3
    )
    return figure


def _plain(text: str) -> str:
    """Returns text as matplotlib shows it as it is: `$` begins formulas there."""
    return text.replace("$", r"\$")


def _drawn(figure: Figure) -> Image.Image:
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=110)
    return Image.open(encoded).convert("RGB")


def _save(image: Image.Image, path: str) -> None:
    content = io.BytesIO()
    image.save(content, "WEBP", quality=90, method=6)
    files.write_atomically(path, [content.getvalue()])


def _write_scores(rows: list[dict[str, str]], path: str) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_atomically(path, [text.getvalue().encode()])


def run() -> None:
    """Entry point of the command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
