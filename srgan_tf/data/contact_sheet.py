"""Shows what a degradation does to photos: a sheet to look at, and LR pictures to try models on."""

import collections
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image, ImageDraw, ImageFont

from srgan_tf import errors, files, images, photos, terminal
from srgan_tf.config import DataConfig
from srgan_tf.data import pipeline

_GAP = 4
_FONT = 13
_HEADER = 20


def find(inputs: Sequence[str]) -> list[str]:
    """Returns the files that `inputs` name; see `photos.find`.

    Raises:
        errors.InputError: an input does not exist, or there is no file in it.
    """
    paths = photos.find(inputs)
    if not paths:
        raise errors.InputError(f"There are no files in {', '.join(inputs)}.")
    return paths


def degrade(hr: np.ndarray, config: DataConfig, *, seed: int, number: int = 0) -> np.ndarray:
    """Returns the LR picture (uint8) of `hr` (uint8, sides multiples of the scale)."""
    unit = images.uint8_to_unit(tf.constant(hr))
    lr = pipeline.degrade(unit, config, seed=tf.constant([number, seed], tf.int64))
    return images.unit_to_uint8(lr).numpy()


def sheet(
    paths: Sequence[str], config: DataConfig, *, rows: int, samples: int, seed: int
) -> np.ndarray:
    """Returns a picture (uint8): a row for each photo, HR and LR of `samples` seeds.

    Args:
        paths: photos; the first `rows` that can be read are shown.
        config: gives the degradation, its ranges, the scale, and `crop_size`: that of the crop
            from each photo's middle. LR pictures are enlarged to it by repeating pixels.
        rows: most photos to show.
        samples: LR pictures of each photo: seeds `seed`, `seed` + 1, ...
        seed: the first seed.
    """
    shown = []
    for number, (path, hr) in enumerate(_read(paths, config.scale)):
        crop = _middle(hr, config.crop_size, config.scale)
        cells = [(os.path.basename(path), crop)]
        for i in range(seed, seed + samples):
            lr = degrade(crop, config, seed=i, number=number)
            enlarged = lr.repeat(config.scale, 0).repeat(config.scale, 1)
            cells.append((f"LR, seed {i}", enlarged))
        shown.append(cells)
        if len(shown) == rows:
            break
    if not shown:
        raise errors.InputError("None of the files is a photo; see the warnings above.")
    return _compose(shown, config)


def save_lr(paths: Sequence[str], config: DataConfig, folder: str, *, seed: int) -> int:
    """Writes each whole photo's LR picture as `folder`/STEMx4.png; returns how many.

    `srgan-evaluate --lr=folder` finds them by these names.

    Raises:
        errors.InputError: two photos would be written to one file.
    """
    stems = {path: os.path.splitext(os.path.basename(path))[0] for path in paths}
    stem, count = collections.Counter(stems.values()).most_common(1)[0]
    if count > 1:
        raise errors.InputError(f"{count} files are named {stem}; degrade them into other folders.")
    tf.io.gfile.makedirs(folder)
    bar = terminal.progress(paths, total=len(paths), desc="degrade", unit="image")
    written = 0
    for path, hr in _read(bar, config.scale):
        lr = degrade(hr, config, seed=seed, number=written)
        photos.save(os.path.join(folder, f"{stems[path]}x{config.scale}.png"), lr)
        written += 1
    return written


def write(path: str, picture: np.ndarray) -> None:
    """Writes a sheet in the format of its extension, and its folder."""
    if not os.path.splitext(path)[1]:
        raise errors.InputError(f"--output={path} has no extension; give a file such as sheet.png.")
    if not files.is_remote(path):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    photos.save(path, picture)


def _read(paths: Iterable[str], scale: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (path, uint8 RGB, sides cut to multiples of `scale`); warns about what is no photo."""
    for path in paths:
        try:
            photo = photos.load(path)
        except photos.PhotoError as error:
            logging.warning("%s is left out: %s", path, error)
            continue
        rgb = photos.flatten(photo.rgb, photo.alpha)
        height, width = (side - side % scale for side in rgb.shape[:2])
        if height and width:
            yield path, rgb[:height, :width]
        else:
            logging.warning("%s is left out: a side is below %d pixels", path, scale)


def _compose(rows: list[list[tuple[str, np.ndarray]]], config: DataConfig) -> np.ndarray:
    """Puts captions and pictures on white; cells are `config.crop_size` wide and high."""
    cell = config.crop_size
    across, down = cell + _GAP, cell + _HEADER + _GAP
    size = (len(rows[0]) * across + _GAP, len(rows) * down + _HEADER + _GAP)
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT)
    title = f"{config.degradation}, x{config.scale}: HR, and LR enlarged by repeating pixels"
    draw.text((_GAP, _GAP), _shortened(title, font, size[0]), fill="black", font=font)
    for row, cells in enumerate(rows):
        for column, (caption, picture) in enumerate(cells):
            left, top = _GAP + column * across, _HEADER + _GAP + row * down
            draw.text((left, top), _shortened(caption, font, cell), fill="black", font=font)
            canvas.paste(Image.fromarray(picture), (left, top + _HEADER))
    return np.asarray(canvas)


def _middle(hr: np.ndarray, cell: int, scale: int) -> np.ndarray:
    """Cuts at most `cell` pixels a side from the middle; starts at multiples of `scale`."""
    top, left = (max(0, side - cell) // 2 // scale * scale for side in hr.shape[:2])
    return hr[top : top + cell, left : left + cell]


def _shortened(text: str, font: ImageFont.ImageFont, width: int) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-1]
    return text
