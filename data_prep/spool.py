"""The intermediate files of a conversion: per photo one header line of json, then its crops' bytes.

They are what a stopped conversion continues from, and plain files, so that the processes that cut
photos need no TensorFlow. A file appears under its name only when it is complete; the name is a
digest of the settings, of the photo's id and stamp, and of what it was cut for.
"""

import dataclasses
import hashlib
import itertools
import json
import os

import numpy as np

from data_prep import sources
from srgan_tf import files

FOLDER = ".spool"


@dataclasses.dataclass(frozen=True)
class Crop:
    """An encoded crop: its corner and size in the photo, and where it is in the spool file."""

    x: int
    y: int
    width: int
    height: int
    offset: int
    length: int


@dataclasses.dataclass(frozen=True)
class Cut:
    """What became of one photo, without the pixels.

    `width` and `height` are those of the upright photo after downscaling. `content` is a digest
    of the pixels, so that copies in another file format are found. `kept` and `flat` count the
    training crops, also where the photo was cut for validation. `stored` is the number of bytes
    of its encoded crops.
    """

    id: str
    sha256: str
    bytes: int
    key: str
    validation: bool
    width: int = 0
    height: int = 0
    content: str = ""
    kept: int = 0
    flat: int = 0
    stored: int = 0
    skipped: str = ""
    detail: str = ""


def key_of(source: sources.Source, settings_key: str, validation: bool) -> str:
    """Returns the name of the photo's spool file."""
    text = "\n".join([settings_key, source.id, source.stamp, str(validation)])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write(folder: str, cut: Cut, blobs: list[tuple[int, int, int, int, bytes]]) -> None:
    """Writes a spool file from `(x, y, width, height, bytes)` of each crop."""
    offsets = itertools.accumulate((len(blob[-1]) for blob in blobs), initial=0)
    crops = [[*blob[:4], start, len(blob[-1])] for blob, start in zip(blobs, offsets, strict=False)]
    header = json.dumps([dataclasses.asdict(cut), crops]).encode() + b"\n"
    files.write_atomically(os.path.join(folder, cut.key), [header, *(blob[-1] for blob in blobs)])


def read(folder: str, key: str) -> Cut | None:
    """Returns what a spool file says about its photo; None when there is no whole file."""
    try:
        with files.open_file(os.path.join(folder, key)) as stream:
            header = stream.readline()
            cut = Cut(**json.loads(header)[0])
            complete = stream.seek(0, os.SEEK_END) == len(header) + cut.stored
    except (OSError, ValueError, TypeError):
        return None
    return cut if complete else None


def read_crops(folder: str, key: str) -> list[Crop]:
    """Returns where the crops in a spool file are."""
    with files.open_file(os.path.join(folder, key)) as stream:
        header = stream.readline()
    crops = json.loads(header)[1]
    return [Crop(*place, len(header) + offset, length) for *place, offset, length in crops]


def read_places(folder: str, key: str) -> tuple[str, np.ndarray]:
    """Returns `key` and the numbers of `read_crops`, one row for each crop."""
    places = [dataclasses.astuple(crop) for crop in read_crops(folder, key)]
    return key, np.array(places, np.int64)


def remove(folder: str, key: str) -> None:
    """Removes a spool file, if it is there."""
    path = os.path.join(folder, key)
    if files.exists(path):
        files.remove(path)


def read_bytes(folder: str, key: str, offset: int, length: int) -> bytes:
    """Returns the encoded bytes of the crop at `offset`."""
    with files.open_file(os.path.join(folder, key)) as stream:
        stream.seek(offset)
        return stream.read(length)
