"""Scores a model on whole pictures.

Usage: srgan-evaluate --model=RUN_DIR --hr=DIR [--lr=DIR]

PSNR and SSIM on luma and RGB, per picture and as mean, beside bicubic upscaling of the same LR
pictures. As in the literature, as many pixels as the scale are left out at each edge (--border).
Without --lr the LR pictures are made by MATLAB's bicubic, to the last bit.
"""

import pathlib
import sys

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, errors, files
from srgan_tf.serving import tiling

_MODEL = flags.DEFINE_string(
    "model", None, "A run folder, a SavedModel, or bicubic (the baseline alone)."
)
_HR = flags.DEFINE_string("hr", None, "Folder (or pattern) of the original pictures.")
_LR = flags.DEFINE_string(
    "lr", None, "Folder of their LR versions, same names or ending in x<scale> (default: made)."
)
_SCALE = flags.DEFINE_integer(
    "scale", None, "Upscaling factor (default: the model's, or 4).", lower_bound=1
)
_BORDER = flags.DEFINE_integer(
    "border", None, "Pixels left out at each edge (default: the scale).", lower_bound=0
)
_JSON = flags.DEFINE_string("json", None, "File for scores and protocol as json.")
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
    tiling.DEFAULT_TILE_SIZE,
    "Pictures are done in tiles of this many pixels a side plus an overlap around each; less takes "
    "less memory.",
    lower_bound=1,
)


def main(argv: list[str]) -> None:
    """Evaluates, prints the table and writes what was asked for."""
    if len(argv) > 1:
        raise errors.InputError(f"Unexpected arguments: {' '.join(argv[1:])}; use --flag=value.")
    for flag in (_MODEL, _HR):
        if not flag.value:
            raise errors.InputError(f"--{flag.name} is needed; see --help.")
    cli.import_tensorflow()
    from srgan_tf import evaluation, report

    result = evaluation.run(
        files.expand(_MODEL.value),
        hr=files.expand(_HR.value),
        lr=files.expand(_LR.value),
        scale=_SCALE.value,
        border=_BORDER.value,
        checkpoint=_CHECKPOINT.value,
        weights=_WEIGHTS.value,
        tile_size=_TILE_SIZE.value,
        save=files.expand(_SAVE.value),
    )
    cli.emit(report.to_table(result))  # First: a path that cannot be written does not lose it.
    for path, write in ((_JSON.value, report.to_json), (_CSV.value, report.to_csv)):
        if path:
            report.write(files.expand(path), write(result))


def run() -> None:
    """Entry point of the console command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
