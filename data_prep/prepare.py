"""Turns photos into training records: srgan-prepare --input=PHOTOS --output=DIR

Cuts photos (files, folders with all below them, globs) or a TFDS data set into HR crops, and
writes sharded TFRecords, their descriptions for TFDS, and manifest.json, which says what became of
each photo. Photos that cannot be used are skipped and named. Crops lie on a grid; the validation
split keeps whole photos. No photo is in both splits. Stopped at any moment, the same command
continues; the result depends on photos and settings only, not on the number of workers.

LR pictures instead, for evaluation: srgan-prepare --make_lr --scale=4 --input=HR --output=LR

Writes for every HR picture the one that MATLAB's imresize makes of it (cropped to a multiple of the
scale at the bottom right first), as PNG under the same path and stem. The x4 pictures of Set5 and
Set14 come out bit for bit. Grey stays grey; 16 bits become 8; transparency is put on white. An
interrupted folder continues; files that cannot be used are named at the end.

To check every record of a finished data set: srgan-prepare --verify --output=DIR

Names what is bad by shard and record; the exit code is then 2.
"""

import contextlib
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from data_prep.lr_plan import LrSettings
from data_prep.settings import ENCODINGS, Settings
from srgan_tf import bicubic, cli, clusters, errors, files, ray_cluster

if TYPE_CHECKING:
    from data_prep import engines

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
_ENGINE, _RAY_ADDRESS = ray_cluster.define_flags("prepare")
_STRICT = flags.DEFINE_boolean("strict", False, "Exit with 1 when any photo was skipped.")
_OVERWRITE = flags.DEFINE_boolean(
    "overwrite", False, "Replace the data set (or the LR pictures) in --output."
)
_MAKE_LR = flags.DEFINE_boolean("make_lr", False, "Write LR pictures instead of records.")
_VERIFY = flags.DEFINE_boolean("verify", False, "Check every record of the data set in --output.")
_CHOICES = {"encoding": ENCODINGS, "border": bicubic.BORDERS}


def _define(field: dataclasses.Field) -> flags.FlagHolder:
    text = field.metadata["help"]
    if field.name in _CHOICES:
        return flags.DEFINE_enum(field.name, field.default, _CHOICES[field.name], text)
    define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
    return define[field.type](field.name, field.default, text)


_SETTINGS = {field.name: _define(field) for field in dataclasses.fields(Settings)}
_LR_SETTINGS = {field.name: _define(field) for field in dataclasses.fields(LrSettings)}
# Of the flags for records the only ones that LR pictures follow, too.
_SHARED = ("max_pixels",)


def main(argv: list[str]) -> int:
    """Checks what both kinds of output need and makes one, or verifies; returns the exit code."""
    if len(argv) > 1:
        raise errors.InputError(f"unexpected {argv[1]!r}; give photos as --input={argv[1]}")
    if not _OUTPUT.value:
        raise errors.InputError("--output is missing: the folder to write")
    if _VERIFY.value:
        return _verify(files.expand(_OUTPUT.value))
    _refuse_senseless_flags()
    if bool(_INPUT.value) == bool(_TFDS.value):
        raise errors.InputError("give either --input (photos) or --tfds (a TFDS data set)")
    settings = Settings(**{name: holder.value for name, holder in _SETTINGS.items()})
    output = files.expand(_OUTPUT.value).rstrip("/") or "/"
    inputs = [files.expand(one) for one in _INPUT.value]
    if _ENGINE.value == "ray":  # Workers have other working directories.
        inputs, output = [files.absolute(one) for one in inputs], files.absolute(output)
    if _TFDS.value or any(map(files.is_remote, inputs)):
        cli.import_tensorflow()  # They need it at once.
    make = _make_lr if _MAKE_LR.value else _make_records
    skipped = make(settings, inputs, output)
    return 1 if _STRICT.value and skipped else 0


def _refuse_senseless_flags() -> None:
    if _ENGINE.value == "ray" and _WORKERS.present:
        raise errors.InputError("--workers is for --engine=local; Ray takes all cores it has")
    if _ENGINE.value != "ray" and _RAY_ADDRESS.present:
        raise errors.InputError("--ray_address is for --engine=ray; give both, or neither")
    if _MAKE_LR.value:
        for flag in (
            _ENGINE,
            _RAY_ADDRESS,
            _TFDS,
            _TFDS_DATA_DIR,
            _TFDS_SPLIT,
            *_SETTINGS.values(),
        ):
            if flag.present and flag.name not in _SHARED:
                raise errors.InputError(f"--{flag.name} is for records; leave it out of --make_lr")
        if not _INPUT.value:
            raise errors.InputError("--input is missing: the folder of HR pictures")
        return
    for flag in _LR_SETTINGS.values():
        if flag.present:
            raise errors.InputError(
                f"--{flag.name} is for LR pictures (--make_lr); records serve every scale"
            )


def _make_records(settings: Settings, inputs: list[str], output: str) -> bool:
    """Converts and says what came of it; returns whether photos were skipped."""
    from data_prep import sources, summary

    started = time.monotonic()
    if _TFDS.value:
        data_dir = files.expand(_TFDS_DATA_DIR.value)
        wanted = sources.from_tfds(_TFDS.value, data_dir, _TFDS_SPLIT.value)
    else:
        wanted = sources.from_files(inputs, output)

    cli.import_tensorflow()  # By now a missing input has been named.
    from data_prep import convert

    with _engine(inputs, output) as engine:
        manifest, was_complete = convert.convert(
            settings, wanted, output, overwrite=_OVERWRITE.value, engine=engine
        )
    seconds = None if was_complete else time.monotonic() - started
    cli.emit(summary.describe(manifest, output, seconds))
    return any("skipped" in entry for entry in manifest["sources"])


@contextlib.contextmanager
def _engine(inputs: list[str], output: str) -> Iterator["engines.Engine"]:
    from data_prep import engines

    if _ENGINE.value == "local":
        yield engines.Local(_WORKERS.value)
        return
    with clusters.connected(_RAY_ADDRESS.value):
        files.make_folder(output)
        clusters.require_fit(output, [one for one in inputs if files.exists(one)])  # No globs.
        yield engines.Ray()


def _verify(output: str) -> int:
    """Says what is bad in the data set; returns 2 when anything is."""
    senseless = (
        _INPUT,
        _TFDS,
        _MAKE_LR,
        _OVERWRITE,
        _ENGINE,
        _RAY_ADDRESS,
        *_SETTINGS.values(),
        *_LR_SETTINGS.values(),
    )
    for flag in senseless:
        if flag.present:
            raise errors.InputError(f"--{flag.name}: --verify needs --output alone; leave it out")
    cli.import_tensorflow()
    from data_prep import verify

    report = verify.verify(output.rstrip("/") or "/")
    cli.emit(report.text)
    return 0 if report.sound else cli.EXIT_INPUT_ERROR


def _make_lr(settings: Settings, inputs: list[str], output: str) -> bool:
    """Makes LR pictures and says what came of it; returns whether files could not be used."""
    from data_prep import lr_pictures, lr_plan

    started = time.monotonic()
    if files.is_remote(output):
        cli.import_tensorflow()
    chosen = LrSettings(**{name: holder.value for name, holder in _LR_SETTINGS.items()})
    jobs = lr_plan.plan(
        inputs, output, chosen, max_pixels=settings.max_pixels, overwrite=_OVERWRITE.value
    )
    outcomes = lr_pictures.run(jobs, workers=_WORKERS.value)
    seconds = time.monotonic() - started
    cli.emit(lr_pictures.describe(outcomes, output, chosen.rule, seconds))
    return any(outcome.problem for outcome in outcomes)


def run() -> None:
    """Entry point of the command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
