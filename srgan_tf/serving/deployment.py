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
from srgan_tf.serving import client

FILES: Sequence[str] = (
    "models.config",
    "batching_parameters.txt",
    "docker-compose.yaml",
    "kubernetes.yaml",
)

# A release that is known to exist. The server has releases of its own, fewer than TensorFlow's, so
# the version that exported says nothing of them; from 2.15 on this package's exports are tested.
TAG = "2.19.0"
# gRPC's threads are a quota: a request that finds none is refused, not queued. Two clients fill
# them, and two more are for those that wait for requests rather than compute any.
_GRPC_THREADS = 2 * client.Options.in_flight + 2
# REST's are a pool with a queue before it.
_REST_THREADS = 2
_REQUESTS = _GRPC_THREADS + _REST_THREADS
_TIMEOUT_MS = 120_000
# The server with its libraries and a model's weights, in MB; not measured with the real server.
# That of the tests (Python) has 634 with TensorFlow 2.15 and 763 with 2.21 at first, under load up
# to 747 and 915 (without what tiles and answers take, a few MB there).
RESIDENT_MB = 1000
# Of the largest answer, which is recorded with 4 bytes a pixel. Most is held of uint8: 3 bytes
# twice in the graph (pieces and their union), 12 in the server's message, which has an int32 for
# each value, and up to 6 on the wire: 24.
_COPIES = 6
# Of exports that have no limit of their own: what a message (protobuf) holds.
_MESSAGE_BYTES = 1 << 31
# Much more than srgan-upscale sends, which cuts tiles of 320 x 320.
_ADVISED_PIXELS = 400_000
# A label of DNS (RFC 1035), as Kubernetes wants it of a service, which has "-serving" behind it.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,53}[a-z0-9])?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


def check(folder: str, name: str, tag: str, *, place: str, overwrite: bool) -> None:
    """Finds out before the export whether `write` will do.

    Args:
        folder: for the files.
        name: what clients call the model.
        tag: of the image.
        place: where the model is or will be: mounted by the container.
        overwrite: replace files that are there.

    Raises:
        errors.InputError: `name` or `tag` cannot be, the model is in no local folder, or files are
            there and not to be replaced.
    """
    if not _NAME.fullmatch(name):
        raise errors.InputError(
            f"--name={name}: a served model's name begins with a letter and has lower-case "
            "letters, digits and hyphens only (at most 55); give another --name."
        )
    if not _TAG.fullmatch(tag):
        raise errors.InputError(f"--serving_tag={tag} is no tag of an image, such as {TAG}.")
    if files.is_remote(place):
        raise errors.InputError(
            f"--deployment: {place} cannot be mounted by a container: export to a local folder, or "
            "copy it to one and give --describe=COPY --deployment."
        )
    there = [one for one in FILES if files.exists(os.path.join(folder, one))]
    if there and not overwrite:
        raise errors.InputError(
            f"{folder} has {', '.join(there)} already; give --overwrite to replace them."
        )


def write(folder: str, *, model: str, record: dict[str, Any], name: str, tag: str) -> list[str]:
    """Writes the files to `folder` and returns their paths.

    Args:
        folder: made where it is missing.
        model: the SavedModel, `<base path>/<version>`.
        record: the model's (`model_record.read`).
        name: what clients call the model.
        tag: of the image tensorflow/serving.

    Raises:
        errors.InputError: the record does not say what memory is needed.
    """
    values = _values(os.path.dirname(model.rstrip("/")), record, name, tag)
    files.make_folder(folder)
    written = []
    for file_name in FILES:
        path = os.path.join(folder, file_name)
        files.write_atomically(path, [_filled(file_name, values).encode()])
        written.append(path)
    return written


def memory_mb(record: dict[str, Any]) -> tuple[int, int, str]:
    """Returns what a server of the model needs: with a request, at most, and the reckoning.

    Raises:
        errors.InputError: the record does not say it.
    """
    if "tile_bytes" not in record:
        raise errors.InputError(
            "--deployment: this export does not say what memory its tiles take, as older ones do "
            "not; export again."
        )
    tiles = _mb(record["tile_bytes"])
    answer = _mb(record.get("max_answer_bytes", _MESSAGE_BYTES))
    request = tiles + _COPIES * answer
    reason = (
        f"{RESIDENT_MB} MB + {_REQUESTS} requests x ({tiles} for tiles + {_COPIES} x {answer} for "
        "the largest answer)"
    )
    return RESIDENT_MB + request, RESIDENT_MB + _REQUESTS * request, reason


def _mb(size: int) -> int:
    return -(-size // 1_000_000)


def _advice(record: dict[str, Any]) -> str:
    """Returns a comment on what a smaller limit would do."""
    most = record.get("max_pixels", 0)
    if most <= _ADVISED_PIXELS:
        return "srgan-export --max_pixels makes it less."
    answer = record.get("max_answer_bytes", _MESSAGE_BYTES) * _ADVISED_PIXELS // most
    _, needed, _ = memory_mb({**record, "max_answer_bytes": answer})
    return (
        f"A picture of {most:,} pixels may take minutes, too: export with --max_pixels="
        f"{_ADVISED_PIXELS}, which needs {needed} MB."
    )


def _values(base_path: str, record: dict[str, Any], name: str, tag: str) -> dict[str, str]:
    usual, most, reason = memory_mb(record)
    values = {
        "name": name,
        "tag": tag,
        # A JSON string is a YAML string; docker compose replaces what follows a single dollar.
        "base_path": json.dumps(os.path.abspath(base_path)).replace("$", "$$"),
        "grpc_threads": str(_GRPC_THREADS),
        "rest_threads": str(_REST_THREADS),
        "timeout_ms": str(_TIMEOUT_MS),
        "usual_mb": str(usual),
        "most_mb": str(most),
        "memory_reason": reason,
        "advice": _advice(record),
    }
    return {**values, "models_config": textwrap.indent(_filled("models.config", values), "    ")}


def _filled(file_name: str, values: dict[str, str]) -> str:
    template = resources.files("srgan_tf.serving").joinpath("templates", file_name)
    return string.Template(template.read_text(encoding="utf-8")).substitute(values)
