"""What the page computes: one part of one photo through one model, and how far that is."""

import contextlib
import dataclasses
import functools
import os
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from srgan_tf import __version__, metadata, photos
from srgan_tf.serving import channels, comparison, writers

# Decoded, 180 MB; from a larger one nobody cuts a part in a browser.
MOST_PIXELS_OF_A_PHOTO = 60_000_000
# LR rows of the bicubic picture at a time.
_BAND = 64
_WARM_UP_SIDE = 48


class Model(Protocol):
    """What `Upscaler.load` returns."""

    scale: int
    fingerprint: str

    def strips(self, rgb: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the enlarged picture from the top."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of a photo, in its pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a photo is: `before` others first, then `rows` of `total` output rows.

    `share` (0 to 1) and `seconds_left` (None: unknown) are estimated between two strips.
    """

    before: int
    rows: int
    total: int
    share: float
    seconds_left: float | None


@dataclasses.dataclass(frozen=True)
class Result:
    """Paths of the upscaled part and of the bicubic one of the same size (PNG), and that size.

    `name` is what the first is to be called on its owner's disk.
    """

    name: str
    after: str
    bicubic: str
    height: int
    width: int
    seconds: float


class Cancelled(Exception):
    """The photo was cancelled, by a button or because its page was closed."""


class Job:
    """One part of one photo on its way through a model; its pictures have names of their own."""

    def __init__(self, source: str, name: str, region: Region, model: Model, pace: float):
        """Of the photo `source`, in whose folder it writes.

        Args:
            source: its path.
            name: what its owner calls it, without the ending.
            region: the part.
            model: the model.
            pace: the seconds that it is known to need for an LR pixel.
        """
        self.cancelled, self.finished = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.result: Result | None = None
        self._source, self._region, self._model, self._pace = source, region, model, pace
        self._name = f"{name}_x{model.scale}.png"
        # A browser may show what it has under an address, so that no two may be the same.
        stem = os.path.join(os.path.dirname(source), secrets.token_hex(4))
        self._after, self._bicubic = f"{stem}.png", f"{stem}_bicubic.png"
        self._began: float | None = None
        self._rows, self._reached, self._passes = 0, 0.0, 1

    def run(self) -> float:
        """Writes both pictures; returns the seconds that an LR pixel took.

        Raises:
            Cancelled: it was; nothing of it is left.
        """
        try:
            if self.cancelled.is_set():
                raise Cancelled
            pace = self._write()
            if self.cancelled.is_set():
                raise Cancelled
            return pace
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Removes its pictures."""
        self.result = None
        for path in (self._after, self._bicubic):
            with contextlib.suppress(OSError):
                os.remove(path)

    def progress(self, before: int) -> Progress:
        """Returns how far it is, behind `before` others."""
        total, began = self._region.height * self._model.scale, self._began
        if began is None:
            return Progress(before, 0, total, 0.0, None)
        now, rows = time.monotonic(), self._rows
        row_seconds = self._passes * self._pace * self._region.width / self._model.scale
        if rows:
            row_seconds = (self._reached - began) / rows
        # Between two strips time goes on, but not beyond what is plausible.
        guessed = min((now - self._reached) / row_seconds, 0.97 * (total - rows))
        left = max(0.0, (total - rows) * row_seconds - (now - self._reached))
        return Progress(0, rows, total, (rows + guessed) / total, left)

    def _write(self) -> float:
        region, scale = self._region, self._model.scale
        whole = photos.load(self._source, max_pixels=MOST_PIXELS_OF_A_PHOTO)
        part = _cut(whole, region)
        del whole
        # Transparency goes through the network too, unless it is the same everywhere.
        self._passes = 1 if part.alpha is None or part.alpha.min() == part.alpha.max() else 2
        self._began = self._reached = time.monotonic()
        made_by = metadata.software(__version__, self._model.fingerprint)
        settings = writers.Settings(software=made_by)
        strips = channels.strips(self._strips, part, scale)
        writers.upscaled(self._after, part, scale, settings)(self._counted(strips))
        seconds = time.monotonic() - self._began
        strips = channels.strips(functools.partial(_bicubic, scale=scale), part, scale)
        write = writers.upscaled(self._bicubic, part, scale, writers.Settings())
        write(self._unless_cancelled(strips))
        height, width = region.height * scale, region.width * scale
        self.result = Result(self._name, self._after, self._bicubic, height, width, seconds)
        return seconds / (region.height * region.width * self._passes)

    def _strips(self, rgb: np.ndarray) -> Iterator[np.ndarray]:
        """Of colours or of transparency: between the two it can be cancelled, too."""
        return self._unless_cancelled(self._model.strips(rgb))

    def _counted(self, strips: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for strip in strips:
            self._rows += len(strip)
            self._reached = time.monotonic()
            yield strip

    def _unless_cancelled(self, strips: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields all strips unless it is cancelled; a file that is begun is then removed."""
        for strip in strips:
            if self.cancelled.is_set():
                raise Cancelled
            yield strip


def _cut(photo: photos.Photo, region: Region) -> photos.Photo:
    rows = slice(region.top, region.top + region.height)
    columns = slice(region.left, region.left + region.width)
    alpha = None if photo.alpha is None else np.ascontiguousarray(photo.alpha[rows, columns])
    return dataclasses.replace(
        photo, rgb=np.ascontiguousarray(photo.rgb[rows, columns]), alpha=alpha
    )


def _bicubic(lr: np.ndarray, scale: int) -> Iterator[np.ndarray]:
    for top in range(0, len(lr), _BAND):
        yield comparison.enlarged(lr, scale, top, min(len(lr), top + _BAND))


def measure(model: Model) -> float:
    """Returns the seconds that an LR pixel takes; the first run, which traces, does not count."""
    noise = np.random.RandomState(0).bytes(_WARM_UP_SIDE**2 * 3)
    rgb = np.frombuffer(noise, np.uint8).reshape(_WARM_UP_SIDE, _WARM_UP_SIDE, 3)
    for _ in range(2):
        began = time.monotonic()
        for _ in model.strips(rgb):
            pass
    return (time.monotonic() - began) / rgb[..., 0].size
