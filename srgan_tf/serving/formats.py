"""Exports in one file: TensorFlow Lite and ONNX, compared with the generator before they appear.

All take `lr`, float32 `[B, H, W, 3]` in [0, 1], of any size and number, and give `sr`, the same at
`scale` times the size, clipped to [0, 1]. Floats, because accelerators of phones take nothing else.
There are no tiles in them: memory grows with the picture, and clients of small machines tile by the
record's `receptive_radius`.

Add one: a line in `FORMATS`, and a module with the functions that it names.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from srgan_tf import errors, files, registry
from srgan_tf.models import receptive
from srgan_tf.serving import model_record, onnx_file, servable, tflite_file, verification

SAVED_MODEL = "savedmodel"

_Run = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file: how it is made of a generator, run, and given a record.

    `types` are the types of weights, the default first, and how far SR may be from the generator's,
    in grey levels. `convert` takes one of them.
    """

    suffix: str
    types: dict[str, float]
    convert: Callable[[servable.UnitModule, str], bytes]
    runner: Callable[[bytes], _Run]
    with_record: Callable[[bytes, str], bytes]
    record: Callable[[bytes], str | None]


FORMATS = {
    "tflite": Format(
        tflite_file.SUFFIX,
        tflite_file.TYPES,
        tflite_file.convert,
        tflite_file.runner,
        tflite_file.with_record,
        tflite_file.record,
    ),
    "onnx": Format(
        onnx_file.SUFFIX,
        {"float32": onnx_file.TOLERANCE},
        onnx_file.convert,
        onnx_file.runner,
        onnx_file.with_record,
        onnx_file.record,
    ),
}


def folder(name: str) -> str:
    """Returns what the folder of a run folder is called that holds its exports in a format."""
    return model_record.FOLDER if name == SAVED_MODEL else name


def check(name: str, **flags: Any) -> None:
    """Refuses flags (by name; None is not given) that do not go with a format.

    Raises:
        errors.InputError: so.
    """
    registry.lookup({SAVED_MODEL: None, **FORMATS}, name, "format")
    if flags["tflite_type"] is not None and name != "tflite":
        raise errors.InputError("--tflite_type goes with --format=tflite.")
    if name == SAVED_MODEL:
        return
    if flags["precision"] != "float32":
        raise errors.InputError(
            f"--precision={flags['precision']} goes with --format={SAVED_MODEL}; smaller files are "
            "--format=tflite with --tflite_type=float16 or dynamic."
        )
    if flags["max_pixels"] is not None:
        raise errors.InputError(
            f"--max_pixels goes with --format={SAVED_MODEL}: a server's limit, which files of one "
            "user have no need of."
        )


def path(target: str, name: str, kind: str | None) -> str:
    """Returns `target` with the ending of a format, and of a type that is not its default."""
    if name == SAVED_MODEL:
        return target
    form = FORMATS[name]
    return f"{target}-{kind}{form.suffix}" if _other(form, kind) else f"{target}{form.suffix}"


def write(
    generator: tf.keras.Model,
    folded: tf.keras.Model,
    target: str,
    *,
    name: str,
    kind: str | None,
    scale: int,
    facts: dict[str, Any],
) -> None:
    """Writes `folded` to the file `target`, with `facts` as its record, if it does as `generator`.

    Raises:
        errors.InputError: the format cannot hold this generator, or its extra is not installed.
        errors.RunError: the file would not do what `generator` does.
    """
    form = FORMATS[name]
    kind = kind or next(iter(form.types))
    facts = {
        **facts,
        "format": name,
        "precision": kind,
        "scale": scale,
        "receptive_radius": receptive.radius(folded, scale),
        "alignment": receptive.alignment(folded),
    }
    made = form.convert(servable.UnitModule(folded), kind)
    checked = _verify(generator, form.runner(form.with_record(made, "{}")), form.types[kind])
    text = json.dumps({**facts, **checked}, indent=2)
    files.make_folder(os.path.dirname(target) or ".")
    files.write_atomically(target, [form.with_record(made, text)], durable=True)


def _verify(generator: tf.keras.Model, run: _Run, tolerance: float) -> dict[str, Any]:
    """Returns what is recorded, as `verification.verify` does for a SavedModel."""
    score = verification.compare(
        generator,
        verification.UNIT,
        lambda photo: run(photo.unit.numpy()) * float(tf.uint8.max),
        tolerance,
    )
    shape = [None, None, None, 3]
    tensors = {"inputs": {"lr": ["float32", shape]}, "outputs": {"sr": ["float32", shape]}}
    return {
        "signatures": {servable.SIGNATURE: tensors},
        "verified": {
            "photos": list(verification.PHOTOS),
            "tolerance": tolerance,
            "signatures": {servable.SIGNATURE: score},
        },
    }


def is_file(file: str) -> bool:
    """Returns whether `file` is named like one of these formats."""
    return file.endswith(tuple(form.suffix for form in FORMATS.values()))


def read(file: str) -> dict[str, Any]:
    """Returns the record of a file that `write` wrote.

    Raises:
        errors.InputError: there is no such file, or srgan-export did not write it.
    """
    form = next(form for form in FORMATS.values() if file.endswith(form.suffix))
    if not files.exists(file) or files.is_folder(file):
        raise errors.InputError(f"{file} is no file.")
    with files.open_file(file) as stream:
        text = form.record(stream.read())
    if text is None:
        raise errors.InputError(f"{file} was not written by srgan-export: it has no record.")
    return model_record.parse(text, file)


def _other(form: Format, kind: str | None) -> bool:
    return kind is not None and kind != next(iter(form.types))
