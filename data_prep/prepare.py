"""Turns photos into training records: srgan-prepare --input=PHOTOS --output=DIR

Cuts photos (files, folders with all below them, globs) or a TFDS data set into HR crops, and
writes sharded TFRecords, their descriptions for TFDS, and manifest.json, which says what became of
each photo. Photos that cannot be used are skipped and named. Crops lie on a grid; the validation
split keeps whole photos. No photo is in both splits. Stopped at any moment, the same command
continues; the result depends on photos and settings only, not on the number of workers.
"""

import dataclasses
import os
import pathlib
import sys
import time

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from data_prep.settings import ENCODINGS, Settings
from srgan_tf import cli, errors, files

_INPUT = flags.DEFINE_multi_string(
    "input", [], "Photo, folder or glob; may be given several times."
)
_TFDS = flags.DEFINE_string("tfds", None, "TFDS data set instead, for example div2k/bicubic_x4.")
_TFDS_DATA_DIR = flags.DEFINE_string("tfds_data_dir", None, "Where TFDS keeps its data sets.")
_TFDS_SPLIT = flags.DEFINE_string(
    "tfds_split",
    "train",
    "TFDS split to take, in its notation: train, train+validation, train[:10%].",
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
_WORKERS = flags.DEFINE_integer(
    "workers", os.cpu_count() or 1, "Worker processes; each holds one decoded photo.", lower_bound=1
)
_STRICT = flags.DEFINE_boolean("strict", False, "Exit with 1 when any photo was skipped.")
_OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Replace the data set in --output.")


def _define(field: dataclasses.Field) -> flags.FlagHolder:
    text = field.metadata["help"]
    if field.name == "encoding":
        return flags.DEFINE_enum(field.name, field.default, ENCODINGS, text)
    define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
    return define[field.type](field.name, field.default, text)


_SETTINGS = {field.name: _define(field) for field in dataclasses.fields(Settings)}


def main(argv: list[str]) -> int:
    """Converts and says what came of it; returns 1 for --strict with skipped photos."""
    if len(argv) > 1:
        raise errors.InputError(f"unexpected {argv[1]!r}; give photos as --input={argv[1]}")
    if not _OUTPUT.value:
        raise errors.InputError("--output is missing: the folder to write")
    if bool(_INPUT.value) == bool(_TFDS.value):
        raise errors.InputError("give either --input (photos) or --tfds (a TFDS data set)")
    settings = Settings(**{name: holder.value for name, holder in _SETTINGS.items()})

    from data_prep import sources, summary

    started = time.monotonic()
    output = files.expand(_OUTPUT.value).rstrip("/") or "/"
    inputs = [files.expand(one) for one in _INPUT.value]
    if _TFDS.value or any(map(files.is_remote, inputs)):
        cli.import_tensorflow()  # They need it at once.
    if _TFDS.value:
        data_dir = files.expand(_TFDS_DATA_DIR.value)
        wanted = sources.from_tfds(_TFDS.value, data_dir, _TFDS_SPLIT.value)
    else:
        wanted = sources.from_files(inputs, output)

    cli.import_tensorflow()  # By now a missing input has been named.
    from data_prep import convert

    manifest, was_complete = convert.convert(
        settings, wanted, output, workers=_WORKERS.value, overwrite=_OVERWRITE.value
    )
    seconds = None if was_complete else time.monotonic() - started
    cli.emit(summary.describe(manifest, output, seconds))
    skipped = any("skipped" in entry for entry in manifest["sources"])
    return 1 if _STRICT.value and skipped else 0


def run() -> None:
    """Entry point of the command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
