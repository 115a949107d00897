"""Upscales pictures that a program holds: NumPy in, NumPy out; PIL in, PIL out; a path in, PIL out.

Grey, alpha and colour profiles are treated as in files (channels.py).
"""

import os
from typing import Any

import numpy as np
from PIL import Image

from srgan_tf import errors, photos
from srgan_tf.serving import channels


def upscale(image: Any, strips: channels.Strips, scale: int) -> np.ndarray | Image.Image:
    """Returns `image` enlarged; see `Upscaler.upscale`."""
    if isinstance(image, np.ndarray):
        return _array(image, strips, scale)
    if isinstance(image, Image.Image):
        return _picture(photos.from_picture(image), strips, scale)
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        try:
            photo = photos.load(path)
        except photos.PhotoError as error:
            raise errors.InputError(f"{path}: {error}") from error
        return _picture(photo, strips, scale)
    raise ValueError(
        "image must be a uint8 array, a PIL picture or a path: "
        f"{type(image).__module__}.{type(image).__qualname__}."
    )


def _array(image: np.ndarray, strips: channels.Strips, scale: int) -> np.ndarray:
    count = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or count not in (1, 2, 3, 4):
        raise ValueError(
            "image must be uint8 [H, W] or [H, W, C] of 1 to 4 channels (grey, grey and alpha, "
            f"RGB, RGB and alpha): {image.dtype=}, {image.shape=}."
        )
    if not image.size:
        raise ValueError(f"image holds no pixels: {image.shape=}.")
    made = _enlarged(photos.from_array(image), strips, scale)
    return made[..., 0] if image.ndim == 2 else made


def _picture(photo: photos.Photo, strips: channels.Strips, scale: int) -> Image.Image:
    made = _enlarged(photo, strips, scale)
    picture = Image.fromarray(made[..., 0] if made.shape[2] == 1 else made)
    if photo.about.icc:
        picture.info["icc_profile"] = photo.about.icc  # Pillow writes it into files.
    return picture


def _enlarged(photo: photos.Photo, strips: channels.Strips, scale: int) -> np.ndarray:
    height, width = (side * scale for side in photo.rgb.shape[:2])
    whole, top = np.empty((height, width, channels.count(photo)), np.uint8), 0
    for strip in channels.strips(strips, photo, scale):
        whole[top : top + len(strip)] = strip
        top += len(strip)
    return whole
