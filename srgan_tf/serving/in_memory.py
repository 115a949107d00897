"""Upscales pictures that a program holds: NumPy in, NumPy out; PIL in, PIL out; a path in, PIL out.

What is grey stays grey; alpha is enlarged by bicubic: as in the files that batch.py writes.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from srgan_tf import errors, photos
from srgan_tf.serving import comparison

# Maps uint8 RGB `[H, W, 3]` to its enlargement from top to bottom, `[rows, W * scale, 3]`.
Strips = Callable[[np.ndarray], Iterator[np.ndarray]]


def upscale(image: Any, strips: Strips, scale: int) -> np.ndarray | Image.Image:
    """Returns `image` enlarged; see `Upscaler.upscale`."""
    if isinstance(image, np.ndarray):
        return _array(image, strips, scale)
    if isinstance(image, Image.Image):
        return _picture(photos.from_picture(image), image.info, strips, scale)
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        try:
            photo = photos.load(path)
        except photos.PhotoError as error:
            raise errors.InputError(f"{path}: {error}") from error
        return _picture(photo, {}, strips, scale)
    raise ValueError(
        "image must be a uint8 array, a PIL picture or a path: "
        f"{type(image).__module__}.{type(image).__qualname__}."
    )


def _array(image: np.ndarray, strips: Strips, scale: int) -> np.ndarray:
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 2, 3, 4):
        raise ValueError(
            "image must be uint8 [H, W] or [H, W, C] of 1 to 4 channels (grey, grey and alpha, "
            f"RGB, RGB and alpha): {image.dtype=}, {image.shape=}."
        )
    made = _enlarged(photos.from_array(image), strips, scale)
    return made[..., 0] if image.ndim == 2 else made


def _picture(photo: photos.Photo, info: dict[str, Any], strips: Strips, scale: int) -> Image.Image:
    made = _enlarged(photo, strips, scale)
    picture = Image.fromarray(made[..., 0] if made.shape[2] == 1 else made)
    if "icc_profile" in info:
        picture.info["icc_profile"] = info["icc_profile"]
    return picture


def _enlarged(photo: photos.Photo, strips: Strips, scale: int) -> np.ndarray:
    """Returns uint8 `[H, W, C]`: grey or RGB, then alpha where there is some."""
    height, width = photo.rgb.shape[:2]
    colours = 1 if photo.is_grey else 3
    whole = np.empty((height * scale, width * scale, colours + (photo.alpha is not None)), np.uint8)
    top = 0
    for strip in strips(photo.rgb):
        if photo.is_grey:
            strip = np.asarray(Image.fromarray(strip).convert("L"))[..., None]
        whole[top : top + len(strip), :, :colours] = strip
        top += len(strip)
    if photo.alpha is not None:
        whole[..., -1] = comparison.enlarged(photo.alpha, scale, 0, height)
    return whole
