"""Scores a model on whole pictures.

Usage: srgan-evaluate --model=RUN_DIR --hr=DIR [--lr=DIR] [--report=report.html] [--explain]

PSNR and SSIM on luma and RGB, colour drift and checkerboards, per picture and as mean, beside
bicubic upscaling of the same LR pictures and the paper's scores. As in the literature, as many
pixels as the scale are left out at each edge (--border). Without --lr the LR pictures are made by
MATLAB's bicubic, to the last bit. --explain shows what other conventions would make of the score.
"""

import pathlib
import shlex
import sys

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, errors, files

_MODEL = flags.DEFINE_string(
    "model",
    None,
    "A run folder, a SavedModel, a pretrained model (lite, lite-gan, srresnet, srgan), or bicubic "
    "(the baseline alone).",
)
_HR = flags.DEFINE_string("hr", None, "Folder (or pattern) of the original pictures.")
_LR = flags.DEFINE_string(
    "lr", None, "Folder of their LR versions, same names or ending in x<scale> (default: made)."
)
_SCALE = flags.DEFINE_integer(
    "scale", None, "Upscaling factor (default: the model's, or 4).", lower_bound=2
)
_BORDER = flags.DEFINE_integer(
    "border", None, "Pixels left out at each edge (default: the scale).", lower_bound=0
)
_JSON = flags.DEFINE_string("json", None, "File for scores and protocol as json.")
_REPORT = flags.DEFINE_string(
    "report", None, "File for a report as html with pictures; stands alone, needs no network."
)
_EXPLAIN = flags.DEFINE_boolean(
    "explain",
    False,
    "Also score under other conventions: luma or RGB, with or without border, other LR makers.",
)
_VGG_WEIGHTS = flags.DEFINE_string(
    "vgg_weights",
    None,
    "Also measure the distance in VGG features, with these weights: imagenet (downloaded) or an "
    ".h5 or .npz file.",
)
_VGG_CHOICES = (
    flags.DEFINE_enum(
        "vgg_network", None, ["vgg16", "vgg19"], "The network of --vgg_weights (default: vgg19)."
    ),
    flags.DEFINE_string(
        "vgg_layer",
        None,
        "Its layer (default: block2_conv2, the paper's VGG22; block5_conv4 is VGG54).",
    ),
)
_CSV = flags.DEFINE_string("csv", None, "File for the scores as csv.")
_SAVE = flags.DEFINE_string("save", None, "Folder for the SR pictures, as png.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "For run folders: last, best (of the last stage) or a step."
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["raw", "ema"],
    "For run folders: trained weights or their moving average (default: ema where there is one).",
)
_TILE_SIZE = flags.DEFINE_integer(
    "tile_size",
    None,
    "Pictures are done in tiles of this many pixels a side plus an overlap around each (default: "
    "as many as 1,500 MB of memory allow).",
    lower_bound=1,
)


def main(argv: list[str]) -> None:
    """Evaluates, prints the tables and writes what was asked for."""
    _check_flags(argv)
    cli.import_tensorflow()
    from srgan_tf import details, diagnostics, evaluation, evaluation_model, explain, report

    model = evaluation_model.load(
        files.expand(_MODEL.value),
        scale=_SCALE.value,
        checkpoint=_CHECKPOINT.value,
        weights=_WEIGHTS.value,
        tile_size=_TILE_SIZE.value,
    )
    vgg = None
    if _VGG_WEIGHTS.value:
        names = {flag.name.removeprefix("vgg_"): flag.value for flag in _VGG_CHOICES if flag.value}
        vgg = diagnostics.VggDistance(_VGG_WEIGHTS.value, **names)
    border = model.scale if _BORDER.value is None else _BORDER.value
    hr, lr = files.expand(_HR.value), files.expand(_LR.value)
    needed = max(border, model.scale) if _EXPLAIN.value else border
    pairs = evaluation.find_pairs(hr, lr, model.scale, needed, vgg)
    crops = details.Collector(border)
    on_image = [crops] if _REPORT.value else []
    if _SAVE.value:
        on_image.append(evaluation.saver(files.expand(_SAVE.value), pairs))
    result = evaluation.run(model, pairs, hr=hr, lr=lr, border=border, vgg=vgg, on_image=on_image)
    cli.emit(report.to_table(result, published=not _EXPLAIN.value))
    explanation = explain.explain(model, pairs, border) if _EXPLAIN.value else None
    if explanation:
        cli.emit("\n" + explain.to_text(explanation))
    _write(result, explanation, crops)


def _check_flags(argv: list[str]) -> None:
    """Complains about flags and outputs before anything is loaded."""
    if len(argv) > 1:
        raise errors.InputError(f"Unexpected arguments: {' '.join(argv[1:])}; use --flag=value.")
    for flag in (_MODEL, _HR):
        if not flag.value:
            raise errors.InputError(f"--{flag.name} is needed; see --help.")
    for flag in _VGG_CHOICES:
        if flag.value and not _VGG_WEIGHTS.value:
            raise errors.InputError(f"--{flag.name} needs --vgg_weights: imagenet or a file.")
    files.find([files.expand(flag.value) for flag in (_HR, _LR) if flag.value])
    for flag in (_JSON, _CSV, _REPORT):
        if flag.value:
            files.require_writable(files.expand(flag.value), flag.name)


def _write(result, explanation, crops) -> None:
    from srgan_tf import explain, html_report, references, report

    reference = references.find([row.name for row in result.rows], result.scale)
    told = explain.to_text(explanation) if explanation else None
    command = shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
    for path, make in (
        (_JSON.value, lambda: report.to_json(result, explanation)),
        (_CSV.value, lambda: report.to_csv(result)),
        (
            _REPORT.value,
            lambda: html_report.to_html(
                result, crops, reference, command=command, explanation=told
            ),
        ),
    ):
        if path:
            report.write(files.expand(path), make())
            cli.emit(f"Wrote {path}")


def run() -> None:
    """Entry point of the console command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
