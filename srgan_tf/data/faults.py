"""Bad records of a split: how they are named, kept in the run folder, and what takes their place.

A bad record is substituted, never left out, so that every other record keeps its place in the
stream: the batch of step k stays a pure function of (data set, bad records, seed, k, global batch).
Its substitute lies a fixed stride further in the split, and a bad stretch is replaced by another
stretch, so that no record comes much more often than the others.
"""

import dataclasses
import itertools
import json
import math
import os
from typing import NamedTuple

import numpy as np

from srgan_tf import errors

# Where a run keeps its list; a run that is continued reads it.
FILE = "bad_records.json"
_MAX_NAMED = 3
# Share of the split between a bad record and its substitute: the golden section, so that repeated
# strides lead to ever new places.
_STRIDE = 0.618


@dataclasses.dataclass(frozen=True)
class Fault:
    """`count` bad records of shard number `shard`, from record number `first` on (from 0)."""

    shard: int
    first: int
    count: int
    reason: str


class Run(NamedTuple):
    """`count` successive records of a shard."""

    shard: int
    first: int
    count: int


def total(faults: tuple[Fault, ...]) -> int:
    """Returns the number of bad records."""
    return sum(fault.count for fault in faults)


def collect(bad: dict[tuple[int, int], str]) -> tuple[Fault, ...]:
    """Returns the faults of `{(shard, record): reason}`; neighbours of equal reason are one."""
    made: list[Fault] = []
    for (shard, index), reason in sorted(bad.items()):
        last = made[-1] if made else None
        if last and (last.shard, last.first + last.count, last.reason) == (shard, index, reason):
            made[-1] = dataclasses.replace(last, count=last.count + 1)
        else:
            made.append(Fault(shard, index, 1, reason))
    return tuple(made)


def merge(known: tuple[Fault, ...], found: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Returns both, each record once, with the reason that was known first."""
    bad = {
        (fault.shard, index): fault.reason
        for fault in (*found, *known)
        for index in range(fault.first, fault.first + fault.count)
    }
    return collect(bad)


def describe(files: tuple[str, ...], fault: Fault) -> str:
    """Returns one line: shard, record or records, reason."""
    last = fault.first + fault.count - 1
    which = f"record {last}" if fault.count == 1 else f"records {fault.first} to {last}"
    return f"{os.path.basename(files[fault.shard])}, {which}: {fault.reason}"


def summary(files: tuple[str, ...], faults: tuple[Fault, ...]) -> str:
    """Returns one line for all faults: the number of records, and the first few by name."""
    number = total(faults)
    named = "; ".join(describe(files, fault) for fault in faults[:_MAX_NAMED])
    more = f"; and {len(faults) - _MAX_NAMED} more" if len(faults) > _MAX_NAMED else ""
    return f"{number} bad record{'s' if number > 1 else ''} ({named}{more})"


def runs(shard_lengths: tuple[int, ...], faults: tuple[Fault, ...]) -> list[list[Run]]:
    """Returns for each shard what to read in its place; as many records as it should have.

    Raises:
        errors.InputError: no record is good.
    """
    starts = np.concatenate([[0], np.cumsum(shard_lengths)])
    number = int(starts[-1])
    bad = np.zeros(number, bool)
    for fault in faults:
        bad[starts[fault.shard] + fault.first :][: fault.count] = True
    if bad.all():
        raise errors.InputError(f"none of the {number} records can be used.")
    # Without a common divisor, strides lead to every record.
    stride = next(
        n for n in range(max(1, int(_STRIDE * number)), 0, -1) if math.gcd(n, number) == 1
    )
    taken = np.arange(number)
    while (wrong := bad[taken]).any():
        taken[wrong] = (taken[wrong] + stride) % number
    shards = np.searchsorted(starts, taken, side="right") - 1
    places = list(zip(shards.tolist(), (taken - starts[shards]).tolist(), strict=True))
    return [_joined(places[first:last]) for first, last in itertools.pairwise(starts.tolist())]


def to_json(fingerprint: str, files: tuple[str, ...], faults: tuple[Fault, ...]) -> str:
    """Returns the text of `FILE`: the data set's fingerprint and its faults, shards by name."""
    entries = [
        {**dataclasses.asdict(fault), "shard": os.path.basename(files[fault.shard])}
        for fault in faults
    ]
    return json.dumps({"fingerprint": fingerprint, "bad_records": entries}, indent=2) + "\n"


def from_json(text: str, fingerprint: str, files: tuple[str, ...]) -> tuple[Fault, ...]:
    """Returns what `to_json` wrote; nothing when it is of another data set.

    Raises:
        ValueError: `text` is something else (KeyError and TypeError likewise).
    """
    record = json.loads(text)
    if record["fingerprint"] != fingerprint:
        return ()
    numbers = {os.path.basename(path): number for number, path in enumerate(files)}
    return tuple(
        Fault(**{**entry, "shard": numbers[entry["shard"]]}) for entry in record["bad_records"]
    )


def _joined(places: list[tuple[int, int]]) -> list[Run]:
    made: list[Run] = []
    for shard, index in places:
        last = made[-1] if made else None
        if last and (last.shard, last.first + last.count) == (shard, index):
            made[-1] = last._replace(count=last.count + 1)
        else:
            made.append(Run(shard, index, 1))
    return made
