"""All channels of a photo through a network that takes RGB: grey stays grey, alpha is enlarged.

* Colours beneath full transparency are arbitrary (mostly black) and would spread into the edges of
  a cut-out as a dark fringe: before the network sees them, those beside them are spread there.
* Alpha goes through the network too where it has edges: in a cut-out of a photo that is 4 dB closer
  to the true one there than bicubic with `srgan`. Where it changes slowly, as in a shadow, bicubic
  is closer (by 19 dB) and is taken; where it is constant, it stays so.
"""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageFilter

from srgan_tf import photos
from srgan_tf.serving import comparison

# Maps uint8 RGB `[H, W, 3]` to its enlargement from the top: `[rows, W * scale, 3]`.
Strips = Callable[[np.ndarray], Iterator[np.ndarray]]

_MOST = np.iinfo(np.uint8).max
# LR pixels a side within which alpha's least and greatest value bound what the network makes of it.
_WINDOW = 5
# Differences within a window up to which bicubic alone is taken, and from which the network is.
_SOFT, _HARD = 128, 224
# A network does not quite reach black and white.
_MARGIN = 8
# Rows that colours are spread over at a time, and how many beyond them are looked at.
_ROWS, _SPREAD = 256, 64
# LR rows at a time.
_BAND = 16


def count(photo: photos.Photo) -> int:
    """Returns how many channels `strips` yields: grey or RGB, then alpha where there is some."""
    return (1 if photo.is_grey else 3) + (photo.alpha is not None)


def strips(upscale: Strips, photo: photos.Photo, scale: int) -> Iterator[np.ndarray]:
    """Yields the enlarged photo from top to bottom, uint8 `[rows, W * scale, count(photo)]`.

    Args:
        upscale: the network, as `Upscaler.strips`; alpha that is not constant goes through it too.
        photo: the photo.
        scale: upscaling factor.
    """
    alpha, top = photo.alpha, 0
    if alpha is None or alpha.min() == alpha.max():
        for strip in upscale(photo.rgb):
            colours = _grey(strip) if photo.is_grey else strip
            if alpha is None:
                yield colours
            else:
                yield np.dstack([colours, np.full(strip.shape[:2], alpha[0, 0])])
        return
    window = _Window(alpha)
    alphas = upscale(np.dstack([alpha] * 3))
    for strip in upscale(spread(photo.rgb, alpha)):
        own = next(alphas)
        if strip.shape != own.shape:
            raise ValueError(f"Strips of one size differ: {strip.shape=}, {own.shape=}.")
        for start in range(0, len(strip), _BAND * scale):
            band = strip[start : start + _BAND * scale]
            bottom = top + len(band) // scale
            made = _grey(own[start : start + len(band)])[..., 0]
            made = window.bounded(made, top, bottom, scale)
            yield np.dstack([_grey(band) if photo.is_grey else band, made])
            top = bottom
        # Two strips at a time instead of four, which memory.py does not count on.
        del strip, own, band


def spread(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns `rgb` with colours that surround full transparency spread into it."""
    if alpha.all() or not alpha.any():
        return rgb
    filled = rgb.copy()
    # Some 64 bytes a pixel are needed for it, hence in parts.
    for top in range(0, len(rgb), _ROWS):
        first, last = max(0, top - _SPREAD), top + _ROWS + _SPREAD
        weights = alpha[first:last, :, None].astype(np.float32) / _MOST
        if weights.any() and not weights[top - first :][:_ROWS].all():
            found = np.rint(_pull(rgb[first:last] * weights, weights)[top - first :][:_ROWS])
            gaps = alpha[top : top + _ROWS] == 0
            filled[top : top + _ROWS][gaps] = found[gaps].clip(0, _MOST).astype(np.uint8)
    return filled


class _Window:
    """Alpha and its extremes around each pixel."""

    def __init__(self, alpha: np.ndarray):
        picture = Image.fromarray(alpha)
        self._alpha = alpha
        self._least, self._greatest = (
            np.asarray(picture.filter(kind(_WINDOW)))
            for kind in (ImageFilter.MinFilter, ImageFilter.MaxFilter)
        )

    def bounded(self, made: np.ndarray, top: int, bottom: int, scale: int) -> np.ndarray:
        """Returns LR rows [top, bottom) of alpha enlarged, of which the network has made `made`."""
        least, greatest = (
            side[top:bottom].repeat(scale, 0).repeat(scale, 1)
            for side in (self._least, self._greatest)
        )
        bicubic = comparison.enlarged(self._alpha, scale, top, bottom).astype(np.float32)
        stretched = (made - np.float32(_MARGIN)) * (_MOST / (_MOST - 2 * _MARGIN))
        share = (greatest.astype(np.float32) - least - _SOFT) / (_HARD - _SOFT)
        mixed = bicubic + share.clip(0, 1) * (stretched.clip(least, greatest) - bicubic)
        return np.rint(mixed).astype(np.uint8)


def _grey(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).convert("L"))[..., None]


def _pull(premultiplied: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns colours; those without weight are, coarsely, the nearest ones that have some."""
    colours = premultiplied / np.maximum(weights, np.float32(1e-6))
    gaps = weights == 0
    if gaps.any():
        height, width = weights.shape[:2]
        coarse = _pull(_halved(premultiplied), _halved(weights))
        colours = np.where(gaps, coarse.repeat(2, 0).repeat(2, 1)[:height, :width], colours)
    return colours


def _halved(image: np.ndarray) -> np.ndarray:
    height, width, channels = image.shape
    padded = np.pad(image, [(0, height % 2), (0, width % 2), (0, 0)])
    blocks = padded.reshape(-(-height // 2), 2, -(-width // 2), 2, channels)
    return blocks.mean((1, 3), dtype=np.float32)
