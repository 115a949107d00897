"""Where records lie in a TFRecord file, read without TensorFlow's reader, which stops at a fault.

A record is 8 bytes of length, their masked CRC-32C (4), the data, and the data's masked CRC-32C
(4). While lengths are sound, one broken record says nothing about those after it.
"""

import functools
import struct
from typing import NamedTuple

from srgan_tf import files

_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")
# Castagnoli's polynomial, bits reversed, and the constant by which TFRecords mask their sums.
_POLYNOMIAL, _MASK = 0x82F63B78, 0xA282EAD8
_WORD = 0xFFFFFFFF


class Walk(NamedTuple):
    """Byte offset of each record whose place is known, and why there is no more; "" at the end."""

    offsets: tuple[int, ...]
    problem: str


@functools.cache
def _table() -> tuple[int, ...]:
    made = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        made.append(value)
    return tuple(made)


def masked_crc32c(data: bytes) -> int:
    """Returns a TFRecord's checksum of `data`; 4 MB/s, so for lengths and single records only."""
    table, crc = _table(), _WORD
    for byte in data:
        crc = table[(crc ^ byte) % len(table)] ^ crc >> 8
    crc ^= _WORD
    return ((crc >> 15 | crc << 17) + _MASK) & _WORD


def walk(path: str) -> Walk:
    """Follows the lengths through a file, without reading the data.

    Raises:
        OSError: it cannot be read (of a remote file, TensorFlow's errors).
    """
    offsets: list[int] = []
    with files.open_file(path) as stream:
        size, place = stream.seek(0, 2) or stream.tell(), 0
        while place < size:
            stream.seek(place)
            header = stream.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return Walk(tuple(offsets), "the shard ends within it")
            length, crc = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != crc:
                return Walk(tuple(offsets), "its length is corrupt, nothing after it can be found")
            if place + _HEADER.size + length + _CRC.size > size:
                return Walk(tuple(offsets), "the shard ends within it")
            offsets.append(place)
            place += _HEADER.size + length + _CRC.size
    return Walk(tuple(offsets), "")


def read(path: str, offset: int) -> bytes | None:
    """Returns the data of the record at `offset`; None when its checksum says otherwise."""
    with files.open_file(path) as stream:
        stream.seek(offset)
        length, _ = _HEADER.unpack(stream.read(_HEADER.size))
        data = stream.read(length)
        (crc,) = _CRC.unpack(stream.read(_CRC.size))
    return data if masked_crc32c(data) == crc else None
