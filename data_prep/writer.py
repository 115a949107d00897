"""Writes shards, TFDS' descriptions and the manifest; each under a temporary name, then renamed.

A finished shard is recognised after a restart by a note in the spool folder (its SHA-256, valid for
one plan only) that must match the file, so a shard of another plan is never taken for done.
"""

import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import spool
from data_prep.settings import Settings
from srgan_tf import files, terminal
from srgan_tf.data import records


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard to write: its records and the photos that they index."""

    file: str
    rows: np.ndarray
    cuts: list[spool.Cut]

    def alone(self) -> "Shard":
        """Returns the same shard with no photos but its own, to be sent somewhere."""
        used, renumbered = np.unique(self.rows["photo"], return_inverse=True)
        rows = self.rows.copy()
        rows["photo"] = renumbered
        return Shard(self.file, rows, [self.cuts[photo] for photo in used])


@dataclasses.dataclass(frozen=True)
class Target:
    """Where shards go: the folder, what tells their plan from others, and how they hold pixels."""

    output: str
    plan_key: str
    encoding: str


@dataclasses.dataclass(frozen=True)
class Job:
    """One shard to write."""

    shard: Shard
    target: Target

    def __str__(self) -> str:
        return self.shard.file


class Stopped(Exception):
    """Another shard failed, or the user pressed Ctrl-C."""


def write(job: Job) -> dict[str, Any]:
    """Writes a shard unless it is there; returns its file, records, bytes and sha256."""
    return _write_unless_done(job.shard, job.target, itertools.repeat(None))


def write_shards(shards: list[Shard], target: Target, *, workers: int) -> dict[str, dict[str, Any]]:
    """Writes what is not yet there; returns file, records, bytes and sha256 of each shard, by file.

    Threads are enough: TensorFlow writes records without holding Python's lock.
    """
    total = sum(len(shard.rows) for shard in shards)
    stop = threading.Event()
    infos = {}
    with (
        terminal.progress(total=total, desc="Writing shards", unit="record") as bar,
        concurrent.futures.ThreadPoolExecutor(workers) as executor,
    ):

        def write_one(shard: Shard) -> dict[str, Any]:
            return _write_unless_done(shard, target, _ticks(bar, stop))

        futures = {executor.submit(write_one, shard): shard for shard in shards}
        try:
            for future in concurrent.futures.as_completed(futures):
                infos[futures[future].file] = future.result()
        except BaseException:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    return infos


def remove_strays(output: str, name: str, keep: set[str]) -> None:
    """Removes shards of data set `name` that are not in `keep` (another plan's, then killed)."""
    for split in ("train", "validation"):
        for path in tf.io.gfile.glob(os.path.join(output, f"{name}-{split}.tfrecord-*-of-*")):
            if os.path.basename(path) not in keep:
                tf.io.gfile.remove(path)


def write_descriptions(
    output: str,
    settings: Settings,
    origin: dict[str, Any],
    splits: dict[str, list[dict[str, Any]]],
    sources: list[dict[str, Any]],
) -> dict[str, Any]:
    """Writes features.json, dataset_info.json and, as the last file, the manifest; returns it."""
    digests = [shard["sha256"] for shards in splits.values() for shard in shards]
    manifest = {
        "fingerprint": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        "settings": {**settings.to_dict(), **origin},
        "splits": splits,
        "sources": sources,
    }
    for name, text in (
        ("features.json", records.features_json(settings.encoding)),
        ("dataset_info.json", records.dataset_info_json(settings.name, splits)),
        (records.MANIFEST, _manifest_text(manifest)),
    ):
        files.write_atomically(os.path.join(output, name), [text.encode()])
    return manifest


def _manifest_text(manifest: dict[str, Any]) -> str:
    """Returns json with one line per photo, readable and small."""
    head = json.dumps({**manifest, "sources": []}, indent=2)
    lines = ",\n".join("    " + json.dumps(source) for source in manifest["sources"])
    return head.removesuffix("[]\n}") + f"[\n{lines}\n  ]\n}}\n"


def _ticks(bar: Any, stop: threading.Event) -> Iterator[None]:
    """Counts a record each time it is advanced; ends the thread when the others end."""
    while True:
        if stop.is_set():
            raise Stopped
        bar.update()
        yield


def _write_unless_done(shard: Shard, target: Target, ticks: Iterator[None]) -> dict[str, Any]:
    folder = os.path.join(target.output, spool.FOLDER)
    path = os.path.join(target.output, shard.file)
    note = os.path.join(folder, f"{shard.file}.{target.plan_key}.json")
    done = _read_note(note)
    if done and tf.io.gfile.exists(path) and _sha256(path) == done["sha256"]:
        for _ in zip(shard.rows, ticks, strict=False):
            pass
        return done
    temporary = os.path.join(folder, f"{shard.file}.{files.writer()}.tmp")
    with tf.io.TFRecordWriter(temporary) as writer:
        for row, _ in zip(shard.rows, ticks, strict=False):
            writer.write(_record(row, shard.cuts, folder, target.encoding))
    done = {
        "file": shard.file,
        "records": len(shard.rows),
        "bytes": tf.io.gfile.stat(temporary).length,
        "sha256": _sha256(temporary),
    }
    files.write_atomically(note, [json.dumps(done).encode()])
    tf.io.gfile.rename(temporary, path, overwrite=True)
    return done


def _record(row: np.ndarray, cuts: list[spool.Cut], folder: str, encoding: str) -> bytes:
    cut = cuts[row["photo"]]
    image = spool.read_bytes(folder, cut.key, int(row["offset"]), int(row["length"]))
    return records.encode_example(
        image=image,
        shape=(int(row["height"]), int(row["width"])),
        encoding=encoding,
        source=cut.id,
        x=int(row["x"]),
        y=int(row["y"]),
    )


def _read_note(path: str) -> dict[str, Any] | None:
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as stream:
        return json.load(stream)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with files.open_file(path) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
