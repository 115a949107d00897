"""What runs an exported network: TensorFlow, or OpenVINO (the extra `openvino`) on CPUs.

A backend makes of a model's signatures (export.py) functions by the same names on NumPy arrays:
`serving_default` and `tail` return SR uint8, `trunk` what `tail` takes and can be sliced like an
array. They are made ready when they are first called.
"""

import functools
import importlib
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from srgan_tf import errors

_INPUTS = {"serving_default": "lr", "trunk": "lr", "tail": "features"}
_OUTPUTS = {"serving_default": "sr", "trunk": "features", "tail": "sr"}
_HINTS = {"float32": "f32", "bfloat16": "bf16"}

Functions = dict[str, Callable[[Any], Any]]


def tensorflow(
    signatures: Mapping[str, Any], precision: str | None = None, own: str = "float32"
) -> Functions:
    """Runs the signatures as they are; the precision is the network's own, whichever that is.

    Raises:
        errors.InputError: `precision` is not None.
    """
    del own
    if precision:
        raise errors.InputError(
            "--precision is for --backend=openvino; TensorFlow computes in the network's own."
        )

    def call(name: str, value: Any) -> Any:
        result = signatures[name](**{_INPUTS[name]: tf.convert_to_tensor(value)})[_OUTPUTS[name]]
        return result if name == "trunk" else result.numpy()

    return {name: functools.partial(call, name) for name in signatures if name in _INPUTS}


def openvino(
    signatures: Mapping[str, Any], precision: str | None = None, own: str = "float32"
) -> Functions:
    """Converts the signatures of a network in `own`; `precision` is float32 (None) or bfloat16.

    Raises:
        errors.InputError: the network is not in float32, OpenVINO is not installed, or this CPU has
            no bfloat16.
    """
    if own != "float32":
        raise errors.InputError(
            f"--backend=openvino: this model was exported in {own}, which OpenVINO does not read; "
            "export it with `srgan-export --precision=float32` and let OpenVINO compute in "
            "bfloat16 with --precision=bfloat16, or leave --backend out."
        )
    try:
        ov = import_openvino()
    except ImportError as error:
        raise errors.InputError(
            "--backend=openvino: OpenVINO is not installed; run `pip install openvino` (the extra "
            "`openvino` of srgan-tf)."
        ) from error
    core = ov.Core()
    hint = _HINTS[precision or "float32"]
    # Asked for what a CPU has not, OpenVINO would quietly compute in float32.
    if hint.upper() not in {*core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"), "F32"}:
        raise errors.InputError(
            f"--precision={precision}: this CPU has no {precision} arithmetic; leave it out."
        )

    @functools.cache
    def compiled(name: str) -> Any:
        function = signatures[name]
        if not isinstance(function, tf.types.experimental.ConcreteFunction):
            function = function.get_concrete_function()
        options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        try:
            return core.compile_model(ov.convert_model(function), "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise errors.InputError(
                f"--backend=openvino cannot run this model ({reason}); leave --backend out."
            ) from error

    # A compiled model answers one call at a time and fails on a second ("Infer Request is busy").
    # One at a time it takes all cores, so nothing is lost.
    lock = threading.Lock()

    def call(name: str, value: np.ndarray) -> np.ndarray:
        with lock:
            results = compiled(name)({_INPUTS[name]: np.ascontiguousarray(value)})
        return next(iter(results.values()))

    return {name: functools.partial(call, name) for name in signatures if name in _INPUTS}


def import_openvino() -> Any:
    """Imports OpenVINO without its telemetry, unless the program has imported it already.

    It would tell Google Analytics of every import and conversion, from forks of this process: each
    costs time, and beside TensorFlow's threads may never return. Without the package
    `openvino_telemetry` OpenVINO leaves it out.

    Raises:
        ImportError: it is not installed.
    """
    name = "openvino_telemetry"
    if "openvino" in sys.modules or name in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[name] = None  # Looks as if it was not installed.
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[name]


BACKENDS: dict[str, Callable[[Mapping[str, Any], str | None, str], Functions]] = {
    "tensorflow": tensorflow,
    "openvino": openvino,
}

# What a backend takes of the memory that network.py counts, with a margin: OpenVINO was measured at
# 0.3 to 0.6 of it (it merges activations and additions into convolutions).
MEMORY_SHARE = {"tensorflow": 1.0, "openvino": 0.7}
