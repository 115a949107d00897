"""Gives a new run's networks the weights of a pretrained model or of another run."""

import tensorflow as tf
from absl import logging

from srgan_tf import config as config_lib
from srgan_tf import errors, files, run_folder
from srgan_tf.config import TrainConfig
from srgan_tf.models import discriminators, generators, pretrained


def initialize(
    config: TrainConfig, generator: tf.keras.Model, discriminator: tf.keras.Model | None
) -> None:
    """Loads what `config.init_from` names into the networks of a run that begins.

    Args:
        config: the run's; an empty `init_from` leaves the networks as they are.
        generator: built from `config`.
        discriminator: built from `config`; gets weights where the source has some of its shape.

    Raises:
        errors.InputError: the source cannot be had, or its generator is another one.
    """
    source = config.init_from
    if not source:
        return
    if source in pretrained.PRETRAINED:
        _from_pretrained(config, generator, discriminator)
    else:
        _from_run(config, generator)
    logging.info("Generator: weights of %s.", source)


def _from_pretrained(
    config: TrainConfig, generator: tf.keras.Model, discriminator: tf.keras.Model | None
) -> None:
    name = config.init_from
    _require_same(name, pretrained.GENERATOR, pretrained.SCALE, config)
    pretrained.assign_generator(name, generator)
    if discriminator is None or pretrained.PRETRAINED[name].discriminator is None:
        return
    wanted = discriminators.resolve(config.discriminator)
    fits = (wanted, config.data.crop_size) == (
        discriminators.resolve(pretrained.DISCRIMINATOR),
        pretrained.CROP_SIZE,
    )
    if fits:
        pretrained.assign_discriminator(name, discriminator)
        logging.info("Discriminator: weights of %s.", name)
    else:
        logging.warning(
            "Discriminator: random weights, because that of %s is the paper's, for crops of %d "
            "pixels, and this run has another.",
            name,
            pretrained.CROP_SIZE,
        )


def _from_run(config: TrainConfig, generator: tf.keras.Model) -> None:
    source = files.expand(config.init_from)
    if not run_folder.is_run_folder(source):
        names = ", ".join(pretrained.PRETRAINED)
        raise errors.InputError(
            f"init_from={source!r} is neither a pretrained model ({names}) nor a run folder."
        )
    other, other_config, step = run_folder.load_generator(source, config.init_checkpoint)
    _require_same(source, other_config.generator, other_config.data.scale, config)
    generator.set_weights(other.get_weights())
    logging.info("%s: step %d.", source, step)


def _require_same(
    source: str, theirs: config_lib.GeneratorConfig, scale: int, config: TrainConfig
) -> None:
    changed = config_lib.differences(
        generators.resolve(theirs), generators.resolve(config.generator)
    )
    if scale != config.data.scale:
        changed.append(f"scale: {scale} -> {config.data.scale}")
    if changed:
        raise errors.InputError(
            f"The weights of {source} are of another generator than this run's "
            f"({'; '.join(changed)}): set the generator flags and --scale to its values."
        )
