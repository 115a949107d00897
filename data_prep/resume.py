"""What lies in an output folder already: nothing, a finished data set, or one to continue.

The manifest is written last, so a folder with one is finished. The spool folder holds the settings
of a conversion that was stopped. Anything made with other settings, or from other photos, is only
replaced when asked for.
"""

import json
import os
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from data_prep import sources, spool
from data_prep.settings import Settings
from data_prep.sources import Source, Sources
from srgan_tf import errors, files
from srgan_tf.data import records

_STARTED = "settings.json"
_MAX_NAMED = 3


def finished(output: str, settings: Settings, wanted: Sources) -> dict[str, Any] | None:
    """Returns the manifest when exactly this conversion is finished in `output`, else None.

    Raises:
        errors.InputError: `output` holds something else, or a damaged data set.
    """
    replace = "; --overwrite replaces it"
    manifest = records.read_manifest(output)
    described = {**settings.to_dict(), **wanted.origin}
    if manifest is not None:
        differences = _differences(manifest["settings"], described)
        differences += [] if differences else _changed_photos(output, manifest, wanted)
        if differences:
            raise errors.InputError(
                f"{output} holds a data set made otherwise ({'; '.join(differences)}){replace}"
            )
        problem = records.damage(output, manifest, list(manifest["splits"]))
        if problem:
            raise errors.InputError(f"the data set in {output} is damaged ({problem}){replace}")
        return manifest
    started = _started(output)
    if started is not None and (differences := _differences(started, described)):
        raise errors.InputError(
            f"{output} holds an unfinished conversion with other settings "
            f"({'; '.join(differences)}){replace}"
        )
    if started is None and tf.io.gfile.exists(os.path.join(output, "dataset_info.json")):
        raise errors.InputError(
            f"{output} holds a data set that srgan-prepare did not make; choose another folder"
        )
    return None


def start(output: str, settings: Settings, wanted: Sources) -> str:
    """Makes `output` and its spool folder, notes the settings there, and returns the latter."""
    folder = os.path.join(output, spool.FOLDER)
    tf.io.gfile.makedirs(folder)
    described = json.dumps({**settings.to_dict(), **wanted.origin})
    files.write_atomically(os.path.join(folder, _STARTED), [described.encode()])
    return folder


def clear(output: str) -> None:
    """Removes what srgan-prepare made in `output`, finished or not; nothing else."""
    remove_data_set(output)
    remove_spool(output)


def remove_data_set(output: str) -> None:
    """Removes shards and descriptions that srgan-prepare wrote; the intermediate files stay."""
    try:
        manifest = records.read_manifest(output)
    except errors.InputError:
        return  # Not ours; `finished` says so.
    started = _started(output)
    shards = [
        shard["file"]
        for split in (manifest or {"splits": {}})["splits"].values()
        for shard in split
    ]
    if started is not None:
        shards += [
            os.path.basename(path)
            for path in tf.io.gfile.glob(os.path.join(output, f"{started['name']}-*.tfrecord-*"))
        ]
    # The manifest goes after the shards that it names: killed in between, nothing is orphaned.
    described = ["features.json", "dataset_info.json", records.MANIFEST]
    for name in [*shards, *(described if manifest or started else [])]:
        path = os.path.join(output, name)
        if tf.io.gfile.exists(path):
            tf.io.gfile.remove(path)


def remove_spool(output: str) -> None:
    """Removes the intermediate files."""
    folder = os.path.join(output, spool.FOLDER)
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)


def _started(output: str) -> dict[str, Any] | None:
    path = os.path.join(output, spool.FOLDER, _STARTED)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as stream:
        return json.load(stream)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {old.get(name)!r} there, {new.get(name)!r} asked for"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _changed_photos(output: str, manifest: dict[str, Any], wanted: Sources) -> list[str]:
    """Says which photos came, went or changed; contents are read only where files are newer."""
    recorded = {source["id"]: source for source in manifest["sources"]}
    if wanted.listed is None:
        same = wanted.total in (None, len(recorded))
        return [] if same else [f"photos: {len(recorded)} there, {wanted.total} asked for"]
    now = {source.id: source for source in wanted.listed}
    written = tf.io.gfile.stat(os.path.join(output, records.MANIFEST)).mtime_nsec
    changed = [
        name
        for name in sorted(recorded.keys() & now.keys())
        if _has_changed(now[name], recorded[name], written)
    ]
    return [
        f"{len(names)} {what}: {_some(names)}"
        for what, names in (
            ("new photos", sorted(now.keys() - recorded.keys())),
            ("photos gone", sorted(recorded.keys() - now.keys())),
            ("photos changed", changed),
        )
        if names
    ]


def _has_changed(source: Source, recorded: dict[str, Any], written: int) -> bool:
    if source.size != recorded["bytes"]:
        return True
    newer = int(source.stamp.split()[1]) >= written
    return newer and sources.content_digest(source) != recorded["sha256"]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")
