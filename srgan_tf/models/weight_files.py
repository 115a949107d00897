"""Weights of a network as files: h5 as Keras 2.2 wrote it, and npz, which the package comes with.

Either is read as a list of (layer name, arrays) of the layers that have weights, in the network's
order. An npz has an entry `NNN/layer/i` for array i of layer number NNN, in float16: half the size,
and what rounding costs is measured where the file is written (serving/shipping.py).
"""

import io

import h5py
import numpy as np
import tensorflow as tf

from srgan_tf import files

Layers = list[tuple[str, list[np.ndarray]]]


def read(path: str) -> Layers:
    """Returns the layers of `path`, an .h5 or an .npz, as float32.

    Raises:
        ValueError: the file is damaged, or none of these.
    """
    try:
        layers = _read_npz(path) if path.endswith(".npz") else _read_h5(path)
    except Exception as error:  # zipfile, zlib, NumPy and h5py each raise their own.
        raise ValueError((str(error).strip() or type(error).__name__).splitlines()[0]) from error
    return [(name, arrays) for name, arrays in layers if arrays]


def write_npz(path: str, model: tf.keras.Model) -> None:
    """Writes the weights of `model` in float16; the same weights are the same bytes."""
    layers = [layer for layer in model.layers if layer.weights]
    arrays = {
        f"{number:03d}/{layer.name}/{index}": array.astype(np.float16)
        for number, layer in enumerate(layers)
        for index, array in enumerate(layer.get_weights())
    }
    content = io.BytesIO()
    np.savez(content, **arrays)
    files.write_atomically(path, [content.getvalue()])


def _read_npz(path: str) -> Layers:
    layers: dict[str, list[np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in sorted(arrays.files, key=_place):
            name = key.rpartition("/")[0]
            layers.setdefault(name, []).append(arrays[key].astype(np.float32))
    return list(layers.items())


def _place(key: str) -> tuple[int, int]:
    """Returns the layer's number and the array's of an entry `NNN/layer/i`."""
    return int(key.partition("/")[0]), int(key.rpartition("/")[2])


def _read_h5(path: str) -> Layers:
    with h5py.File(path, "r") as file:
        names = [_text(name) for name in file.attrs["layer_names"]]
        groups = [(name, file[name]) for name in names]
        return [
            (name, [group[_text(key)][()] for key in group.attrs["weight_names"]])
            for name, group in groups
        ]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
