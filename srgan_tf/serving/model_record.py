"""What a SavedModel says of itself: where it comes from and what a client needs to know."""

import json
import os
from typing import Any

import tensorflow as tf

from srgan_tf import errors

PATH = os.path.join("assets.extra", "srgan_tf.json")


def read(directory: str) -> dict[str, Any]:
    """Returns what `export.write` recorded beside the model in `directory`.

    Raises:
        errors.InputError: the SavedModel was not exported by this package, or its record is broken.
    """
    path = os.path.join(directory, PATH)
    if not tf.io.gfile.exists(path):
        raise errors.InputError(f"{directory} was not written by srgan-export: it has no {PATH}.")
    with tf.io.gfile.GFile(path) as file:
        text = file.read()
    try:
        provenance = json.loads(text)
        for name in ("scale", "receptive_radius"):
            int(provenance[name])
        int(provenance.get("alignment", 1))
    except (ValueError, KeyError, TypeError) as error:
        raise errors.InputError(f"{path} cannot be read: {error!r}; export again.") from error
    return provenance
