"""Writes what TensorFlow Serving's official image needs to serve an exported model.

The files are those of templates/, with the model's name, place and memory filled in; they are meant
to be read and changed.
"""

import json
import os
import re
import string
import textwrap
from collections.abc import Sequence
from importlib import resources
from typing import Any

from srgan_tf import errors, files
from srgan_tf.serving import memory

FILES: Sequence[str] = (
    "models.config",
    "batching_parameters.txt",
    "docker-compose.yaml",
    "kubernetes.yaml",
)

# Requests that are computed at a time, by protocol; they share the cores. Of the threads for gRPC
# one or two wait for requests rather than compute any.
_GRPC_THREADS = 4
_REST_THREADS = 2
_REQUESTS = _GRPC_THREADS + _REST_THREADS
_TIMEOUT_MS = 120_000
# The server with its libraries and a model's weights, in MB; not measured with the real server.
_RESIDENT_MB = 700
# Of the largest answer: pieces and their union in the graph, the message, and its bytes.
_COPIES = 4
# Exports from before it was recorded had no limit.
_USUAL_SR_PIXELS = 1 << 27
# A DNS label, as Kubernetes wants it.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")


def check(folder: str, name: str, *, overwrite: bool) -> None:
    """Finds out before the export whether `write` will do.

    Raises:
        errors.InputError: `name` cannot be a model's, or files are there and not to be replaced.
    """
    if not _NAME.fullmatch(name):
        raise errors.InputError(
            f"--name={name}: a served model's name has lower-case letters, digits and hyphens only "
            "(at most 52); give another --name."
        )
    there = [one for one in FILES if files.exists(os.path.join(folder, one))]
    if there and not overwrite:
        raise errors.InputError(
            f"{folder} has {', '.join(there)} already; give --overwrite to replace them."
        )


def write(folder: str, *, model: str, record: dict[str, Any], name: str) -> list[str]:
    """Writes the files to `folder` and returns their paths.

    Args:
        folder: made where it is missing.
        model: the SavedModel, `<base path>/<version>`.
        record: the model's (`model_record.read`).
        name: what clients call the model.
    """
    values = _values(os.path.dirname(model.rstrip("/")), record, name)
    files.make_folder(folder)
    written = []
    for file_name in FILES:
        path = os.path.join(folder, file_name)
        files.write_atomically(path, [_filled(file_name, values).encode()])
        written.append(path)
    return written


def memory_mb(record: dict[str, Any]) -> tuple[int, int, str]:
    """Returns what a server of the model needs: with a request, at most, and the reckoning."""
    tiles, answer = _tiles_mb(record), _answer_mb(record)
    request = tiles + _COPIES * answer
    reason = (
        f"{_RESIDENT_MB} MB + {_REQUESTS} requests x ({tiles} for tiles + {_COPIES} x {answer} for "
        "the largest answer)"
    )
    return _RESIDENT_MB + request, _RESIDENT_MB + _REQUESTS * request, reason


def _answer_mb(record: dict[str, Any]) -> int:
    scale = record["scale"] ** 2
    pixels = record["max_pixels"] * scale if "max_pixels" in record else _USUAL_SR_PIXELS
    return -(-pixels * 3 // 1_000_000)


def _tiles_mb(record: dict[str, Any]) -> int:
    if "tile_pixels" not in record:  # Not tiled: the largest picture is one tile.
        pixels = record.get("max_pixels", _USUAL_SR_PIXELS // record["scale"] ** 2)
        return -(-pixels * record.get("bytes_per_lr_pixel", 0) // 1_000_000)
    cost = memory.Cost.of_live(record["bytes_per_lr_pixel"])
    if "part_pixels" in record:
        cost = memory.Cost.of_live(
            record["trunk_bytes_per_lr_pixel"], record["tail_bytes_per_lr_pixel"]
        )
    needed = record["tile_pixels"] * cost.tile + record.get("part_pixels", 0) * cost.part
    return -(-int(needed) // 1_000_000)


def _values(base_path: str, record: dict[str, Any], name: str) -> dict[str, str]:
    usual, most, reason = memory_mb(record)
    values = {
        "name": name,
        # A SavedModel is read by the TensorFlow that wrote it, or a later one.
        "tag": record.get("tensorflow_version", "latest").split("-")[0],
        # A JSON string is a YAML string; docker compose replaces what follows a single dollar.
        "base_path": json.dumps(os.path.abspath(base_path)).replace("$", "$$"),
        "grpc_threads": str(_GRPC_THREADS),
        "rest_threads": str(_REST_THREADS),
        "timeout_ms": str(_TIMEOUT_MS),
        "usual_mb": str(usual),
        "most_mb": str(most),
        "memory_reason": reason,
    }
    return {**values, "models_config": textwrap.indent(_filled("models.config", values), "    ")}


def _filled(file_name: str, values: dict[str, str]) -> str:
    template = resources.files("srgan_tf.serving").joinpath("templates", file_name)
    return string.Template(template.read_text(encoding="utf-8")).substitute(values)
