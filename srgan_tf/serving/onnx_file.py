"""ONNX: a generator as one file for ONNX Runtime and others (the extra `onnx`).

It is converted from the traced function, since tf2onnx cannot read models of Keras 3. The record
(model_record.py) is the property `srgan_tf` of the model's metadata.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from srgan_tf import errors
from srgan_tf.serving import servable

SUFFIX = ".onnx"
TOLERANCE = 0.1  # Grey levels; 0.0004 with the published weights.
_PROPERTY = "srgan_tf"
# Of 2021, so that older runtimes read it: ONNX Runtime 1.12, OpenCV 4.8 and later.
_OPSET = 17
_AXES = {"lr": ("batch", "height", "width"), "sr": ("batch", "sr_height", "sr_width")}


def convert(module: servable.UnitModule, kind: str) -> bytes:
    """Returns the model; `kind` is float32.

    Raises:
        errors.InputError: the extra is not installed, or the generator needs operations that ONNX
            does not have.
    """
    del kind
    onnx, tf2onnx, _ = _packages()
    with _quiet():
        try:
            model, _ = tf2onnx.convert.from_function(
                module.upscale, input_signature=[servable.UNIT_LR], opset=_OPSET
            )
            # What it could not convert it leaves in.
            onnx.checker.check_model(model)
        except Exception as error:  # tf2onnx raises errors of many classes.
            reason = str(error).strip().splitlines()[0][:300]
            raise errors.InputError(
                f"--format=onnx cannot hold this generator ({reason}); choose another format."
            ) from error
    for value in (*model.graph.input, *model.graph.output):
        sides = value.type.tensor_type.shape.dim
        for side, name in zip(sides, _AXES[value.name], strict=False):
            side.dim_param = name
    return model.SerializeToString()


def runner(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the model as a function of LR `[B, h, w, 3]` to SR, both float32 in [0, 1]."""
    _, _, onnxruntime = _packages()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors.
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda lr: session.run(["sr"], {"lr": lr})[0]


def with_record(content: bytes, record: str) -> bytes:
    """Returns the model with `record` (JSON) in it."""
    onnx, _, _ = _packages()
    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, {_PROPERTY: record})
    return model.SerializeToString()


def record(content: bytes) -> str | None:
    """Returns what `with_record` put into the model; None where there is nothing."""
    onnx, _, _ = _packages()
    try:
        model = onnx.load_from_string(content)
    except Exception:  # protobuf's own, which is not a dependency of this package.
        return None
    return {entry.key: entry.value for entry in model.metadata_props}.get(_PROPERTY)


def _packages() -> tuple[Any, Any, Any]:
    """Returns onnx, tf2onnx and onnxruntime."""
    try:
        import onnx
        import onnxruntime
        import tf2onnx
    except (ImportError, AttributeError) as error:  # The latter: releases that do not go together.
        raise errors.InputError(
            f"ONNX files need onnx, tf2onnx and onnxruntime ({error}); run "
            "`pip install 'srgan-tf[onnx]'`."
        ) from error
    return onnx, tf2onnx, onnxruntime


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides tf2onnx's notes on what it leaves out and puts together."""
    logger = logging.getLogger("tf2onnx")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
