"""Shows what a degradation does to photos.

Usage: srgan-degrade --input=photos/ --degradation=blind --output=sheet.png

Writes a contact sheet: a row for each photo, its HR crop and the LR images of several seeds,
enlarged by repeating pixels. --save_lr=DIR also writes the LR pictures of whole photos (all of
them, STEMx4.png), for srgan-upscale and srgan-evaluate --lr. The same seed gives the same pictures.
"""

import pathlib
import sys

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, errors, files, flag_utils, photos
from srgan_tf.config import DataConfig

_INPUT = flags.DEFINE_multi_string(
    "input", [], "A photo, a folder or a pattern such as 'photos/*.jpg'; may be repeated."
)
_OUTPUT = flags.DEFINE_string("output", "degradation.png", "The contact sheet.")
_SAMPLES = flags.DEFINE_integer("samples", 6, "LR images of each photo.", lower_bound=1)
_PHOTOS = flags.DEFINE_integer(
    "photos", 8, "Photos on the sheet (the first by name).", lower_bound=1
)
# A field of DataConfig, like all that follow; its default there is that of training crops.
flags.DEFINE_integer(
    "crop_size", 192, "Side of the crops on the sheet in HR pixels; a multiple of the scale."
)
_SEED = flags.DEFINE_integer("seed", 1, "The first seed.", lower_bound=0)
_SAVE_LR = flags.DEFINE_string("save_lr", None, "Folder for the LR pictures of the whole photos.")
# The others say how training batches are put together.
flag_utils.define_flags(
    DataConfig,
    skip=("crop_size", "batch_size", "crops_per_image", "flip", "rotate", "shuffle_window"),
)


def main(argv: list[str]) -> None:
    """Writes the sheet, and the LR pictures where they are asked for."""
    inputs = [files.expand(one) for one in _INPUT.value + argv[1:]]
    if not inputs:
        raise errors.InputError("There is nothing to degrade: give --input=FILE, DIR or PATTERN.")
    config = flag_utils.apply_flags(DataConfig())
    cli.import_tensorflow()
    from srgan_tf.data import contact_sheet

    paths = contact_sheet.find(inputs)
    output = files.expand(_OUTPUT.value)
    if any(files.lies_in(path, output) for path in paths):
        raise errors.InputError(f"--output={output} is one of the photos: name another file.")
    files.require_writable(output, "output")
    photos.require_format(output)
    picture = contact_sheet.sheet(
        paths, config, rows=_PHOTOS.value, samples=_SAMPLES.value, seed=_SEED.value
    )
    contact_sheet.write(output, picture)
    cli.emit(f"Contact sheet: {output}")
    if _SAVE_LR.value:
        folder = files.expand(_SAVE_LR.value)
        count = contact_sheet.save_lr(paths, config, folder, seed=_SEED.value)
        cli.emit(f"{count} LR pictures: {folder}")


def run() -> None:
    """Entry point of the console command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
