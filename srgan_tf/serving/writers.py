"""Writes upscaled pictures in threads of their own while the next strip is being computed.

PNG is written strip by strip. The other formats' encoders take whole pictures: width x height x 3
bytes (4 with transparency) more.
"""

import dataclasses
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import numpy as np
import tensorflow as tf

from srgan_tf import files, metadata, photos, png
from srgan_tf.serving import channels, comparison

_POLL_SECONDS = 0.2


class Sink:
    """A file that takes an SR picture in strips from the top: `put` each, then `close`."""

    def __init__(
        self,
        pool: futures.Executor,
        write: Callable[[Iterator[np.ndarray]], None],
        aborted: threading.Event,
    ):
        """Starts `write` in `pool`; the pool needs two threads for each picture.

        Once `aborted` is set, this file and all others that look at it are given up.
        """
        self._aborted = aborted
        # One strip waits, one is encoded: memory.py counts on that.
        self._queue: queue.Queue[np.ndarray | None] = queue.Queue(1)
        self._future = pool.submit(write, self._strips())

    def put(self, strip: np.ndarray | None) -> None:
        """Hands a strip over; raises what writing has raised."""
        while True:
            if self._future.done():
                self._future.result()
            try:
                return self._queue.put(strip, timeout=_POLL_SECONDS)
            except queue.Full:
                continue

    def close(self) -> None:
        """Says that the picture is complete; does not wait for the file."""
        self.put(None)

    def wait(self) -> None:
        """Waits until the file is there; raises what writing has raised."""
        self._future.result()

    def give_up(self) -> None:
        """Waits until what was written is removed, after `aborted` has been set."""
        futures.wait([self._future])

    def _strips(self) -> Iterator[np.ndarray]:
        while True:
            if self._aborted.is_set():
                raise _Aborted
            try:
                strip = self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if strip is None:
                return
            yield strip


class _Aborted(Exception):
    """Ends the writing of a picture that will not be completed."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """`quality` of JPEG and WebP; `software`: what is said to have made the files."""

    quality: int = photos.DEFAULT_QUALITY
    software: str | None = None


Write = Callable[[Iterator[np.ndarray]], None]


def upscaled(path: str, photo: photos.Photo, scale: int, settings: Settings) -> Write:
    """Returns what writes the strips of the enlarged `photo` (channels.py) to `path`."""
    height, width = (side * scale for side in photo.rgb.shape[:2])
    size = (height, width, channels.count(photo))
    about = metadata.finished(photo.about, size[:2], settings.software)
    return lambda strips: _save(path, strips, size, about, settings.quality)


def compared(path: str, photo: photos.Photo, scale: int, settings: Settings) -> Write:
    """Returns what writes bicubic | SR of `photo` to `path`, transparency put on white."""
    height, width = photo.rgb.shape[:2]

    def flat(strips: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for strip in _low(strips, scale):
            alpha = None if photo.alpha is None else strip[..., -1]
            colours = strip[..., : 1 if photo.is_grey else 3]
            colours = np.broadcast_to(colours, (*strip.shape[:2], 3))
            yield photos.flatten(colours, alpha)

    def write(strips: Iterator[np.ndarray]) -> None:
        lr = photos.flatten(photo.rgb, photo.alpha)
        size = comparison.size(height * scale, width * scale)
        icc = None if photo.is_grey else photo.about.icc
        about = metadata.finished(metadata.Metadata(icc=icc), size, settings.software)
        _save(path, comparison.rows(lr, flat(strips), scale), (*size, 3), about, settings.quality)

    return write


def _low(strips: Iterator[np.ndarray], scale: int, rows: int = 64) -> Iterator[np.ndarray]:
    """Yields strips in bands of at most `rows` LR rows."""
    for strip in strips:
        for start in range(0, len(strip), rows * scale):
            yield strip[start : start + rows * scale]


def _save(
    path: str,
    strips: Iterator[np.ndarray],
    size: tuple[int, int, int],
    about: metadata.Metadata,
    quality: int,
) -> None:
    """Writes one output with its folder.

    Raises:
        OSError: it cannot be written; TensorFlow's file errors come as this, too.
    """
    try:
        tf.io.gfile.makedirs(os.path.dirname(path) or ".")
        if photos.require_format(path) == "PNG":
            chunks = metadata.png_chunks(about)
            files.write_atomically(path, png.encode(strips, *size, chunks))
            return
        whole, top = np.empty(size, np.uint8), 0
        for strip in strips:
            whole[top : top + len(strip)] = strip
            top += len(strip)
        grey = size[2] < 3
        rgb = whole[..., :3] if not grey else np.broadcast_to(whole[..., :1], (*size[:2], 3))
        alpha = whole[..., -1] if size[2] in (2, 4) else None
        photos.save(path, rgb, alpha, quality=quality, grey=grey, about=about)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
