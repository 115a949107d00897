"""Decides which photo goes to which split, and which crop to which shard. Pure, hash-seeded.

Nothing here depends on the order in which photos were cut, on the number of workers, or on a
random generator's version: equal photos and settings give an equal plan.
"""

import dataclasses
import hashlib
import heapq
import math
from collections.abc import Callable, Iterable

import numpy as np

from data_prep import spool
from data_prep.settings import Settings

_SHARD_BYTES = 128 << 20
_MIN_SHARDS = 4
# Looking at this many shards always finds one without the at most four neighbours already placed.
_CANDIDATES = 5

# A record to write: index of its photo, place in the photo, place in the photo's spool file.
_RECORD = np.dtype(
    [
        ("order", np.uint64),
        ("shard", np.int32),
        ("photo", np.int32),
        ("x", np.int32),
        ("y", np.int32),
        ("width", np.int32),
        ("height", np.int32),
        ("offset", np.int64),
        ("length", np.int64),
    ]
)


def hash_of(*parts: object) -> int:
    """Returns 64 bits that depend on `parts` only."""
    text = ":".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def hashes_to_validation(source_id: str, percent: float) -> bool:
    """Returns whether a photo's name falls into the validation share."""
    return hash_of(source_id) < percent / 100 * 2**64


def without_duplicates(cuts: Iterable[spool.Cut]) -> list[spool.Cut]:
    """Returns `cuts` by id; of photos with the same pixels all but the first are skipped."""
    first: dict[str, str] = {}
    result = []
    for cut in sorted(cuts, key=lambda cut: cut.id):
        if not cut.skipped and first.setdefault(cut.content, cut.id) != cut.id:
            original = first[cut.content]
            cut = dataclasses.replace(cut, skipped="duplicate", detail=f"of {original}")
        result.append(cut)
    return result


def validation_ids(ids: list[str], percent: float) -> set[str]:
    """Chooses the validation photos by hash; of two photos or more, one for each split at least."""
    if not percent or len(ids) < 2:
        return set()
    by_hash = sorted(ids, key=lambda name: (hash_of(name), name))
    chosen = [name for name in by_hash if hashes_to_validation(name, percent)]
    return set(chosen[: len(ids) - 1] or by_hash[:1])


def shard_count(settings: Settings, records: int, stored: int, minimum: int) -> int:
    """Returns how many shards `records` of `stored` bytes in all are spread over; none is empty."""
    automatic = max(minimum, math.ceil(stored / _SHARD_BYTES))
    return min(records, settings.shards or automatic)


def training_records(
    cuts: list[spool.Cut], crops_of: Callable[[spool.Cut], list[spool.Crop]], settings: Settings
) -> list[np.ndarray]:
    """Returns the records of each training shard, in order.

    Crops go to the least filled shard that holds no neighbour of theirs (left, above, diagonal), so
    shards are equally full and the crops that a reader shuffles together come from everywhere. From
    5 shards on no neighbours meet; with 3 or 4 none that share a side. Within a shard the order is
    by hash. `seed` turns all of it.
    """
    count = shard_count(
        settings, sum(cut.kept for cut in cuts), sum(cut.stored for cut in cuts), _MIN_SHARDS
    )
    heap = [(0, hash_of(settings.seed, "shard", shard), shard) for shard in range(count)]
    heapq.heapify(heap)
    numbered = sorted(enumerate(cuts), key=lambda item: hash_of(settings.seed, item[1].id))
    parts = []
    for photo, cut in numbered:
        crops = crops_of(cut)
        rows = np.zeros(len(crops), _RECORD)
        columns = {x: rank for rank, x in enumerate(sorted({crop.x for crop in crops}))}
        rows_of = {y: rank for rank, y in enumerate(sorted({crop.y for crop in crops}))}
        placed: dict[tuple[int, int], int] = {}
        for index, crop in enumerate(crops):
            cell = columns[crop.x], rows_of[crop.y]
            shard = placed[cell] = _take_shard(heap, placed, cell)
            order = hash_of(settings.seed, cut.id, crop.x, crop.y)
            rows[index] = (order, shard, photo, *dataclasses.astuple(crop))
        parts.append(rows)
    records = np.concatenate(parts)
    records = records[np.lexsort((records["photo"], records["order"], records["shard"]))]
    return np.split(records, np.searchsorted(records["shard"], np.arange(1, count)))


def validation_records(
    cuts: list[spool.Cut], crops_of: Callable[[spool.Cut], list[spool.Crop]], settings: Settings
) -> list[np.ndarray]:
    """Returns the records of each validation shard: whole photos in the order of their ids."""
    if not cuts:
        return []
    settings = dataclasses.replace(settings, shards=0)  # --shards is for training.
    count = shard_count(settings, len(cuts), sum(cut.stored for cut in cuts), 1)
    records = np.zeros(len(cuts), _RECORD)
    for photo, cut in enumerate(cuts):
        (crop,) = crops_of(cut)
        records[photo] = (photo, photo * count // len(cuts), photo, *dataclasses.astuple(crop))
    return np.split(records, np.searchsorted(records["shard"], np.arange(1, count)))


def _take_shard(
    heap: list[tuple[int, int, int]], placed: dict[tuple[int, int], int], cell: tuple[int, int]
) -> int:
    """Chooses the shard of the crop in a grid cell (column, row) and counts it there."""
    x, y = cell
    sides = [placed.get((x - 1, y)), placed.get((x, y - 1))]
    corners = [placed.get((x - 1, y - 1)), placed.get((x + 1, y - 1))]
    looked_at = [heapq.heappop(heap) for _ in range(min(_CANDIDATES, len(heap)))]
    best = min(
        looked_at,
        key=lambda entry: (sides.count(entry[2]), corners.count(entry[2]), entry),
    )
    looked_at.remove(best)
    load, tie, shard = best
    for entry in [*looked_at, (load + 1, tie, shard)]:
        heapq.heappush(heap, entry)
    return shard
