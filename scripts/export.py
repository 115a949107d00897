"""Exports a trained generator as a SavedModel.

Usage: srgan-export --run_dir=DIR
       srgan-export --interpolate=RUN_A,RUN_B,0.8 --output=DIR

Writes RUN_DIR/saved_model/<step>/, which takes uint8 pictures of any size and number and gives
uint8 pictures. TensorFlow Serving can watch RUN_DIR/saved_model; srgan-upscale reads it too.
--interpolate exports a generator between two: (1 - alpha) A + alpha B of every weight.
"""

import pathlib
import sys

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, errors, files

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Folder of the training run.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best (of the last stage) or a step."
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["raw", "ema"],
    "The trained weights or their moving average (default: ema where there is one).",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder in which <step>/ is made (default: RUN_DIR/saved_model)."
)
_INTERPOLATE = flags.DEFINE_string(
    "interpolate",
    None,
    "RUN_A,RUN_B,alpha: the generator (1 - alpha) A + alpha B. Either is RUN_DIR, "
    "RUN_DIR:CHECKPOINT or a pretrained model (srresnet, srgan); both must be the same generator "
    "for the same scale. Needs --output; <step> is B's (A's if B is pretrained).",
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "bfloat16"],
    "What the exported network computes in; bfloat16 is for CPUs and GPUs that have it. "
    "Weights and pictures stay as they are.",
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels",
    None,
    "Largest picture, in pixels, that the exported model takes (default: one that becomes 134 "
    "million pixels, 8.4 million at x4). Clients read it from the model's record.",
    lower_bound=1,
)
_OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Replace an export of the same step.")


def main(argv: list[str]) -> None:
    """Exports and names the folder."""
    if len(argv) > 1:
        raise errors.InputError(f"Unexpected arguments: {' '.join(argv[1:])}; use --flag=value.")
    if _INTERPOLATE.value:
        cli.emit(f"Exported to {_interpolate()}")
        return
    if not _RUN_DIR.value:
        raise errors.InputError("--run_dir is needed; see --help.")
    cli.import_tensorflow()
    from srgan_tf.serving import export

    target = export.export(
        files.expand(_RUN_DIR.value),
        checkpoint=_CHECKPOINT.value,
        weights=_WEIGHTS.value,
        output=files.expand(_OUTPUT.value),
        overwrite=_OVERWRITE.value,
        precision=_PRECISION.value,
        max_pixels=_MAX_PIXELS.value,
    )
    cli.emit(f"Exported to {target}")


def _interpolate() -> str:
    if _RUN_DIR.value or _CHECKPOINT.value != "last":
        raise errors.InputError(
            "--interpolate names its runs itself, checkpoints as RUN_DIR:CHECKPOINT: leave out "
            "--run_dir and --checkpoint."
        )
    if not _OUTPUT.value:
        raise errors.InputError("--interpolate needs --output=DIR for the SavedModel.")
    cli.import_tensorflow()
    from srgan_tf.serving import interpolation

    return interpolation.export(
        _INTERPOLATE.value,
        output=files.expand(_OUTPUT.value),
        weights=_WEIGHTS.value,
        overwrite=_OVERWRITE.value,
        precision=_PRECISION.value,
        max_pixels=_MAX_PIXELS.value,
    )


def run() -> None:
    """Entry point of the console command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
