"""What a SavedModel says of itself: where it comes from and what a client needs to know."""

import json
import os
from typing import Any

import tensorflow as tf

from srgan_tf import errors, run_folder

# Of a run folder, with the exported versions in it.
FOLDER = "saved_model"
PATH = os.path.join("assets.extra", "srgan_tf.json")


def write(directory: str, facts: dict[str, Any]) -> None:
    """Writes the record of the SavedModel in `directory`."""
    path = os.path.join(directory, PATH)
    tf.io.gfile.makedirs(os.path.dirname(path))
    run_folder.write_text(path, json.dumps(facts, indent=2) + "\n")


def find(path: str) -> str:
    """Returns the SavedModel that `path` means: itself, a folder of versions, or a run folder's.

    Raises:
        errors.InputError: there is none.
    """
    found = newest(path) or newest(os.path.join(path, FOLDER))
    if not found:
        raise errors.InputError(
            f"{path} has no SavedModel: name one, a folder of versions, or a run folder with "
            f"exports in {FOLDER}/."
        )
    return found


def newest(path: str) -> str | None:
    """Returns `path` or its highest numbered subfolder, whichever is a SavedModel; or None."""
    if tf.saved_model.contains_saved_model(path):
        return path
    for version in sorted(_numbered(path), key=int, reverse=True):
        directory = os.path.join(path, version)
        if tf.saved_model.contains_saved_model(directory):
            return directory
    return None


def versions(path: str) -> list[int]:
    """Returns the numbers that are names in `path`, which need not be there, in any order."""
    return [int(name) for name in _numbered(path)]


def _numbered(path: str) -> list[str]:
    if not tf.io.gfile.isdir(path):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(path))
    return [name for name in names if name.isascii() and name.isdigit()]


def next_version(path: str) -> int:
    """Returns the number that TensorFlow Serving would take for newer than all in `path`."""
    return max(versions(path), default=0) + 1


def read(directory: str) -> dict[str, Any]:
    """Returns what `write` recorded beside the model in `directory`.

    Raises:
        errors.InputError: the SavedModel was not exported by this package, or its record is broken.
    """
    path = os.path.join(directory, PATH)
    if not tf.io.gfile.exists(path):
        raise errors.InputError(f"{directory} was not written by srgan-export: it has no {PATH}.")
    with tf.io.gfile.GFile(path) as file:
        text = file.read()
    return parse(text, path)


def parse(text: str, path: str) -> dict[str, Any]:
    """Returns a record from the JSON `text` that `path` has.

    Raises:
        errors.InputError: it is broken.
    """
    try:
        provenance = json.loads(text)
        for name in ("scale", "receptive_radius"):
            int(provenance[name])
        int(provenance.get("alignment", 1))
    except (ValueError, KeyError, TypeError) as error:
        raise errors.InputError(f"{path} cannot be read: {error!r}; export again.") from error
    return provenance
