"""What a checkpoint is on disk: TensorFlow's files, and a sidecar that says they are whole.

`ckpt-9.json` lies beside `ckpt-9.index` and `ckpt-9.data-*` with the size and SHA-256 of both, the
step, the stage and the versions. It is written last and removed first: a checkpoint counts exactly
when it has its sidecar, at whatever moment a process was killed.

Earlier versions of this package wrote no sidecars. A folder without any, and without the
file FORMAT that is written before the first, is taken for one of theirs: there TensorFlow's own
checksums are looked at instead.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from srgan_tf import errors, files

FORMAT = "format.json"
_VERSION = 1
_SIDECAR = re.compile(r"ckpt-(\d+)\.json")
_INDEX = re.compile(r"ckpt-(\d+)\.index")
# All that saving one may leave: parts, TensorFlow's folder ckpt-9_temp, a sidecar half written.
_ANY = re.compile(r"\.?ckpt-(\d+)[._].*")
_TEMPORARY = re.compile(r"\..*\.tmp|ckpt-\d+_temp/?|ckpt-\d+\.\w+\.tempstate\d+|checkpoint\.tmp.*")
_BLOCK = 1 << 20


def prefix_of(folder: str, step: int) -> str:
    """Returns what TensorFlow calls the checkpoint of `step`: the path without an ending."""
    return os.path.join(folder, f"ckpt-{step}")


def step_of(prefix: str) -> int:
    """Returns the step of a checkpoint by its name."""
    return int(os.path.basename(prefix).removeprefix("ckpt-"))


def complete(folder: str) -> list[int]:
    """Returns the steps of the checkpoints that count, ascending.

    Raises:
        errors.InputError: a later version of this package wrote them.
    """
    names = _names(folder)
    sealed = _steps(_SIDECAR, names)
    if FORMAT in names:
        _require_known(os.path.join(folder, FORMAT))
    return sealed if sealed or FORMAT in names else _steps(_INDEX, names)


def prepare(folder: str) -> None:
    """Makes a folder ready to be saved into; what an older version left there keeps counting."""
    tf.io.gfile.makedirs(folder)
    marker = os.path.join(folder, FORMAT)
    if tf.io.gfile.exists(marker):
        return
    if not _steps(_SIDECAR, _names(folder)):
        # The newest first: from the first sidecar on, only what has one counts.
        for step in reversed(complete(folder)):
            if fault(prefix_of(folder, step)) is None:
                seal(prefix_of(folder, step), {"step": step, "adopted": True})
    files.write_atomically(marker, [_json({"format": _VERSION})], durable=True)


def seal(prefix: str, facts: dict[str, Any]) -> None:
    """Writes the sidecar of a checkpoint whose files are written; from then on it counts."""
    folder, name = os.path.split(prefix)
    described = {}
    for file in sorted(_names(folder)):
        if file.startswith(f"{name}.") and not _TEMPORARY.fullmatch(file):
            path = os.path.join(folder, file)
            files.sync(path)
            described[file] = {"bytes": tf.io.gfile.stat(path).length, "sha256": _digest(path)}
    # The names of the files must be on the disk before the name of the sidecar is.
    files.sync(folder)
    facts = {**facts, "files": described}
    facts["checksum"] = _own_checksum(facts)
    files.write_atomically(f"{prefix}.json", [_json(facts)], durable=True)


def facts(prefix: str) -> dict[str, Any]:
    """Returns what the sidecar says; empty for a checkpoint of an older version.

    Raises:
        ValueError: the sidecar is damaged.
    """
    path = f"{prefix}.json"
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path, "rb") as file:
        read = json.loads(file.read())
    if not isinstance(read, dict) or read.get("checksum") != _own_checksum(read):
        raise ValueError("its content has changed")
    return read


def fault(prefix: str) -> str | None:
    """Returns what is wrong with a checkpoint, by file, in a few words; None if it is intact."""
    folder, name = os.path.split(prefix)
    file = f"{name}.json"
    try:
        known = facts(prefix).get("files")
        if known is None:
            file = f"{name}.index"
            return _fault_of_older(prefix)
        for file, expected in known.items():
            path = os.path.join(folder, file)
            if not tf.io.gfile.exists(path):
                return f"{file} is missing"
            length = tf.io.gfile.stat(path).length
            if length != expected["bytes"]:
                return f"{file} has {length} bytes instead of {expected['bytes']}"
            if _digest(path) != expected["sha256"]:
                return f"{file} has another SHA-256 than when it was written"
    except (OSError, ValueError, IndexError, tf.errors.OpError) as error:
        return f"{file} cannot be read ({reason(error)})"
    return None


def remove(prefix: str) -> None:
    """Removes a checkpoint, its sidecar first: half removed, it does not count."""
    folder, name = os.path.split(prefix)
    mine = [n for n in _names(folder) if n.startswith((f"{name}.", f"{name}_temp"))]
    for file in sorted(mine, key=lambda n: n != f"{name}.json"):
        _remove(os.path.join(folder, file))


def remove_strays(folder: str) -> None:
    """Removes what killed saves and removals left behind; for the one process that saves here."""
    names, counted = _names(folder), set(complete(folder))
    for name in names:
        of_step = _ANY.fullmatch(name)
        if _TEMPORARY.fullmatch(name) or (of_step and int(of_step[1]) not in counted):
            _remove(os.path.join(folder, name))


def reason(error: Exception) -> str:
    """Returns why TensorFlow or the system could not read or write, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", text).strip() or type(error).__name__
    return text.splitlines()[0].strip().rstrip(".")


def variables(prefix: str) -> Iterator[tuple[str, Any]]:
    """Yields the name and the value (NumPy) of each variable; TensorFlow checks its checksums."""
    # Not load_checkpoint, which finds nothing in TensorFlow's file system in memory.
    reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    for name in sorted(reader.get_variable_to_shape_map()):
        value = reader.get_tensor(name)
        if name.endswith("/.ATTRIBUTES/VARIABLE_VALUE"):
            yield name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"), value


def _fault_of_older(prefix: str) -> str | None:
    names = [name for name, _ in variables(prefix)]
    if "step" not in names:
        return f"{os.path.basename(prefix)}.index has no step: it is not of a training"
    return None


def _names(folder: str) -> set[str]:
    if not tf.io.gfile.isdir(folder):
        return set()
    # Object stores list folders with a slash.
    return {name.rstrip("/") for name in tf.io.gfile.listdir(folder)}


def _steps(pattern: re.Pattern[str], names: set[str]) -> list[int]:
    return sorted(int(match[1]) for match in map(pattern.fullmatch, names) if match)


def _remove(path: str) -> None:
    (tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove)(path)


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _own_checksum(facts: dict[str, Any]) -> str:
    rest = {name: value for name, value in facts.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _require_known(marker: str) -> None:
    with tf.io.gfile.GFile(marker) as file:
        text = file.read()
    try:
        version = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError):
        return  # Damaged; that it is there is enough.
    if version != _VERSION:
        raise errors.InputError(
            f"{os.path.dirname(marker)} has checkpoints of format {version}, this version knows "
            f"format {_VERSION}: use the version of srgan_tf that wrote them."
        )
