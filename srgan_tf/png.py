"""Writes PNG files row by row, so that a large picture never is in memory as a whole.

Pillow, which takes whole pictures only, filters each strip (and chooses as it always does); the
strips' filtered rows then go into one zlib stream. Pixels are 8-bit grey, RGB, with alpha or not.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Channels -> the format's colour type.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_ESSENTIAL = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Pillow's own; by this many bytes a picture is filtered at a time.
_LEVEL = 6
_BAND_BYTES = 4_000_000


def encode(
    strips: Iterable[np.ndarray],
    height: int,
    width: int,
    channels: int,
    about: Sequence[tuple[bytes, bytes]] = (),
) -> Iterator[bytes]:
    """Yields the file of a picture that comes as strips `[rows, width, channels]`, top first.

    Args:
        strips: uint8; grey, grey and alpha, RGB, or RGB and alpha.
        height: rows of all strips together.
        width: columns.
        channels: 1, 2, 3 or 4.
        about: kind and data of chunks that go in front of the pixels (metadata.py).

    Raises:
        ValueError: strips of another size or type.
    """
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    yield _SIGNATURE + _chunk(b"IHDR", header)
    yield from (_chunk(kind, data) for kind, data in about)
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    above, written = None, 0
    for strip in strips:
        if strip.dtype != np.uint8 or strip.shape[1:] != (width, channels):
            raise ValueError(f"A strip is {strip.dtype} {strip.shape}: {width=}, {channels=}.")
        rows = max(1, _BAND_BYTES // (width * channels))
        for start in range(0, len(strip), rows):
            band = strip[start : start + rows]
            data = compressor.compress(_filtered(band, above))
            above = band[-1:]
            if data:
                yield _chunk(b"IDAT", data)
        # A copy, so that the strip can go.
        above, written = above.copy(), written + len(strip)
    if written != height:
        raise ValueError(f"The strips have {written} rows in all: {height=}.")
    yield _chunk(b"IDAT", compressor.flush()) + _chunk(b"IEND", b"")


def essential(stream: BinaryIO) -> bytes | None:
    """Returns a PNG file without what its pixels can do without; None if `stream` holds no PNG.

    A chunk that is cut off ends it.
    """
    if stream.read(len(_SIGNATURE)) != _SIGNATURE:
        return None
    parts = [_SIGNATURE]
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        body = stream.read(length + 4)
        if kind in _ESSENTIAL:
            parts += [head, body]
        if len(body) < length + 4 or kind == b"IEND":
            break
    return b"".join(parts)


def _filtered(band: np.ndarray, above: np.ndarray | None) -> bytes:
    """Returns the rows of `band` as PNG's filters leave them, each behind its filter's number."""
    rows = band if above is None else np.concatenate([above, band])
    encoded = io.BytesIO()
    picture = rows[..., 0] if rows.shape[2] == 1 else rows
    Image.fromarray(picture).save(encoded, "PNG", compress_level=0)
    filtered = zlib.decompress(_data(encoded.getbuffer()))
    stride = 1 + rows.shape[1] * rows.shape[2]
    return filtered[(len(rows) - len(band)) * stride :]


def _data(file: memoryview) -> bytes:
    """Returns what the IDAT chunks of a PNG file hold together."""
    parts, position = [], len(_SIGNATURE)
    while position < len(file):
        length, kind = struct.unpack_from(">I4s", file, position)
        if kind == b"IDAT":
            parts.append(file[position + 8 : position + 8 + length])
        position += length + 12
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
