"""Finds and reads pairs of original (HR) and small (LR) pictures; says in one line what is wrong.

All pictures are checked, the cheapest way first, before the first one is upscaled.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging

from srgan_tf import bicubic, errors, files, photos, terminal

# A picture whose channels differ by more than this is in colour: JPEG may tint a grey one a little.
_TINT = 16


@dataclasses.dataclass(frozen=True)
class Pair:
    """One picture's files. `lr_path` is None where LR is to be made by the exact bicubic."""

    name: str
    hr_path: str
    lr_path: str | None


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A pair's pixels, uint8: `hr` `[H, W, 3]` cut to multiples of the scale, `lr` accordingly.

    Grey pictures have three equal channels; transparent ones are on white.
    """

    hr: np.ndarray
    lr: np.ndarray
    is_grey: bool


def find(hr: str, lr: str | None, scale: int, *, smallest: int) -> list[Pair]:
    """Returns the pairs in two folders (files, patterns), sorted by name, checked.

    Args:
        hr: folder of the originals.
        lr: folder of their LR versions; None makes them.
        scale: upscaling factor.
        smallest: sides that an HR picture needs at least, after it was cut to multiples of `scale`.

    Raises:
        errors.InputError: a folder is empty, pictures have no partner, or sizes do not fit.
    """
    pairs = match(_pictures(hr), _pictures(lr) if lr else None, scale)
    for pair in pairs:
        _check_sizes(pair, scale, smallest)
    # Decoding takes milliseconds, upscaling seconds: no broken file is found after half an hour.
    for pair in terminal.progress(pairs, total=len(pairs), desc="check", unit="image"):
        _decode(pair, scale)
    return pairs


def match(hr_paths: Sequence[str], lr_paths: Sequence[str] | None, scale: int) -> list[Pair]:
    """Returns the pairs by name (`baby.png` with `baby.png` or `babyx4.png`), sorted.

    Raises:
        errors.InputError: a picture has no partner, or two have the same name.
    """
    originals = _by_name(hr_paths)
    if lr_paths is None:
        return [Pair(name, originals[name], None) for name in sorted(originals)]
    small = _by_name(lr_paths)
    chosen = {name: small.get(name) or small.get(f"{name}x{scale}") for name in originals}
    lonely_hr = sorted(name for name, path in chosen.items() if not path)
    used = set(chosen.values())
    lonely_lr = sorted(name for name, path in small.items() if path not in used)
    if lonely_hr or lonely_lr:
        parts = [f"no LR picture for {_some(lonely_hr)}"] if lonely_hr else []
        parts += [f"no HR picture for {_some(lonely_lr)}"] if lonely_lr else []
        raise errors.InputError(
            f"The {len(hr_paths)} HR and {len(lr_paths)} LR pictures do not match: "
            f"{'; '.join(parts)}. An LR picture is named like its HR one, or ends in x{scale}."
        )
    if len(used) < len(originals):
        raise errors.InputError(
            f"Two HR pictures would share one LR picture, because one's name ends in x{scale}: "
            "rename them."
        )
    return [Pair(name, originals[name], chosen[name]) for name in sorted(originals)]


def load(pair: Pair, scale: int) -> Loaded:
    """Decodes a pair; makes its LR picture by the exact bicubic where there is none.

    Raises:
        errors.InputError: a file cannot be decoded, or one of the two is grey and the other not.
    """
    hr, lr, is_grey = _decode(pair, scale)
    return Loaded(hr, bicubic.imresize(hr, 1 / scale) if lr is None else lr, is_grey)


def _decode(pair: Pair, scale: int) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Returns HR, LR if there is a file, and whether they are grey."""
    hr = bicubic.modulo_crop(_read(pair.hr_path), scale)
    chroma = _chroma(hr)
    if pair.lr_path is None:
        return hr, None, chroma == 0
    lr = _read(pair.lr_path)
    differ = {pair.hr_path: chroma, pair.lr_path: _chroma(lr)}
    grey, coloured = sorted(differ, key=differ.get)
    if differ[grey] == 0 and differ[coloured] > _TINT:
        raise errors.InputError(
            f"{grey} is grey but {coloured} is in colour: make both from the same original (leave "
            "out --lr to have LR made)."
        )
    return hr, lr, chroma == 0


def _chroma(rgb: np.ndarray) -> int:
    """Returns the largest difference between the channels of a pixel; 0 for grey pictures."""
    return int((rgb.max(axis=2) - rgb.min(axis=2)).max())


def _pictures(entry: str) -> list[str]:
    """Returns the pictures that a folder, file or pattern names; other files are left out."""
    paths = photos.find([entry])
    pictures = [path for path in paths if os.path.splitext(path)[1].lower() in photos.EXTENSIONS]
    if not pictures:
        raise errors.InputError(f"There are no pictures in {entry}.")
    if len(pictures) < len(paths):
        logging.info(
            "%s: left out %d files that are no pictures", entry, len(paths) - len(pictures)
        )
    return pictures


def _check_sizes(pair: Pair, scale: int, smallest: int) -> None:
    """Complains about sizes that cannot be scored, from the headers."""
    height, width = _size(pair.hr_path)
    cut = (height - height % scale, width - width % scale)
    if min(cut) < smallest:
        raise errors.InputError(
            f"{pair.hr_path} is too small to be scored: it has {width}x{height} pixels, and with "
            f"the border and the window of the SSIM {smallest}x{smallest} are needed at scale "
            f"{scale}. Leave it out or set a smaller --border."
        )
    if pair.lr_path is None:
        return
    found, needed = _size(pair.lr_path), (cut[0] // scale, cut[1] // scale)
    if found[0] > height or found[1] > width:
        raise errors.InputError(
            f"LR {pair.lr_path} is larger ({found[1]}x{found[0]}) than HR {pair.hr_path} "
            f"({width}x{height}): are --hr and --lr swapped?"
        )
    if found != needed:
        raise errors.InputError(
            f"{pair.lr_path} is {found[1]}x{found[0]}, but {pair.hr_path} at scale {scale} needs "
            f"{needed[1]}x{needed[0]}: give the LR folder of this scale, or leave out --lr to have "
            "it made."
        )


def _size(path: str) -> tuple[int, int]:
    with _named(path):
        return photos.size(path)


def _read(path: str) -> np.ndarray:
    """Returns uint8 RGB, on white where it was transparent."""
    with _named(path):
        photo = photos.load(path)
    return photos.flatten(photo.rgb, photo.alpha)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except photos.PhotoError as error:
        raise errors.InputError(f"{path}: {error}") from error


def _by_name(paths: Sequence[str]) -> dict[str, str]:
    """Returns path by its name below the common folder, without extension."""
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    named: dict[str, str] = {}
    for path in paths:
        name = files.shown(os.path.splitext(os.path.relpath(path, root or "."))[0])
        if name in named:
            raise errors.InputError(f"Two pictures have the name {name}: {named[name]} and {path}.")
        named[name] = path
    return named


def _some(names: Sequence[str], limit: int = 5) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
