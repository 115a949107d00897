"""Checks a finished data set, every record of it: srgan-prepare --verify --output=DIR."""

import dataclasses

from srgan_tf import errors
from srgan_tf.data import faults, records, scan

# Problems are named one by one, up to so many.
_MAX_LINES = 50


@dataclasses.dataclass(frozen=True)
class Report:
    """What came of it: the text to print, and whether all is sound."""

    text: str
    sound: bool


def verify(output: str) -> Report:
    """Reads and decodes everything in `output` and compares it with the manifest.

    Raises:
        errors.InputError: `output` holds no finished data set.
    """
    manifest = records.read_manifest(output)
    if manifest is None:
        raise errors.InputError(
            f"--verify: {output} holds no finished data set (no {records.MANIFEST})"
        )
    lines, number, checked = [], 0, 0
    for name in manifest["splits"]:
        split = records.open_split(output, name, damaged=True)
        # A training record is a whole crop; a validation photo may have any size.
        bad = scan.scan(split, min_side=split.crop_size if name == "train" else 1)
        lines += [f"  {faults.describe(split.files, fault)}" for fault in bad]
        number += faults.total(bad)
        checked += split.num_records
    if not number:
        return Report(f"{output} is sound: {checked} records read and decoded.", True)
    more = [f"  and {len(lines) - _MAX_LINES} more"] if len(lines) > _MAX_LINES else []
    head = f"{output}: {number} of {checked} records are bad"
    advice = "Copy the data set again, or prepare it again with --overwrite."
    return Report("\n".join([head, *lines[:_MAX_LINES], *more, advice]), False)
