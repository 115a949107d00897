"""Writes upscaled pictures in threads of their own while the next strip is being computed.

PNG is written strip by strip. The other formats' encoders take whole pictures: width x height x 3
bytes (4 with transparency) more.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import numpy as np
import tensorflow as tf
from PIL import Image

from srgan_tf import files, photos, png
from srgan_tf.serving import comparison

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


def upscaled(path: str, photo: photos.Photo, scale: int) -> Callable[[Iterator[np.ndarray]], None]:
    """Returns what writes the enlarged `photo` to `path`: grey stays grey, alpha is bicubic."""
    height, width = photo.rgb.shape[:2]

    def painted(strips: Iterator[np.ndarray], *, grey: bool) -> Iterator[np.ndarray]:
        for strip, top, bottom in _numbered(strips, scale):
            colours = np.asarray(Image.fromarray(strip).convert("L"))[..., None] if grey else strip
            if photo.alpha is None:
                yield colours
            else:
                alpha = comparison.enlarged(photo.alpha, scale, top, bottom)
                yield np.concatenate([colours, alpha[..., None]], axis=2)

    def write(strips: Iterator[np.ndarray]) -> None:
        streams = photos.require_format(path) == "PNG"
        channels = (1 if streams and photo.is_grey else 3) + (photo.alpha is not None)
        size = (height * scale, width * scale, channels)
        _save(path, painted(strips, grey=streams and photo.is_grey), size, grey=photo.is_grey)

    return write


def compared(path: str, photo: photos.Photo, scale: int) -> Callable[[Iterator[np.ndarray]], None]:
    """Returns what writes bicubic | SR of `photo` to `path`, transparency put on white."""
    height, width = photo.rgb.shape[:2]

    def flat(strips: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for strip, top, bottom in _numbered(strips, scale):
            alpha = photo.alpha
            if alpha is not None:
                alpha = comparison.enlarged(alpha, scale, top, bottom)
            yield photos.flatten(strip, alpha)

    def write(strips: Iterator[np.ndarray]) -> None:
        lr = photos.flatten(photo.rgb, photo.alpha)
        size = comparison.size(height * scale, width * scale)
        _save(path, comparison.rows(lr, flat(strips), scale), (*size, 3), grey=False)

    return write


def _numbered(
    strips: Iterator[np.ndarray], scale: int, rows: int = 64
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yields strips in bands of at most `rows` LR rows, and from which to which LR row they go."""
    top = 0
    for strip in strips:
        for start in range(0, len(strip), rows * scale):
            band = strip[start : start + rows * scale]
            yield band, top, top + len(band) // scale
            top += len(band) // scale


def _save(
    path: str, strips: Iterator[np.ndarray], size: tuple[int, int, int], *, grey: bool
) -> None:
    """Writes one output with its folder.

    Raises:
        OSError: it cannot be written; TensorFlow's file errors come as this, too.
    """
    try:
        tf.io.gfile.makedirs(os.path.dirname(path) or ".")
        if photos.require_format(path) == "PNG":
            files.write_atomically(path, png.encode(strips, *size))
            return
        whole, top = np.empty(size, np.uint8), 0
        for strip in strips:
            whole[top : top + len(strip)] = strip
            top += len(strip)
        alpha = whole[..., 3] if size[2] == 4 else None
        photos.save(path, whole[..., :3], alpha, grey=grey)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
