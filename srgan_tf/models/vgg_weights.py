"""Reads VGG16 and VGG19 kernels: keras.applications' download, a local .h5 or a local .npz.

Flows out: a dict of convolution name (`block1_conv1` ...) to (kernel `[3, 3, in, out]`, bias
`[out]`), float32 NumPy, checked against what the network needs. Every failure is an
`errors.InputError` that names the file and the layer.
"""

import io
import re
from collections.abc import Callable, Mapping

import h5py
import numpy as np
import tensorflow as tf
from absl import logging

from srgan_tf import errors, files, registry

_CONVS_PER_BLOCK = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}

Weights = dict[str, tuple[np.ndarray, np.ndarray]]

_CONV_NAME = re.compile(r"block\d_conv\d")
_REMEDY = (
    "Run once on a machine with network and copy the downloaded file to ~/.keras/models, or name "
    "a local file with --vgg_weights=FILE.h5|FILE.npz, or choose a recipe without VGG"
)


def conv_names(network: str) -> list[str]:
    """Returns the names of a network's convolutions, first to last."""
    depths = registry.lookup(_CONVS_PER_BLOCK, network, "VGG network")
    return [
        f"block{block}_conv{conv}"
        for block, depth in enumerate(depths, start=1)
        for conv in range(1, depth + 1)
    ]


def load(network: str, source: str, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    """Returns the kernels and biases of the convolutions in `shapes`.

    Args:
        network: vgg16 or vgg19.
        source: `imagenet`, or the path of an .h5 or .npz file.
        shapes: Kernel shape of each convolution that is needed, by name.

    Raises:
        errors.InputError: the weights cannot be had, lack a layer, or are another network's.
    """
    if source == "imagenet":
        found, source = _download(network), f"keras.applications' {network}"
    elif source.endswith((".h5", ".hdf5")):
        found = _read(files.expand(source), _from_h5)
    elif source.endswith(".npz"):
        found = _read(files.expand(source), _from_npz)
    else:
        raise errors.InputError(
            f"vgg_weights must be imagenet, random, or the path of an .h5 or .npz file: {source!r}."
        )
    _check(found, network, source, shapes)
    return {name: found[name] for name in shapes}


def _download(network: str) -> Weights:
    applications = {
        "vgg16": tf.keras.applications.VGG16,
        "vgg19": tf.keras.applications.VGG19,
    }
    logging.info("Loading the ImageNet weights of %s (downloaded once, about 80 MB).", network)
    try:
        model = applications[network](include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception when a download fails.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise errors.InputError(
            f"The ImageNet weights of {network} could not be downloaded ({reason}). {_REMEDY}."
        ) from error
    convs = [layer for layer in model.layers if _CONV_NAME.fullmatch(layer.name)]
    return {layer.name: tuple(layer.get_weights()) for layer in convs}


def _read(path: str, parse: Callable[[io.BytesIO], Weights]) -> Weights:
    """Opens `path` wherever it lies, and parses its bytes."""
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise errors.InputError(f"The VGG weights file {path} does not exist. {_REMEDY}.")
    with tf.io.gfile.GFile(path, "rb") as file:
        content = io.BytesIO(file.read())
    try:
        return parse(content)
    except Exception as error:  # zipfile, NumPy and h5py each raise their own on a damaged file.
        raise errors.InputError(
            f"The VGG weights file {path} cannot be read ({error}): download or write it again."
        ) from error


def _from_npz(content: io.BytesIO) -> Weights:
    """Reads arrays named `block1_conv1/kernel` and `block1_conv1/bias`."""
    with np.load(content, allow_pickle=False) as arrays:
        names = [key.removesuffix("/kernel") for key in arrays.files if key.endswith("/kernel")]
        return {name: (arrays[f"{name}/kernel"], arrays[f"{name}/bias"]) for name in names}


def _from_h5(content: io.BytesIO) -> Weights:
    """Reads what either Keras writes: `.h5` of a model or its weights, and `.weights.h5`."""
    with h5py.File(content, "r") as file:
        if "layers" in file:
            return _from_keras3(file["layers"])
        return _from_legacy(file["model_weights"] if "model_weights" in file else file)


def _from_legacy(groups: h5py.Group) -> Weights:
    """One group per layer; its `weight_names` say which arrays, in the order kernel, bias."""
    found = {}
    for name in filter(_CONV_NAME.fullmatch, groups):
        keys = [
            key.decode() if isinstance(key, bytes) else key
            for key in groups[name].attrs["weight_names"]
        ]
        kernel, bias = (groups[name][key][()] for key in keys)
        found[name] = (kernel, bias)
    return found


def _from_keras3(groups: h5py.Group) -> Weights:
    """Groups `conv2d`, `conv2d_1`, ...; the layer's name, if recorded, is an attribute of `vars`.

    Keras 2.15 records none. Then order decides, which is safe for a whole network alone, known by
    its number of convolutions.
    """
    convs = [group for group in groups if re.fullmatch(r"conv2d(_\d+)?", group)]
    convs.sort(key=lambda group: int(group.removeprefix("conv2d").lstrip("_") or 0))
    names = [groups[group]["vars"].attrs.get("name") for group in convs]
    if None in names:
        whole = {len(conv_names(network)): conv_names(network) for network in _CONVS_PER_BLOCK}
        if len(convs) not in whole:
            raise ValueError(f"its {len(convs)} convolutions have no names; a VGG has 13 or 16")
        names = whole[len(convs)]
    stored = [groups[group]["vars"] for group in convs]
    return {
        name: (arrays["0"][()], arrays["1"][()])
        for name, arrays in zip(names, stored, strict=True)
        if _CONV_NAME.fullmatch(name)
    }


def _check(
    found: Weights, network: str, source: str, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises unless `found` has what `shapes` asks for and is (the beginning of) `network`."""
    listing = ", ".join(sorted(found)) or "no VGG convolution"
    missing = [name for name in shapes if name not in found]
    if missing:
        raise errors.InputError(
            f"{source} has no layer {', '.join(missing)}, which {network} needs here; it has "
            f"{listing}. Name a file that has them, or choose an earlier vgg_layer."
        )
    # The networks share names and shapes up to block3_conv3, but not kernels: deeper layers betray
    # the other network's file even where only shared names are asked for.
    if set(found) != set(conv_names(network)[: len(found)]):
        raise errors.InputError(
            f"{source} does not hold the weights of {network}: it has {listing}. Set vgg_network "
            "to the network that it was written for, or name another file."
        )
    for name, shape in shapes.items():
        kernel, bias = found[name]
        if kernel.shape != shape or bias.shape != shape[-1:]:
            raise errors.InputError(
                f"Layer {name} in {source} has kernel {kernel.shape} and bias {bias.shape}; "
                f"{network} needs {shape} and {shape[-1:]}."
            )
