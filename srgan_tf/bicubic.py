"""MATLAB's `imresize(image, scale, "bicubic")` in NumPy, to the last bit for uint8 pictures.

The low-resolution pictures of Set5, Set14, BSD100 and DIV2K were made by it, so scores compare
only when LR pictures and the bicubic baseline come from the same rule. That rule (checked pixel by
pixel against the published Set5 and Set14 pictures, tests/test_bicubic.py):

* Keys' cubic kernel with a = -0.5, stretched to a width of 4 / scale when shrinking (antialias);
* weights of each output pixel normalised to a sum of 1;
* rows first, then columns; a uint8 picture is rounded and clipped to uint8 between the two;
* indices beyond the border are clamped to the edge ("clamp": the published sets) or reflected
  ("mirror": newer MATLAB versions; differs only within about 3 output pixels of the edge).

Float pictures keep their values: no rounding, no clipping (a bicubic overshoots at edges).
"""

import math
from fractions import Fraction

import numpy as np

BORDERS = ("clamp", "mirror")

_KERNEL_WIDTH = 4
# Output rows that are computed at once, so that the float64 copy stays small beside the picture.
_STRIP = 128


def imresize(
    image: np.ndarray, scale: int | float | Fraction, *, border: str = "clamp"
) -> np.ndarray:
    """Resizes a picture as MATLAB does.

    Args:
        image: uint8 or float `[H, W]` or `[H, W, C]`.
        scale: Factor of both sides, for example `Fraction(1, 4)`, 0.25 or 3; a float is taken as
            the nearest fraction with a denominator up to 1000, so 1 / 3 means a third.
        border: "clamp" or "mirror".

    Returns:
        `[ceil(H * scale), ceil(W * scale), ...]` with the dtype of `image`.
    """
    exact = Fraction(scale)
    scale = exact.limit_denominator(1000) if isinstance(scale, float) else exact
    if scale <= 0:
        raise ValueError(f"scale must be positive: {scale=}.")
    if border not in BORDERS:
        raise ValueError(f"border must be one of {BORDERS}: {border=}.")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"image must be uint8 or float: {image.dtype=}.")
    if image.ndim not in (2, 3) or not image.size:
        raise ValueError(f"image must be a non-empty [H, W] or [H, W, C]: {image.shape=}.")
    tall = _resize_rows(image, scale, border)
    return np.ascontiguousarray(_resize_rows(tall.swapaxes(0, 1), scale, border).swapaxes(0, 1))


def modulo_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Cuts rows and columns off the bottom right until both sides are multiples of `scale`."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def _resize_rows(image: np.ndarray, scale: Fraction, border: str) -> np.ndarray:
    """Resizes axis 0 by `scale` and rounds uint8 pictures."""
    weights, indices = _contributions(image.shape[0], scale, border)
    resized = np.empty((len(weights), *image.shape[1:]), image.dtype)
    per_row = (slice(None),) + (None,) * (image.ndim - 1)
    for start in range(0, len(weights), _STRIP):
        strip = slice(start, start + _STRIP)
        total = np.zeros(resized[strip].shape)
        for weight, index in zip(weights[strip].T, indices[strip].T, strict=True):
            total += weight[per_row] * image[index]
        if image.dtype == np.uint8:
            # MATLAB rounds halves up; np.round would round them to the even neighbour.
            total = np.clip(np.floor(total + 0.5), 0, 255)
        resized[strip] = total
    return resized


def _contributions(size: int, scale: Fraction, border: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights and source indices, each `[output size, taps]`.

    The order of the operations is MATLAB's, because a rounding error may decide a tie, as at 2/3.
    (At 2, 4 and 8 weights are exact in binary, and at 3 sums of grey levels are never ties.)
    """
    factor = float(scale)
    stretch = min(factor, 1.0)
    width = _KERNEL_WIDTH / stretch
    # Centres in source pixels, both counted from 1: (i - 0.5) / scale + 0.5.
    centres = np.arange(1, math.ceil(size * scale) + 1) / factor + 0.5 * (1 - 1 / factor)
    left = np.floor(centres - width / 2)
    indices = left[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * _cubic(stretch * (centres[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    indices = indices.astype(np.int64) - 1
    if border == "clamp":
        indices = np.clip(indices, 0, size - 1)
    else:
        indices = np.mod(indices, 2 * size)
        indices = np.minimum(indices, 2 * size - 1 - indices)
    used = np.any(weights != 0, axis=0)
    return weights[:, used], indices[:, used]


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5 (zero from a distance of 2 on)."""
    x = np.abs(distance)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
