"""What the page (web.py) does with photos, without knowing the page: open, upscale, forget.

Every session (a browser tab) has a folder, with the photo as it came and the last result in it;
`close` removes it. One photo is computed at a time; a bounded number of others wait.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from PIL import Image

from srgan_tf import __version__, errors, metadata, photos
from srgan_tf.serving import channels, comparison, writers

# Decoded, 180 MB; from a larger one nobody cuts a part in a browser.
MOST_PIXELS_OF_A_PHOTO = 60_000_000
_PREVIEW_SIDE = 1200
_POLL_SECONDS = 0.25
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
class Opened:
    """A photo that can be upscaled: its size in pixels, and the path of a small copy (PNG)."""

    name: str
    height: int
    width: int
    preview: str


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
    """Paths of the upscaled part and of the bicubic one of the same size (PNG), and that size."""

    after: str
    bicubic: str
    height: int
    width: int
    seconds: float


class Cancelled(Exception):
    """The photo was cancelled, by a button or because its page was closed."""


class _Session:
    def __init__(self, folder: str):
        self.folder = folder
        self.opened: Opened | None = None
        self.job: _Job | None = None

    @property
    def source(self) -> str:
        return os.path.join(self.folder, "source")

    def empty(self) -> None:
        if self.job:
            self.job.cancelled.set()
        self.opened = self.job = None
        shutil.rmtree(self.folder, ignore_errors=True)


class Studio:
    """The sessions and the queue in front of the models."""

    def __init__(
        self, models: Mapping[str, Model], folder: str, *, max_pixels: int, max_waiting: int
    ):
        """Runs each model once, on noise, to make it ready and to learn its speed.

        Args:
            models: what people choose from, by the name that they see.
            folder: for the sessions' folders; whoever made it removes it.
            max_pixels: of the part that is upscaled.
            max_waiting: photos that may wait while one is computed.
        """
        self.models = dict(models)
        self.max_pixels = max_pixels
        self._folder = folder
        self._max_waiting = max_waiting
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()
        self._computing = threading.Lock()
        self._queue: list[_Job] = []
        self._pace = {name: _measure(model) for name, model in self.models.items()}

    def open(self, session: str, path: str) -> Opened:
        """Takes a photo over from `path`, which is gone afterwards in any case.

        Raises:
            photos.PhotoError: it is none, or too large.
        """
        try:
            photo = photos.load(path, max_pixels=MOST_PIXELS_OF_A_PHOTO)
            self.close(session)
            opened = _Session(os.path.join(self._folder, secrets.token_urlsafe(16)))
            os.makedirs(opened.folder)
            with self._lock:
                self._sessions[session] = opened
            os.replace(path, opened.source)
        finally:
            with contextlib.suppress(OSError):
                os.remove(path)
        preview = os.path.join(opened.folder, "preview.png")
        picture = Image.fromarray(photo.rgb)
        if photo.alpha is not None:
            picture.putalpha(Image.fromarray(photo.alpha))
        picture.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
        picture.save(preview, "PNG")
        name = os.path.splitext(os.path.basename(path))[0] or "photo"
        opened.opened = Opened(name, *photo.rgb.shape[:2], preview)
        return opened.opened

    def upscale(
        self, session: str, model: str, region: Region | None
    ) -> Iterator[Progress | Result]:
        """Yields how far it is a few times a second and, as the last, the result.

        Args:
            session: the photo is the one that it opened last.
            model: a name of `models`.
            region: the part; None is the whole photo.

        Raises:
            errors.InputError: nothing is open, the part is too large, or too many photos wait.
            Cancelled: by `cancel`, `close` or another photo.
        """
        state = self._sessions.get(session)
        if state is None or state.opened is None:
            raise errors.InputError("This photo is no longer here: choose it again.")
        if model not in self.models:
            raise errors.InputError("This model is not served here: load the page again.")
        region = self._check(region, state.opened)
        with self._lock:
            if len(self._queue) > self._max_waiting:
                raise errors.InputError(
                    f"{len(self._queue)} photos are being upscaled or waiting here, which is as "
                    "many as may: try again in a minute."
                )
            if state.job:
                state.job.cancelled.set()
            job = state.job = _Job(
                state, region, self.models[model], self._pace[model], self._computing
            )
            self._queue.append(job)
        thread = threading.Thread(target=self._run, args=(job, model), daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_POLL_SECONDS)
                if job.cancelled.is_set():
                    raise Cancelled
                yield job.progress(self._queue)
            if job.error:
                raise job.error
            yield job.result
        finally:
            job.cancelled.set()

    def cancel(self, session: str) -> None:
        """Ends what is computed for a session, at the latest after the strip in the works."""
        state = self._sessions.get(session)
        if state and state.job:
            state.job.cancelled.set()

    def close(self, session: str) -> None:
        """Cancels a session's photo and removes all its files."""
        with self._lock:
            state = self._sessions.pop(session, None)
        if state:
            state.empty()

    def shut(self, seconds: float) -> None:
        """Closes all sessions and waits at most so long for the strip in the works."""
        for session in list(self._sessions):
            self.close(session)
        if self._computing.acquire(timeout=seconds):
            self._computing.release()

    def picture(self, folder: str, name: str) -> str | None:
        """Returns the path of one of the pictures to show, by its address on the page."""
        for state in list(self._sessions.values()):
            if secrets.compare_digest(os.path.basename(state.folder), folder):
                job = state.job
                shown = [state.opened.preview] if state.opened else []
                shown += [job.result.after, job.result.bicubic] if job and job.result else []
                return next((path for path in shown if os.path.basename(path) == name), None)
        return None

    def address(self, path: str) -> str:
        """Returns what `picture` finds `path` by: FOLDER/NAME."""
        return pathlib.Path(path).relative_to(self._folder).as_posix()

    def _check(self, region: Region | None, opened: Opened) -> Region:
        region = region or Region(0, 0, opened.width, opened.height)
        across = 0 <= region.left < region.left + region.width <= opened.width
        down = 0 <= region.top < region.top + region.height <= opened.height
        if not (across and down):
            raise errors.InputError(
                f"The part must lie within the photo ({opened.width} x {opened.height} pixels)."
            )
        pixels = region.width * region.height
        if pixels > self.max_pixels:
            raise errors.InputError(
                f"{region.width} x {region.height} are {pixels:,} pixels; at most "
                f"{self.max_pixels:,} are done at once here: choose a part of the photo."
            )
        return region

    def _run(self, job: "_Job", model: str) -> None:
        """Computes a job when it is its turn (in a thread of its own)."""
        try:
            with self._computing:
                self._pace[model] = job.run()
        except Exception as error:  # Whatever it is, the page's thread raises it.
            job.error = error
        finally:
            with self._lock:
                self._queue.remove(job)


class _Job:
    """One part of one photo on its way through a model."""

    def __init__(
        self, state: _Session, region: Region, model: Model, pace: float, turn: threading.Lock
    ):
        self.cancelled = threading.Event()
        self.error: Exception | None = None
        self.result: Result | None = None
        self._state, self._region, self._model = state, region, model
        self._pace, self._turn = pace, turn
        self._began: float | None = None
        self._rows, self._reached, self._passes = 0, 0.0, 1

    def run(self) -> float:
        """Writes both pictures; returns the seconds that an LR pixel took."""
        state, region, scale = self._state, self._region, self._model.scale
        if self.cancelled.is_set() or state.opened is None:
            raise Cancelled
        opened = state.opened
        whole = photos.load(state.source, max_pixels=MOST_PIXELS_OF_A_PHOTO)
        part = _cut(whole, region)
        del whole
        # Transparency goes through the network too, unless it is the same everywhere.
        self._passes = 1 if part.alpha is None or part.alpha.min() == part.alpha.max() else 2
        self._began = self._reached = time.monotonic()
        after = os.path.join(state.folder, f"{opened.name}_x{scale}.png")
        bicubic = os.path.join(state.folder, f"{opened.name}_x{scale}_bicubic.png")
        made_by = metadata.software(__version__, self._model.fingerprint)
        settings = writers.Settings(software=made_by)
        strips = channels.strips(self._model.strips, part, scale)
        writers.upscaled(after, part, scale, settings)(self._watched(strips))
        seconds = time.monotonic() - self._began
        strips = channels.strips(functools.partial(_bicubic, scale=scale), part, scale)
        write = writers.upscaled(bicubic, part, scale, writers.Settings())
        write(self._unless_cancelled(strips))
        self.result = Result(after, bicubic, region.height * scale, region.width * scale, seconds)
        return seconds / (region.height * region.width * self._passes)

    def progress(self, queue: list["_Job"]) -> Progress:
        """Returns how far it is, behind the others in `queue`."""
        total, began = self._region.height * self._model.scale, self._began
        if began is None:
            others = list(queue)
            place = others.index(self) if self in others else 0
            return Progress(place, 0, total, 0.0, None)
        now, rows = time.monotonic(), self._rows
        row_seconds = self._passes * self._pace * self._region.width / self._model.scale
        if rows:
            row_seconds = (self._reached - began) / rows
        # Between two strips time goes on, but not beyond what is plausible.
        guessed = min((now - self._reached) / row_seconds, 0.97 * (total - rows))
        left = max(0.0, (total - rows) * row_seconds - (now - self._reached))
        return Progress(0, rows, total, (rows + guessed) / total, left)

    def _watched(self, strips: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for strip in self._unless_cancelled(strips):
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


def _measure(model: Model) -> float:
    """Returns the seconds that an LR pixel takes; the first run, which traces, does not count."""
    noise = np.random.RandomState(0).bytes(_WARM_UP_SIDE**2 * 3)
    rgb = np.frombuffer(noise, np.uint8).reshape(_WARM_UP_SIDE, _WARM_UP_SIDE, 3)
    for _ in range(2):
        began = time.monotonic()
        for _ in model.strips(rgb):
            pass
    return (time.monotonic() - began) / rgb[..., 0].size
