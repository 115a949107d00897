"""More than 8 bits a channel, as files store them and Pillow decodes them (or does not)."""

import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

# Pillow decodes 16-bit colours to their upper bytes. Told that the bytes stand the other way round,
# it decodes to the lower ones.
_LOWER_BYTES = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (
        ("B", "L"),
        ("L", "B"),
        ("N", "B" if sys.byteorder == "little" else "L"),
    )
}
_GREY_ALPHA = "LA;16B"
_LOWER_BYTES[_GREY_ALPHA] = "RGBA"
_MOST = np.iinfo(np.uint16).max
# TIFF 6.0: of PhotometricInterpretation, PlanarConfiguration, Compression and NewSubfileType.
_WHITE_IS_ZERO, _PLANES, _RAW, _REDUCED = 0, 2, 1, 1
_SUBFILE_TYPE = 254
# Of JPEG 2000, SOC and SIZ (ISO 15444-1, A.5.1); the first component's depth stands so far behind.
_SIZ, _SSIZ = b"\xff\x4f\xff\x51", 42
# Of AVIF, the configuration of AV1; the byte with high_bitdepth stands so far behind its name.
_AV1C, _HIGH_BITDEPTH, _HIGH_MASK = b"av1C", 6, 0x40
# Bytes of a file in which these are looked for.
_HEADER = 8192
# A TIFF file may have as many pages as it likes; so many are looked at.
_PAGES = 50


@dataclasses.dataclass(frozen=True)
class Grey:
    """How greys are stored: `most` is white, or black where they are `inverted`."""

    most: int = _MOST
    inverted: bool = False


def unsupported(image: Image.Image) -> str | None:
    """Returns what Pillow, without a word, would decode to something else; None if nothing is."""
    tags = _tags(image)
    planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _PLANES
    raw = tags.get(TiffImagePlugin.COMPRESSION, _RAW) == _RAW
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    if planes and raw and len(bits) > 1 and max(bits) > 8:
        return f"an uncompressed TIFF of {max(bits)} bits a channel in separate planes"
    return None


def stored_grey(image: Image.Image) -> Grey:
    """Returns how an opened picture's greys are stored, which Pillow decodes as they are."""
    tags = _tags(image)
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    inverted = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    return Grey(2**bits - 1 if 8 < bits < 16 else _MOST, inverted)


def greys(image: Image.Image, stored: Grey) -> np.ndarray:
    """Returns uint16 `[H, W, 1]`, white as 65535, of a decoded picture of one deep channel."""
    wide = np.asarray(image).astype(np.uint16)[..., None]
    if stored.most != _MOST:
        wide = ((wide.astype(np.uint32) * _MOST + stored.most // 2) // stored.most).astype(
            np.uint16
        )
    return _MOST - wide if stored.inverted else wide


def raw_modes(image: Image.Image) -> list[str]:
    """Returns how the file's pixels are stored, tile by tile, as Pillow names it."""
    arguments = [tile[3] for tile in image.tile]
    return [str(one[0] if isinstance(one, tuple) and one else one) for one in arguments]


def is_deep(image: Image.Image) -> bool:
    """Returns whether an opened picture, not decoded yet, has more than 8 bits a channel."""
    if any(";16" in mode or ";12" in mode for mode in raw_modes(image)):
        return True
    if image.format == "PPM":
        most = [tile[3][1] for tile in image.tile if isinstance(tile[3], tuple)]
        return any(isinstance(one, int) and one > np.iinfo(np.uint8).max for one in most)
    if image.format == "JPEG2000":  # One less than the bits, below that of the sign.
        return (_behind(image, _SIZ, _SSIZ) & 0x7F) + 1 > 8
    if image.format == "AVIF":
        return bool(_behind(image, _AV1C, _HIGH_BITDEPTH) & _HIGH_MASK)
    return False


def in_two(modes: Sequence[str]) -> bool:
    """Returns whether Pillow decodes pixels stored like this to their upper bytes."""
    return bool(modes) and all(mode in _LOWER_BYTES for mode in modes)


def is_grey_alpha(modes: Sequence[str]) -> bool:
    """Returns whether these are grey and alpha, which Pillow decodes to RGBA."""
    return set(modes) == {_GREY_ALPHA}


def ask_for_lower(image: Image.Image) -> None:
    """Has an opened picture decode to the lower bytes."""
    image.tile = [
        (
            *tile[:3],
            _LOWER_BYTES[raw] if isinstance(tile[3], str) else (_LOWER_BYTES[raw], *tile[3][1:]),
        )
        for tile, raw in zip(image.tile, raw_modes(image), strict=True)
    ]


def joined(upper: Image.Image, lower: Image.Image, modes: Sequence[str]) -> np.ndarray:
    """Returns uint16 `[H, W, C]` of a picture decoded twice; `modes` are as it is stored."""
    least = np.asarray(lower).astype(np.uint16)
    if is_grey_alpha(modes):  # Decoded as if they were four channels of 8 bits.
        return least[..., ::2] << 8 | least[..., 1::2]
    return np.asarray(upper).astype(np.uint16) << 8 | least


def keyed(wide: np.ndarray, key: int | tuple[int, ...] | None) -> np.ndarray:
    """Adds alpha to uint16 `[H, W, 1 or 3]` where one colour stands for transparency."""
    if key is None or wide.shape[2] in (2, 4):
        return wide
    alpha = np.where((wide == np.array(key)).all(-1), 0, _MOST)
    return np.dstack([wide, alpha.astype(np.uint16)])


def to_eight(array: np.ndarray) -> np.ndarray:
    """Maps 0..65535 to 0..255, rounded (a shift by 8 would darken)."""
    return ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def has_more_pages(image: Image.Image) -> bool:
    """Returns whether a TIFF, opened for this alone, has pages that are no smaller copies."""
    with contextlib.suppress(Exception):  # EOFError at the end; broken pages raise what they like.
        for page in range(1, _PAGES):
            image.seek(page)
            if not image.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED:
                return True
    return False


def _tags(image: Image.Image) -> Mapping[int, Any]:
    return image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}


def _behind(image: Image.Image, mark: bytes, offset: int) -> int:
    """Returns the byte so far behind the beginning of `mark` in the file's header; 0 if none is."""
    position = image.fp.tell()
    image.fp.seek(0)
    header = image.fp.read(_HEADER)
    image.fp.seek(position)
    at = header.find(mark)
    return header[at + offset] if 0 <= at < len(header) - offset else 0
