"""Gives a new run's networks the weights of a pretrained model or of another run."""

import dataclasses
from typing import Any

import tensorflow as tf
from absl import logging

from srgan_tf import config as config_lib
from srgan_tf import errors, files, run_folder
from srgan_tf.config import TrainConfig
from srgan_tf.models import discriminators, generators, pretrained


def check(config: TrainConfig) -> None:
    """Complains about `config.init_from` before networks are built.

    Raises:
        errors.InputError: the source cannot be had, or its generator is another one.
    """
    source = config.init_from
    if source in pretrained.PRETRAINED:
        if config.init_checkpoint != "last":
            raise errors.InputError(
                f"--init_checkpoint={config.init_checkpoint} is for run folders; {source} is a "
                "pretrained model."
            )
        pretrained.locate(source)
        _require_same(source, pretrained.generator_config(source), pretrained.SCALE, config)
    elif source:
        folder = files.expand(source)
        if not run_folder.is_run_folder(folder):
            names = ", ".join(pretrained.PRETRAINED)
            raise errors.InputError(
                f"--init_from={source} is neither a pretrained model ({names}) nor a run folder."
            )
        theirs, _ = run_folder.read_config(folder)
        _require_same(source, theirs.generator, theirs.data.scale, config)
        run_folder.find_checkpoint(folder, config.init_checkpoint)


def initialize(
    config: TrainConfig, generator: tf.keras.Model, discriminator: tf.keras.Model | None
) -> dict[str, Any] | None:
    """Loads what `config.init_from` names into the networks of a run that begins.

    Args:
        config: the run's, passed by `check`; an empty `init_from` leaves the networks alone.
        generator: built from `config`.
        discriminator: built from `config`; gets weights where the source has some of its shape.

    Returns:
        What was loaded, for config.json; None if nothing.
    """
    name = config.init_from
    if not name:
        return None
    if name in pretrained.PRETRAINED:
        pretrained.assign_generator(name, generator)
        loaded = {"source": name, "weights": pretrained.source(name)}
        loaded["discriminator"] = _initialize_discriminator(config, discriminator)
    else:
        folder = files.expand(name)
        other, _, step = run_folder.load_generator(folder, config.init_checkpoint)
        generator.set_weights(other.get_weights())
        loaded = {"source": folder, "step": step, "discriminator": False}
    logging.info("Generator: weights of %s.", name)
    return loaded


def _initialize_discriminator(config: TrainConfig, discriminator: tf.keras.Model | None) -> bool:
    """Loads the pretrained discriminator where there is one that fits; says so where not."""
    name = config.init_from
    if discriminator is None or pretrained.PRETRAINED[name].discriminator is None:
        return False
    ours = dataclasses.replace(discriminators.resolve(config.discriminator), jitter=0)
    theirs = discriminators.resolve(pretrained.DISCRIMINATOR)
    fits = (ours, config.discriminator_size) == (theirs, pretrained.CROP_SIZE)
    if fits:
        pretrained.assign_discriminator(name, discriminator)
    else:
        logging.warning(
            "Discriminator: random weights, because that of %s is the paper's, for crops of %d "
            "pixels, and this run has another.",
            name,
            pretrained.CROP_SIZE,
        )
    return fits


def _require_same(
    source: str, theirs: config_lib.GeneratorConfig, scale: int, config: TrainConfig
) -> None:
    changed = generators.differences((theirs, scale), (config.generator, config.data.scale))
    if changed:
        raise errors.InputError(
            f"The weights of {source} are of another generator than this run's "
            f"({'; '.join(changed)}): set the generator flags and --scale to its values."
        )
