"""What a photo's file says beside its pixels, from the file that is read to that which is written.

Kept: the ICC profile, EXIF, XMP, the resolution, PNG texts and comments. Upright pixels of another
size go with them, so orientations become 1, sizes are written anew and thumbnails left out. What is
broken, or larger than `LARGEST` bytes, is left out; nothing here ever spoils a picture.
"""

import contextlib
import dataclasses
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from PIL import ExifTags, Image

LARGEST = {"icc": 4 << 20, "exif": 1 << 20, "xmp": 1 << 20, "texts": 256 << 10}

_T = TypeVar("_T")
_Base = ExifTags.Base
# Describes the picture, not how its pixels are stored (which TIFF mixes).
_KEPT = (
    *(_Base.DocumentName, _Base.ImageDescription, _Base.Make, _Base.Model, _Base.XResolution),
    *(_Base.YResolution, _Base.ResolutionUnit, _Base.Software, _Base.DateTime, _Base.Artist),
    *(_Base.HostComputer, _Base.Rating, _Base.RatingPercent, _Base.Copyright, _Base.XPTitle),
    *(_Base.XPComment, _Base.XPAuthor, _Base.XPKeywords, _Base.XPSubject),
)
_FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_SIZES = {ExifTags.Base.ExifImageWidth: 1, ExifTags.Base.ExifImageHeight: 0}
_TIFF_XMP = 700
_XMP_NAME = "XML:com.adobe.xmp"
_THUMBNAILS_END = b"</xmp:Thumbnails>"
_XMP_MARKER = b"http://ns.adobe.com/xap/1.0/\0"
# What the length of a JPEG segment leaves.
_JPEG_SEGMENT = 65_533
_EXIF_MARKER = b"Exif\0\0"
_MAKER = re.compile(r"srgan_tf \S+; model (\w+)")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Blocks as the formats hold them; `exif` is a TIFF block; `colour` PNG's own chunks."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()


def read(image: Image.Image, *, grey: bool) -> Metadata:
    """Returns what the decoded `image` came with; `grey`: its pixels will be written as grey.

    A profile is kept only if it is one for such pixels: not that of CMYK, which became sRGB.
    """
    converted = image.mode in ("CMYK", "YCbCr", "LAB")
    read_exif = _attempt(lambda: image.getexif())
    return Metadata(
        icc=None
        if converted
        else _attempt(lambda: _profile(image.info, b"GRAY" if grey else b"RGB ")),
        exif=_attempt(lambda: _clean(read_exif)) if read_exif else None,
        xmp=_attempt(lambda: _xmp(image)),
        dpi=_attempt(lambda: _dpi(image.info)),
        texts=_attempt(lambda: _texts(image)) or (),
        colour=() if converted else _attempt(lambda: tuple(_png_colour(image))) or (),
    )


def finished(metadata: Metadata, size: tuple[int, int], software: str | None = None) -> Metadata:
    """Returns it for a picture of `size` (height, width) that `software` has made."""
    exif = _attempt(lambda: _with_size(metadata.exif, size, software))
    xmp = metadata.xmp
    for name, side in ((b"Width", 1), (b"XDimension", 1), (b"Length", 0), (b"YDimension", 0)):
        names = rb"(tiff:Image|exif:Pixel)" + name
        xmp = xmp and _xmp_value(xmp, names, str(size[side]).encode())
    texts = tuple((key, text) for key, text in metadata.texts if not software or key != "Software")
    if software:
        texts += (("Software", software),)
    return dataclasses.replace(metadata, exif=exif, xmp=xmp, texts=texts)


def software(version: str, fingerprint: str) -> str:
    """Returns what outputs are marked with; `made_by` finds the model in it."""
    return f"srgan_tf {version}; model {fingerprint}"


def made_by(image: Image.Image) -> str | None:
    """Returns the model that has made an opened picture, by its header; None if it says none."""
    said = image.info.get("Software")
    if image.format != "PNG":  # Asked for EXIF, Pillow would decode all of a PNG.
        said = _attempt(lambda: image.getexif().get(_Base.Software))
    found = _MAKER.match(said) if isinstance(said, str) else None
    return found.group(1) if found else None


def png_chunks(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Returns the chunks, in an order that PNG allows between IHDR and IDAT."""
    chunks = list(metadata.colour)
    if metadata.icc:
        chunks = [(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc))]
    if metadata.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(x / 0.0254) for x in metadata.dpi), 1)))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append((b"iTXt", _XMP_NAME.encode() + bytes(5) + metadata.xmp))
    for key, text in metadata.texts:
        try:
            chunks.append((b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1")))
        except UnicodeEncodeError:
            chunks.append((b"iTXt", key.encode("latin-1") + bytes(5) + text.encode("utf-8")))
    return chunks


def save_options(metadata: Metadata, kind: str) -> dict[str, Any]:
    """Returns what Pillow's encoder `kind` is given; what a format cannot hold is left out."""
    if kind == "BMP":
        return {"dpi": metadata.dpi} if metadata.dpi else {}
    options: dict[str, Any] = {}
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if kind != "WEBP" and metadata.dpi:
        options["dpi"] = metadata.dpi
    exif = metadata.exif
    if kind == "JPEG":
        exif = exif and _fitting(exif, _JPEG_SEGMENT - len(_EXIF_MARKER))
        comment = dict(metadata.texts).get("Comment", "").encode("utf-8")
        if 0 < len(comment) <= _JPEG_SEGMENT:
            options["comment"] = comment
        segment = _XMP_MARKER + (metadata.xmp or b"")
        if metadata.xmp and len(segment) <= _JPEG_SEGMENT:
            # Older Pillows have no option of its own for it.
            options["extra"] = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    elif metadata.xmp and kind == "WEBP":
        options["xmp"] = metadata.xmp
    if kind == "TIFF":
        block = Image.Exif()
        if exif:
            block.load(exif)
        if metadata.xmp:
            block[_TIFF_XMP] = metadata.xmp
        options["exif"] = block
    elif exif:
        options["exif"] = _EXIF_MARKER + exif
    return options


def _attempt(function: Callable[[], _T]) -> _T | None:
    """Pillow raises what it likes on broken metadata (struct.error, SyntaxError, ...)."""
    with contextlib.suppress(Exception):
        return function()
    return None


def _profile(info: dict[str, Any], space: bytes) -> bytes | None:
    """Returns the ICC profile if it is whole and one for colours in `space` (ICC.1, 7.2)."""
    icc = info.get("icc_profile") or b""
    whole = 128 <= len(icc) <= LARGEST["icc"] and icc[36:40] == b"acsp"
    whole = whole and struct.unpack(">I", icc[:4])[0] <= len(icc)
    return bytes(icc) if whole and icc[16:20] == space else None


def _clean(exif: Image.Exif) -> bytes | None:
    """Returns EXIF data without thumbnail, for upright pixels; broken entries are left out."""
    kept = Image.Exif()
    for tag in _KEPT:
        value = _attempt(lambda tag=tag: exif.get(tag))
        if value is not None and _attempt(lambda tag=tag, value=value: _alone(tag, value)):
            kept[tag] = value
    for folder in (one for one in _FOLDERS if one in exif):  # get_ifd would add an empty one.
        entries = _attempt(lambda folder=folder: dict(exif.get_ifd(folder))) or {}
        entries.pop(ExifTags.IFD.Interop, None)
        if entries:
            trial = _attempt(lambda folder=folder, entries=entries: _alone(folder, entries))
            if not trial:
                entries = {
                    tag: value
                    for tag, value in entries.items()
                    if _attempt(lambda tag=tag, value=value: _alone(tag, value))
                }
            kept[folder] = entries
    if not len(kept):
        return None
    kept[_Base.Orientation] = 1
    data = _bytes(kept)
    return data if len(data) <= LARGEST["exif"] else None


def _alone(tag: int, value: Any) -> bytes:
    """Returns a block with this entry only; raises what Pillow raises if it cannot be written."""
    block = Image.Exif()
    block[tag] = value
    return _bytes(block)


def _bytes(exif: Image.Exif) -> bytes:
    return exif.tobytes().removeprefix(_EXIF_MARKER)


def _with_size(exif: bytes | None, size: tuple[int, int], made: str | None) -> bytes | None:
    """Returns EXIF data that names another size and software."""
    block = Image.Exif()
    if exif:
        block.load(exif)
    if made:
        block[_Base.Software] = made
    for folder in (one for one in _FOLDERS if one in block):
        entries = dict(block.get_ifd(folder))
        for tag, side in _SIZES.items():
            if folder == ExifTags.IFD.Exif and tag in entries:
                entries[tag] = size[side]
        if entries:
            block[folder] = entries
    return _bytes(block) if len(block) else None


def _fitting(exif: bytes, most: int) -> bytes:
    """Returns EXIF data of at most `most` bytes: without its folders if it is larger, then none."""
    if len(exif) <= most:
        return exif
    block, small = Image.Exif(), Image.Exif()
    block.load(exif)
    for tag in (_Base.Orientation, _Base.Software, _Base.Make, _Base.Model, _Base.DateTime):
        if tag in block:
            small[tag] = block[tag]
    return _bytes(small)


def _xmp(image: Image.Image) -> bytes | None:
    """Returns the XMP packet for upright pixels, without thumbnails."""
    packet = image.info.get("xmp") or image.info.get(_XMP_NAME)
    if not packet and image.format == "TIFF":
        packet = image.tag_v2.get(_TIFF_XMP)
    if not packet:  # Pillow before 11 leaves a JPEG's among the segments.
        segments = (body for name, body in getattr(image, "applist", ()) if name == "APP1")
        found = [body for body in segments if body.startswith(_XMP_MARKER)]
        packet = found[0].removeprefix(_XMP_MARKER) if found else b""
    packet = packet.encode("utf-8") if isinstance(packet, str) else bytes(packet or b"")
    packet = packet.rstrip(b"\0")
    packet.decode("utf-8")
    if not packet or b"\0" in packet or b"<" not in packet:
        return None  # UTF-16: its orientation would be overlooked.
    if len(packet) > LARGEST["xmp"]:
        return None
    start, end = packet.find(b"<xmp:Thumbnails>"), packet.rfind(_THUMBNAILS_END)
    if 0 <= start < end:
        packet = packet[:start] + packet[end + len(_THUMBNAILS_END) :]
    # The rest of it lies in other segments, which are not read. (Patterns that can begin anywhere
    # in a run of blanks, or go on to the end, would take minutes for a packet that is made for it.)
    packet = re.sub(rb"""xmpNote:HasExtendedXMP=["']\w{0,64}["']""", b"", packet)
    packet = _xmp_value(packet, b"(tiff:Orientation)", b"1")
    return packet


def _xmp_value(packet: bytes, name: bytes, value: bytes) -> bytes:
    """Replaces the number of a property, which is written as an attribute or an element."""
    attribute = rb"(" + name + rb"""\s*=\s*["'])\s*\d+"""
    element = rb"(<" + name + rb">)\s*\d+"
    return re.sub(element, rb"\g<1>" + value, re.sub(attribute, rb"\g<1>" + value, packet))


def _dpi(info: dict[str, Any]) -> tuple[float, float] | None:
    dpi = tuple(float(x) for x in info["dpi"])
    usable = len(dpi) == 2 and all(math.isfinite(x) and 1 <= x < 65_536 for x in dpi)
    return dpi if usable else None


def _texts(image: Image.Image) -> tuple[tuple[str, str], ...]:
    """Returns PNG's texts and other formats' comment, as many as `LARGEST` allows."""
    found = dict(image.text) if image.format == "PNG" else {}
    comment = image.info.get("comment")
    if comment and "Comment" not in found:
        found["Comment"] = comment if isinstance(comment, str) else comment.decode("utf-8")
    kept, left = [], LARGEST["texts"]
    for key, text in found.items():
        # ImageMagick's raw profiles are EXIF (with its orientation) in a text's clothing.
        usable = key != _XMP_NAME and not key.startswith("Raw profile type")
        usable = (
            usable and 0 < len(key.encode("latin-1", "replace")) < 80 and "\0" not in key + text
        )
        usable = (
            usable and _attempt(lambda k=key, t=text: k.encode("latin-1") + t.encode()) is not None
        )
        if usable and len(text.encode()) <= left:
            left -= len(text.encode())
            kept.append((key, str(text)))
    return tuple(kept)


def _png_colour(image: Image.Image) -> Iterator[tuple[bytes, bytes]]:
    """Yields how a PNG without a profile says what its colours are."""
    if image.format != "PNG":
        return
    info = image.info
    if "srgb" in info:
        yield b"sRGB", struct.pack(">B", info["srgb"])
    if info.get("gamma"):
        yield b"gAMA", struct.pack(">I", round(info["gamma"] * 100_000))
    if len(info.get("chromaticity", ())) == 8:
        yield b"cHRM", struct.pack(">8I", *(round(x * 100_000) for x in info["chromaticity"]))
