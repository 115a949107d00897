"""How large tiles may be for the process to stay within a memory budget.

What a tile takes is derived from the network (network.py) and was compared with the peak that the
system reports (docs/SERVING.md). The budget covers the whole process, TensorFlow included, but for
the picture that is read and the file that is written.
"""

import ctypes
import dataclasses
import math
import os
import sys
from collections.abc import Callable

from srgan_tf import errors

DEFAULT_MB = 1500

# What is measured beside the tensors that a layer needs at least (5 % less to 10 % more, with
# `return_freed`), as a factor and in bytes per LR pixel.
_FACTOR = 1.15
_EXTRA = 150
_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BLOCK = 1 << 20
# TensorFlow with a model, where the system does not tell: 550 to 600 MB of 2.15, 740 of 2.21.
_USUAL_RESIDENT = 750_000_000
# Beside tiles: a picture decoded ahead, buffers of encoders and of Python.
_RESERVE = 100_000_000
# LR pixels that go through the tail at once.
PART = 128 * 128
SMALLEST_PART = 32 * 32
PART_SHARE = 0.3
# The least that a tile must keep: below it the rim is nearly all that is computed.
_SMALLEST_KEPT = 16
# Strips of output at a time: one is filled, one waits, one is encoded.
_STRIPS = 3


@dataclasses.dataclass(frozen=True)
class Cost:
    """Bytes per LR pixel of what is run on a whole tile, and on a part of it (0: all at once)."""

    tile: float
    part: float = 0.0

    @classmethod
    def of_live(cls, tile: float, part: float = 0.0) -> "Cost":
        """Returns the cost of networks that need so many bytes for their tensors."""
        return cls(_FACTOR * tile + _EXTRA, _FACTOR * part + _EXTRA if part else 0.0)

    def times(self, share: float) -> "Cost":
        """Returns the cost for a backend that takes `share` of it."""
        return Cost(share * self.tile, share * self.part)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Height and width that a tile keeps, and the LR pixels that the tail takes at once."""

    tile_size: tuple[int, int]
    part_pixels: int


# Maps height and width of an LR picture to its tiles.
Planner = Callable[[int, int], Plan]


def return_freed() -> None:
    """Has the C library give large blocks back as soon as they are freed (glibc; for good).

    By itself it learns to keep blocks of up to 32 MB, which add up over tiles.
    """
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def left(memory_mb: int | None) -> int:
    """Returns how many bytes are left for tiles; may be negative.

    None is `DEFAULT_MB` for a process with nothing else in it: a program that uses the library may
    hold what it likes.
    """
    if memory_mb is None:
        return DEFAULT_MB * 1_000_000 - _USUAL_RESIDENT - _RESERVE
    return memory_mb * 1_000_000 - _resident() - _RESERVE


def plan(
    height: int, width: int, *, available: int, cost: Cost, scale: int, rim: int, memory_mb: int
) -> Plan:
    """Returns the largest tiles for a picture of `height` x `width` that `available` bytes allow.

    Args:
        height: of the LR picture.
        width: of the LR picture.
        available: see `left`.
        cost: of the network.
        scale: its upscaling factor.
        rim: pixels that a tile reads on each side of what it keeps.
        memory_mb: the budget, for the error.

    Raises:
        errors.InputError: not even the smallest tile fits; the message says what would do.
    """
    part = 0
    if cost.part:
        part = int(min(PART, max(SMALLEST_PART, PART_SHARE * available / cost.part)))

    def sides(side: int) -> tuple[int, int]:
        """Height and width of a tile of about `side` squared pixels within the picture."""
        if width <= height:
            columns = min(width, side)
            return min(height, side * side // columns), columns
        rows = min(height, side)
        return rows, min(width, side * side // rows)

    def needed(side: int) -> float:
        rows, columns = sides(side)
        kept = rows if rows == height else rows - 2 * rim
        strips = _STRIPS * kept * width * scale**2 * 3
        return rows * columns * cost.tile + part * cost.part + strips

    lowest = 2 * rim + _SMALLEST_KEPT
    if needed(lowest) > available:
        missing = math.ceil((needed(lowest) - available) / 1e6)
        raise errors.InputError(
            f"--memory_mb={memory_mb} is too little for a picture of {width}x{height}: this model "
            f"needs {memory_mb + missing} at least"
        )
    highest = max(lowest, math.isqrt(height * width) + 1)
    while lowest < highest:
        middle = (lowest + highest + 1) // 2
        lowest, highest = (middle, highest) if needed(middle) <= available else (lowest, middle - 1)
    rows, columns = sides(lowest)
    return Plan(tuple(max(1, side - 2 * rim) for side in (rows, columns)), part)


def _resident() -> int:
    """Returns the bytes of memory that this process has at present."""
    if not sys.platform.startswith("linux"):
        return _USUAL_RESIDENT
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
