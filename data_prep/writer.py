"""Writes shards, TFDS' descriptions and the manifest; each under a temporary name, then renamed.

A finished shard is recognised after a restart by a note in the spool folder (its SHA-256, valid for
one plan only) that must match the file, so a shard of another plan is never taken for done.
"""

import concurrent.futures
import dataclasses
import hashlib
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


class Stopped(Exception):
    """Another shard failed, or the user pressed Ctrl-C."""


def write_shards(
    shards: list[Shard], *, output: str, plan_key: str, encoding: str, workers: int
) -> dict[str, dict[str, Any]]:
    """Writes what is not yet there; returns file, records, bytes and sha256 of each shard.

    Threads are enough: TensorFlow writes records without holding Python's lock.
    """
    total = sum(len(shard.rows) for shard in shards)
    stop = threading.Event()
    infos = {}
    with (
        terminal.progress(total=total, desc="Writing shards", unit="record") as bar,
        concurrent.futures.ThreadPoolExecutor(workers) as executor,
    ):

        def write(shard: Shard) -> dict[str, Any]:
            return _write_unless_done(shard, output, plan_key, encoding, _ticks(bar, stop))

        futures = {executor.submit(write, shard): shard for shard in shards}
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


def _write_unless_done(
    shard: Shard, output: str, plan_key: str, encoding: str, ticks: Iterator[None]
) -> dict[str, Any]:
    path = os.path.join(output, shard.file)
    note = os.path.join(output, spool.FOLDER, f"{shard.file}.{plan_key}.json")
    done = _read_note(note)
    if done and tf.io.gfile.exists(path) and _sha256(path) == done["sha256"]:
        for _ in zip(shard.rows, ticks, strict=False):
            pass
        return done
    temporary = os.path.join(output, spool.FOLDER, f"{shard.file}.{os.getpid()}.tmp")
    with tf.io.TFRecordWriter(temporary) as writer:
        for row, _ in zip(shard.rows, ticks, strict=False):
            writer.write(_record(row, shard.cuts, os.path.join(output, spool.FOLDER), encoding))
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
