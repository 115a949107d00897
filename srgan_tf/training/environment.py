"""What a run runs on: versions, devices, threads, commit; recorded in config.json."""

import platform
from importlib import metadata
from typing import Any

import tensorflow as tf

from srgan_tf import machine, source

_PACKAGES = ("tensorflow", "keras", "tensorflow-addons", "numpy", "pillow")


def describe() -> dict[str, Any]:
    """Returns versions, devices and the commit of this package's source as plain values."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
        "logical_devices": [device.name for device in tf.config.list_logical_devices()],
        # How a sum is split over threads decides its last bits. 0 is one thread for each core.
        "threads": {
            "cores": machine.cores(),
            "intra_op": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter_op": tf.config.threading.get_inter_op_parallelism_threads(),
        },
        "commit": source.commit(),
    }


def versions() -> dict[str, str | None]:
    """Returns the versions of what a run's numbers depend on; None for what is not here."""
    return {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def make_deterministic() -> None:
    """Has TensorFlow take operations that give the same bits each time, in the whole process.

    Call it before anything is computed; there is no way back. An operation that has no such form
    on the device raises `UnimplementedError` instead of being a little different each time.
    """
    tf.config.experimental.enable_op_determinism()
