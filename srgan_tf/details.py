"""Keeps, while pictures are evaluated, the place of each of the worst where SR is farthest from HR.

Pictures come in as uint8 arrays and stay as small PNG files, so that memory is bounded.
"""

import bisect
import dataclasses
import io
import math

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from srgan_tf import images
from srgan_tf.evaluation import Pictures, Row

# Side of a detail in HR pixels: a face or an eye fits.
WINDOW = 96
_OVERVIEW = 192


@dataclasses.dataclass(frozen=True)
class Detail:
    """The window of one picture in which SR is farthest from HR; pictures are PNG files.

    Attributes:
        row: the picture's scores.
        left, top, width, height: the window in HR pixels.
        crops: it by "lr" (enlarged to the same size, pixels repeated), "bicubic", "sr" and "hr".
        overview: the whole SR picture, small, with the window marked.
    """

    row: Row
    left: int
    top: int
    width: int
    height: int
    crops: dict[str, bytes]
    overview: bytes


class Collector:
    """An `on_image` callback that keeps the details of the pictures with the lowest PSNR-Y.

    It holds at most `limit` details, some 150 kB each, and never a whole picture.
    """

    def __init__(self, border: int | None = None, *, limit: int = 20):
        """Starts empty.

        Args:
            border: pixels at each edge in which no detail is looked for; default the scale.
            limit: number of pictures to keep a detail of.
        """
        self.details: list[Detail] = []  # Lowest PSNR-Y first; among equals in order of arrival.
        self._border = border
        self._limit = limit

    def __call__(self, row: Row, pictures: Pictures) -> None:
        """Takes one picture's scores and its uint8 `[H, W, 3]` pictures."""
        place = bisect.bisect_right(self.details, rank(row), key=lambda kept: rank(kept.row))
        if place < self._limit:
            self.details.insert(place, _detail(row, pictures, self._border))
            del self.details[self._limit :]


def rank(row: Row) -> float:
    """Returns what orders pictures from worst to best: PSNR on luma."""
    return row.model["psnr_y"]


def _detail(row: Row, pictures: Pictures, border: int | None) -> Detail:
    scale = pictures.hr.shape[0] // pictures.lr.shape[0]
    border = scale if border is None else border
    top, left, height, width = worst_window(pictures.sr, pictures.hr, scale=scale, border=border)
    window = (slice(top, top + height), slice(left, left + width))
    lr = pictures.lr[top // scale :, left // scale :][: height // scale, : width // scale]
    crops = {
        "lr": lr.repeat(scale, axis=0).repeat(scale, axis=1),
        "bicubic": pictures.bicubic[window],
        "sr": pictures.sr[window],
        "hr": pictures.hr[window],
    }
    encoded = {name: _png(Image.fromarray(crop)) for name, crop in crops.items()}
    overview = _png(_marked(pictures.sr, left, top, width, height))
    return Detail(row, left, top, width, height, encoded, overview)


def worst_window(
    sr: np.ndarray, hr: np.ndarray, *, scale: int, border: int
) -> tuple[int, int, int, int]:
    """Returns (top, left, height, width) of the window with the most squared luma error.

    Places and sizes are multiples of `scale`, so that the LR can be cut alike; within the border
    unless the picture is too small for that.
    """
    luma_sr, luma_hr = (images.to_luma(images.uint8_to_unit(tf.constant(i))) for i in (sr, hr))
    error = np.asarray(luma_sr - luma_hr, np.float64)[..., 0] ** 2
    sums = np.pad(error, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    tops, height = _places(error.shape[0], scale, border)
    lefts, width = _places(error.shape[1], scale, border)
    lower, upper = sums[tops + height], sums[tops]
    inside = (lower[:, lefts + width] - lower[:, lefts]) - (
        upper[:, lefts + width] - upper[:, lefts]
    )
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return int(tops[top]), int(lefts[left]), height, width


def _places(size: int, scale: int, border: int) -> tuple[np.ndarray, int]:
    """Returns where a window may begin along one side, and its length there."""
    first, last = math.ceil(border / scale) * scale, (size - border) // scale * scale
    if last <= first:
        first, last = 0, size // scale * scale
    length = min(max(WINDOW // scale, 1) * scale, last - first)
    return np.arange(first, last - length + 1, scale), length


def _marked(sr: np.ndarray, left: int, top: int, width: int, height: int) -> Image.Image:
    """Returns the picture at most `_OVERVIEW` pixels a side, with a frame around the window."""
    whole = Image.fromarray(sr)
    small = whole.copy()
    small.thumbnail((_OVERVIEW, _OVERVIEW))
    x, y = small.width / whole.width, small.height / whole.height
    box = [left * x, top * y, (left + width) * x - 1, (top + height) * y - 1]
    draw = ImageDraw.Draw(small)
    # Two colours: one of them shows on any picture.
    draw.rectangle([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], outline="black")
    draw.rectangle(box, outline="white")
    return small


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
