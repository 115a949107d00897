"""Cuts one photo: decode, shrink, grid, flat-area filter, encode. Runs in worker processes.

In: a `Source`; out: a spool file and its `Cut`. No TensorFlow, so that a worker starts at once.

The grid reaches from edge to edge: where crops at full stride leave a quarter of a stride or more
uncovered, one more is taken and all move together; a smaller rest is left out on both sides alike.
Transparent photos are put on white. Positions are those in the upright, downscaled photo.
"""

import dataclasses
import hashlib
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from data_prep import sources, spool
from data_prep.settings import MULTIPLE, Settings
from srgan_tf import photos

_WORTH_A_CROP = 0.75  # One more crop when three quarters of a stride or less would be overlap.


@dataclasses.dataclass(frozen=True)
class Job:
    """One photo to cut into the spool `folder`, for training crops or as a validation photo."""

    source: sources.Source
    settings: Settings
    folder: str
    key: str
    validation: bool

    def __str__(self) -> str:
        return self.source.id


def cut(job: Job) -> spool.Cut:
    """Cuts `job.source` and writes its spool file; a photo that cannot be used is one with none."""
    source = job.source
    result = spool.Cut(source.id, "", source.size, job.key, job.validation)
    blobs: list[tuple[int, int, int, int, bytes]] = []
    try:
        result = dataclasses.replace(result, sha256=_sha256(source))
        rgb = _load(source, job.settings)
        height, width = rgb.shape[:2]
        result = dataclasses.replace(
            result, width=width, height=height, content=_content_digest(rgb)
        )
        all_boxes = list(grid(height, width, job.settings))
        boxes = [box for box in all_boxes if detail(_crop(rgb, box)) >= job.settings.min_detail]
        flat = len(all_boxes) - len(boxes)
        result = dataclasses.replace(result, kept=len(boxes), flat=flat)
        _check_usable(result, len(all_boxes), job.settings)
        boxes = [_middle(height, width, job.settings)] if job.validation else boxes
        blobs = [(*box, encode(_crop(rgb, box), job.settings)) for box in boxes]
        stored = sum(len(blob[-1]) for blob in blobs)
        result = dataclasses.replace(result, stored=stored)
    except photos.PhotoError as error:
        result = dataclasses.replace(result, skipped=error.kind, detail=error.detail)
    spool.write(job.folder, result, blobs)
    return result


def cut_unless_done(job: Job) -> spool.Cut:
    """Returns what the spool file says that is there, or cuts."""
    return spool.read(job.folder, job.key) or cut(job)


def grid(height: int, width: int, settings: Settings) -> Iterator[tuple[int, int, int, int]]:
    """Yields `(x, y, width, height)` of the crops, row by row."""
    size = settings.crop_size
    for y in _starts(height - size, settings.step):
        for x in _starts(width - size, settings.step):
            yield x, y, size, size


def _starts(room: int, step: int) -> list[int]:
    """Returns where the crops along a side of `crop_size + room` pixels begin."""
    if room < 0:
        return []
    count = 1 + int(room / step + _WORTH_A_CROP)
    spacing = min(step, room / max(1, count - 1))
    first = (room - spacing * (count - 1)) / 2
    return [int(first + index * spacing) for index in range(count)]


def detail(rgb: np.ndarray) -> float:
    """Returns the mean difference of luma (0..255) between neighbours, along rows and columns."""
    red, green, blue = (rgb[..., channel].astype(np.int32) for channel in range(3))
    luma = (77 * red + 150 * green + 29 * blue) >> 8  # BT.601 in integers: the same everywhere.
    across, down = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    return float((across.mean() + down.mean()) / 2)


def encode(rgb: np.ndarray, settings: Settings) -> bytes:
    """Returns uint8 `[H, W, 3]` as PNG, JPEG (full colour resolution) or raw bytes."""
    if settings.encoding == "raw":
        return rgb.tobytes()
    stream = io.BytesIO()
    if settings.encoding == "jpeg":
        Image.fromarray(rgb).save(stream, "JPEG", quality=settings.jpeg_quality, subsampling=0)
    else:
        # Level 3 takes half the time of zlib's default and 2 % more room (192-pixel photo crops).
        Image.fromarray(rgb).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def downscale(rgb: np.ndarray, factor: float) -> np.ndarray:
    """Shrinks by exactly `factor` (Lanczos, antialiased); what fills no pixel is left out."""
    if factor == 1:
        return rgb
    height, width = (max(1, int(side / factor)) for side in rgb.shape[:2])
    box = (0, 0, min(rgb.shape[1], width * factor), min(rgb.shape[0], height * factor))
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS, box))


def _sha256(source: sources.Source) -> str:
    try:
        return sources.content_digest(source)
    except OSError as error:
        raise photos.PhotoError("unreadable", error.strerror or str(error)) from error


def _load(source: sources.Source, settings: Settings) -> np.ndarray:
    if source.pixels is None:
        photo = photos.load(source.path, max_pixels=settings.max_pixels)
    else:
        photo = photos.from_array(source.pixels)
    return downscale(photos.flatten(photo.rgb, photo.alpha), settings.downscale)


def _check_usable(result: spool.Cut, crops: int, settings: Settings) -> None:
    if not crops:
        size = f"{result.width}x{result.height}"
        after = "" if settings.downscale == 1 else f" after --downscale={settings.downscale:g}"
        raise photos.PhotoError(
            "too small", f"{size}{after}; a crop has {settings.crop_size} pixels a side"
        )
    if not result.kept:
        raise photos.PhotoError("flat", f"all {crops} crops are below --min_detail")


def _middle(height: int, width: int, settings: Settings) -> tuple[int, int, int, int]:
    """Returns the centred box of a validation photo: a multiple of every scale."""
    limit = settings.validation_size
    wide, high = (min(side, limit) // MULTIPLE * MULTIPLE for side in (width, height))
    return (width - wide) // 2, (height - high) // 2, wide, high


def _crop(rgb: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x, y, width, height = box
    return np.ascontiguousarray(rgb[y : y + height, x : x + width])


def _content_digest(rgb: np.ndarray) -> str:
    digest = hashlib.blake2b(str(rgb.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()
