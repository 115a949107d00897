"""Puts a run's generator into the package, as the weights of a pretrained model.

Usage: python scripts/ship_weights.py --run_dir=RUN_DIR [--name=lite-gan --blend=lite,0.5]

For a checkout: writes srgan_tf/models/weights/NAME.npz (float16) and NAME.json, which says what it
is from. How the weights are trained: scripts/train_lite.sh, docs/MODELS.md.
"""

import pathlib
import sys

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, errors, files

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Folder of the training run.")
_NAME = flags.DEFINE_string("name", "lite", "The pretrained model.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best (of the last stage) or a step."
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["raw", "ema"],
    "The trained weights or their moving average (default: ema where there is one).",
)
_BLEND = flags.DEFINE_string(
    "blend",
    None,
    "OTHER,alpha: writes (1 - alpha) of OTHER, a pretrained model or run folder, and alpha of RUN.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the files (default: the package's, srgan_tf/models/weights)."
)


def main(argv: list[str]) -> None:
    """Writes the files and says what they hold."""
    if argv[1:]:
        raise errors.InputError(f"Unexpected argument {argv[1]!r}; see --help.")
    if not _RUN_DIR.value:
        raise errors.InputError(f"--{_RUN_DIR.name} is needed; see --help.")
    cli.import_tensorflow()
    from srgan_tf.models import pretrained
    from srgan_tf.serving import shipping

    folder = files.expand(_OUTPUT.value) or pretrained.WEIGHTS
    record = shipping.ship(
        _NAME.value,
        files.expand(_RUN_DIR.value),
        checkpoint=_CHECKPOINT.value,
        weights=_WEIGHTS.value,
        blend=_parse_blend(_BLEND.value) if _BLEND.value else None,
        folder=folder,
    )
    cli.emit(
        f"{_NAME.value}: step {record['step']} ({record['weights']}), written to {folder}; "
        f"pictures agree with float32 to {record['float16_psnr']} dB"
    )


def _parse_blend(text: str) -> tuple[str, float]:
    other, _, alpha = text.rpartition(",")
    try:
        return other, float(alpha)
    except ValueError:
        raise errors.InputError(f"--blend={text} is not OTHER,alpha: lite,0.5.") from None


def run() -> None:
    """Entry point of the command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
