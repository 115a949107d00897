"""TensorFlow Lite: a generator as one file for phones, small boards and browsers.

Only TensorFlow Lite's own operations (TFLITE_BUILTINS) are allowed, so that every interpreter runs
it. The record (model_record.py) is appended as a zip archive, which is how TensorFlow Lite's
metadata adds files to a model; interpreters do not look behind the model itself.
"""

import io
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from srgan_tf import cli, errors
from srgan_tf.serving import servable

SUFFIX = ".tflite"
_RECORD = "srgan_tf.json"
# How weights are stored, and the most that SR may differ by (grey levels). With the published
# weights it differs by 0.0003, by 0.25 (rounding of the weights) and by 20.5 (weights and
# activations of 8 bits; at edges, 42 dB on the whole). Others may be off some times as far.
TYPES = {"float32": 0.1, "float16": 2, "dynamic": 64}


def convert(module: servable.UnitModule, kind: str) -> bytes:
    """Returns the model with weights of type `kind`, a name in `TYPES`.

    Raises:
        errors.InputError: it needs operations that TensorFlow Lite does not have.
    """
    function = module.upscale.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        with cli.without_stderr():  # A summary of operations.
            return converter.convert()
    except Exception as error:  # The converter's own error is of no public class.
        first = str(error).partition("error: ")[2] or str(error)
        reason = first.strip().partition("\n")[0][:300]
        raise errors.InputError(
            f"--format=tflite cannot hold this generator ({reason}); choose another format."
        ) from error


def runner(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the model as a function of LR `[B, h, w, 3]` to SR, both float32 in [0, 1]."""
    with warnings.catch_warnings():
        # tf.lite.Interpreter announces its end; ai-edge-litert is the same interpreter by itself.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content)
    with cli.without_stderr():  # It names the delegate that it makes.
        interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    return lambda lr: run(lr=lr)["sr"]


def with_record(content: bytes, record: str) -> bytes:
    """Returns the model with `record` (JSON) in it."""
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        # A fixed date, so that equal models are equal files.
        archive.writestr(zipfile.ZipInfo(_RECORD), record)
    return stream.getvalue()


def record(content: bytes) -> str | None:
    """Returns what `with_record` put into the model; None where there is nothing."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(_RECORD).decode()
    except (zipfile.BadZipFile, KeyError):
        return None
