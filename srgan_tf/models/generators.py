"""Generators: an LR image in [0, 1] becomes an SR image in [-1, 1], `scale` times as large.

All are functional Keras models on `[B, H, W, 3]` float32 with H and W left open, so one set of
weights serves every image size. A generator without a final tanh may overshoot [-1, 1] a little;
values are clipped when they are encoded. Add one: a function (here, or in a file of its own) and a
line in `GENERATORS`. The defaults of its `norm` and `upsampling` are the architecture's own, which
`auto` stands for; they must not change, for they are part of what a run's config.json says.
"""

import dataclasses
import inspect
from collections.abc import Callable

import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import registry
from srgan_tf.models import precision as precision_lib
from srgan_tf.models import upsampling
from srgan_tf.models.autoencoder import autoencoder
from srgan_tf.models.lite import lite
from srgan_tf.models.rrdb import rrdb
from srgan_tf.models.srresnet import srresnet, srresnet_seed

GENERATORS: dict[str, Callable[..., tf.keras.Model]] = {
    "srresnet": srresnet,
    "srresnet_seed": srresnet_seed,
    "autoencoder": autoencoder,
    "rrdb": rrdb,
    "lite": lite,
}


def resolve(config: config_lib.GeneratorConfig) -> config_lib.GeneratorConfig:
    """Returns `config` with the architecture's own norm and upsampling where it says `auto`.

    Raises:
        errors.InputError: the name is unknown.
    """
    own = inspect.signature(registry.lookup(GENERATORS, config.name, "generator")).parameters
    chosen = {
        name: own[name].default
        for name in ("norm", "upsampling")
        if getattr(config, name) == config_lib.AUTO
    }
    return dataclasses.replace(config, **chosen)


def differences(
    one: tuple[config_lib.GeneratorConfig, int], other: tuple[config_lib.GeneratorConfig, int]
) -> list[str]:
    """Lists in which fields two (config, scale) differ once `auto` is filled in; [] if in none."""
    changed = config_lib.differences(resolve(one[0]), resolve(other[0]))
    if one[1] != other[1]:
        changed.append(f"scale: {one[1]} -> {other[1]}")
    return changed


def build(
    config: config_lib.GeneratorConfig, scale: int, precision: str = "float32"
) -> tf.keras.Model:
    """Builds the generator that `config` describes.

    Args:
        config: its architecture.
        scale: upscaling factor.
        precision: what it computes in (precision.py); variables and SR are float32 in any.

    Raises:
        errors.InputError: a name is unknown, or the architecture does not have that norm.
    """
    config = resolve(config)
    registry.lookup(upsampling.UPSAMPLINGS, config.upsampling, "generator_upsampling")
    with precision_lib.scope(precision):
        return GENERATORS[config.name](
            scale=scale,
            filters=config.filters,
            blocks=config.blocks,
            norm=config.norm,
            upsampling=config.upsampling,
        )
