"""Upscales planned pictures: one is read ahead, one computed, one written, at the same time.

A model on a server is sent several pictures at a time, in order (`Upscaler.parallel`).
"""

import collections
import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Any

import tensorflow as tf
import tqdm

from srgan_tf import __version__, errors, metadata, photos, terminal
from srgan_tf.serving import channels, comparison, pictures, writers
from srgan_tf.serving.upscaler import Upscaler

_MAX_PIXELS = 400_000_000  # Of an output.
# LR pixels up to which a picture is read while another one is in the works (memory.py counts on
# it); larger ones are done on their own.
_AHEAD_PIXELS = 2_500_000

_Errors = (errors.InputError, tf.errors.ResourceExhaustedError, MemoryError, OSError, ValueError)


def run(
    jobs: Sequence[pictures.Job],
    upscaler: Upscaler,
    *,
    overwrite: bool = False,
    quality: int = photos.DEFAULT_QUALITY,
    summary: pictures.Summary | None = None,
    since: int | None = None,
    quiet: bool = False,
) -> pictures.Summary:
    """Does the jobs with a progress bar; a picture that fails does not stop the others.

    Interrupted, it leaves whole files only, and `upscaler` closed. They say which model made them,
    and `quality` is that of JPEG and WebP. `summary` is what planning has noted already; `since` is
    explained in `pictures.wanted`; `quiet` leaves out the bar.
    """
    summary, todo = summary or pictures.Summary(), []
    for job in jobs:
        wanted = pictures.wanted(
            job, upscaler.fingerprint, summary, overwrite=overwrite, since=since
        )
        if wanted:
            todo.append((job, wanted))
    settings = writers.Settings(quality, metadata.software(__version__, upscaler.fingerprint))
    ready = len(jobs) - len(todo)
    bar = terminal.progress(
        total=len(jobs), initial=ready, desc="upscale", unit="image", disable=quiet
    )
    with bar, _Worker(upscaler, settings) as worker:
        begun: collections.deque[futures.Future] = collections.deque()

        def finish(left: int) -> None:
            while len(begun) > left:
                begun.popleft().result().finish(summary, bar)

        photos_read = worker.read(todo)
        for job, wanted in todo:
            photo = next(photos_read)  # zip() would keep it while the next one is decoded.
            large = isinstance(photo, photos.Photo) and photo.rgb.size > 3 * _AHEAD_PIXELS
            if large:
                finish(0)
            begun.append(worker.begin(job, wanted, photo))
            del photo  # The next one may be large.
            finish(0 if large else upscaler.parallel)
        finish(0)
    return summary


@dataclasses.dataclass
class _Writing:
    """A job whose pixels are computed, or that has failed, and whose files are being written."""

    job: pictures.Job
    sinks: list[writers.Sink]
    error: BaseException | None = None
    was_deep: bool = False
    has_more_pages: bool = False

    def finish(self, summary: pictures.Summary, bar: tqdm.tqdm) -> None:
        """Waits for the files and notes in `summary` what became of the job."""
        for sink in self.sinks:
            try:
                sink.wait()
            except _Errors as error:
                self.error = self.error or error
        _note(self.job, self.error, summary)
        summary.deep += self.was_deep and self.error is None
        summary.paged += self.has_more_pages and self.error is None
        bar.update()


class _Worker(contextlib.ExitStack):
    """Reads, computes and starts to write pictures."""

    def __init__(self, upscaler: Upscaler, settings: writers.Settings):
        super().__init__()
        self._upscaler = upscaler
        self._settings = settings
        self._reader = self.enter_context(futures.ThreadPoolExecutor(1))
        # Two files of each picture that is computed, and of one before them.
        self._writers = self.enter_context(futures.ThreadPoolExecutor(2 * upscaler.parallel + 2))
        self._computing = self.enter_context(futures.ThreadPoolExecutor(upscaler.parallel))
        # Of the pictures that are not complete: whatever ends the run, no thread waits for more.
        self._incomplete: set[threading.Event] = set()
        self.push(self._abort)

    def _abort(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind:
            for aborted in list(self._incomplete):
                aborted.set()
            self._upscaler.close()  # Ends what a server has not answered yet.

    def read(
        self, todo: Sequence[tuple[pictures.Job, Sequence[str]]]
    ) -> Iterator[photos.Photo | BaseException]:
        """Yields each job's picture, or why it cannot be had; the next one is read meanwhile.

        `todo` are the jobs, each with the files that are wanted of it.
        """
        scale = self._upscaler.scale
        ahead: futures.Future | None = None
        for index, (job, wanted) in enumerate(todo):
            try:
                photo = ahead.result() if ahead else None
                photo = photo or _load(job, wanted, scale)
            except _Errors as error:
                photo = error
            ahead = None
            if index + 1 < len(todo):
                ahead = self._reader.submit(_load, *todo[index + 1], scale, _AHEAD_PIXELS)
            yield photo
            del photo

    def begin(
        self, job: pictures.Job, wanted: Sequence[str], photo: photos.Photo | BaseException
    ) -> futures.Future:
        """Returns the future of `start`: already done, if one picture is computed at a time."""
        if self._upscaler.parallel > 1:
            return self._computing.submit(self.start, job, wanted, photo)
        done: futures.Future = futures.Future()
        done.set_result(self.start(job, wanted, photo))
        return done

    def start(
        self, job: pictures.Job, wanted: Sequence[str], photo: photos.Photo | BaseException
    ) -> _Writing:
        """Computes a picture and hands it to the files that are `wanted`."""
        if isinstance(photo, BaseException):
            return _Writing(job, [], photo)
        sinks: list[writers.Sink] = []
        aborted = threading.Event()
        self._incomplete.add(aborted)
        try:
            for path in wanted:
                write = writers.upscaled if path == job.target else writers.compared
                write = write(path, photo, self._upscaler.scale, self._settings)
                sinks.append(writers.Sink(self._writers, write, aborted))
            for strip in channels.strips(self._upscaler.strips, photo, self._upscaler.scale):
                for sink in sinks:
                    sink.put(strip)
            for sink in sinks:
                sink.close()
            self._incomplete.discard(aborted)
        except BaseException as error:
            aborted.set()
            for sink in sinks:
                sink.give_up()
            if not isinstance(error, _Errors):
                raise
            return _Writing(job, [], error)
        return _Writing(job, sinks, was_deep=photo.was_deep, has_more_pages=photo.has_more_pages)


def _note(job: pictures.Job, error: BaseException | None, summary: pictures.Summary) -> None:
    """Counts a job as done, left out or failed."""
    if error is None:
        summary.done += 1
        return
    # A file that is called like a picture is a broken one.
    looks_like_one = os.path.splitext(job.source)[1].lower() in photos.EXTENSIONS
    not_an_image = isinstance(error, photos.PhotoError) and error.kind == "not an image"
    if not_an_image and not (job.named or looks_like_one):
        summary.other_files.append(job.source)
    elif isinstance(error, (tf.errors.ResourceExhaustedError, MemoryError)):
        summary.fail(job.source, "memory", "not enough memory; try a smaller --memory_mb")
    else:  # Among them the encoder's limits, or a full disk.
        summary.fail(job.source, getattr(error, "kind", type(error).__name__), str(error))


def _load(
    job: pictures.Job, wanted: Sequence[str], scale: int, most_pixels: int | None = None
) -> photos.Photo | None:
    """Returns the picture; None if it has more than `most_pixels`.

    Raises:
        photos.PhotoError: it cannot be had, or (by its header) an output would be too large.
    """
    height, width = photos.size(job.source)
    _check_size(job, wanted, (height, width), scale)
    if most_pixels is not None and height * width > most_pixels:
        return None
    return photos.load(job.source)


def _check_size(
    job: pictures.Job, wanted: Sequence[str], size: tuple[int, int], scale: int
) -> None:
    """Refuses a picture of `size` (height, width) where one of the files cannot hold its SR."""
    sr = (size[0] * scale, size[1] * scale)
    if sr[0] * sr[1] > _MAX_PIXELS:
        raise photos.PhotoError(
            "too many pixels",
            f"{_shown(size)} would become {_shown(sr)}; the limit of an output is "
            f"{_MAX_PIXELS:,} pixels: shrink it or cut it into parts first",
        )
    for path in wanted:
        compared = path == job.comparison
        sides = comparison.size(*sr) if compared else sr
        kind = photos.require_format(path)
        limit = photos.LARGEST_SIDES.get(kind)
        if limit and max(sides) > limit:
            raise photos.PhotoError(
                "too large",
                f"{'the comparison' if compared else _shown(size)} would become {_shown(sides)}; "
                f"the limit of {kind} is {limit:,} pixels a side: choose --format=png",
            )


def _shown(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
