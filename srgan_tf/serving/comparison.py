"""The comparison picture bicubic | SR, and what else is enlarged by bicubic, strip by strip."""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from srgan_tf import bicubic

# LR rows around its own that a bicubic row depends on, and one to spare.
_REACH = 3
# LR rows at a time.
_BAND = 32


def size(height: int, width: int) -> tuple[int, int]:
    """Returns height and width of the comparison for an SR picture of `height` x `width`."""
    font, gap = _font_and_gap(height, width)
    return height + round(font * 1.6), 2 * width + gap


def rows(lr: np.ndarray, strips: Iterable[np.ndarray], scale: int) -> Iterator[np.ndarray]:
    """Yields bicubic | SR side by side at equal zoom, a caption above each, from the top.

    Args:
        lr: uint8 `[H, W, 3]`.
        strips: the SR picture, uint8 `[rows, W * scale, 3]`, rows a multiple of `scale`.
        scale: upscaling factor.
    """
    height, width = (side * scale for side in lr.shape[:2])
    _, gap = _font_and_gap(height, width)
    yield _captions(height, width)
    top = 0
    for strip in strips:
        for start in range(0, len(strip), _BAND * scale):
            sr = strip[start : start + _BAND * scale]
            bottom = top + len(sr) // scale
            white = np.asarray(Image.new("RGB", (gap, len(sr)), "white"))
            yield np.concatenate([enlarged(lr, scale, top, bottom), white, sr], axis=1)
            top = bottom


def enlarged(image: np.ndarray, scale: int, top: int, bottom: int) -> np.ndarray:
    """Returns what rows [top, bottom) of `image` become when all of it is enlarged by bicubic."""
    first = max(0, top - _REACH)
    part = bicubic.imresize(image[first : bottom + _REACH], scale)
    return part[(top - first) * scale : (bottom - first) * scale]


def _font_and_gap(height: int, width: int) -> tuple[int, int]:
    font = min(max(12, height // 24), 48, max(8, width // 8))
    return font, max(4, font // 4)


def _captions(height: int, width: int) -> np.ndarray:
    font, gap = _font_and_gap(height, width)
    total, wide = size(height, width)
    canvas = Image.new("RGB", (wide, total - height), "white")
    draw = ImageDraw.Draw(canvas)
    for left, caption in ((0, "bicubic"), (width + gap, "super-resolved")):
        place = (left + width // 2, (total - height) // 2)
        draw.text(place, caption, fill="black", font=ImageFont.load_default(font), anchor="mm")
    return np.asarray(canvas)
