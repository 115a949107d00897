"""Writes a trained generator as a SavedModel: uint8 pictures of any size and number in, SR out.

`RUN_DIR/saved_model/<step>/` is what TensorFlow Serving watches: it appears whole or not at all,
and only after the saved artefact, loaded again, has given the generator's own pictures.
`assets.extra/srgan_tf.json` in it says where the model comes from and what a client needs to know
(scale, receptive radius, alignment of tiles).
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

import srgan_tf
from srgan_tf import config as config_lib
from srgan_tf import errors, images, run_folder
from srgan_tf.models import generators, receptive

FOLDER = "saved_model"
PROVENANCE = os.path.join("assets.extra", "srgan_tf.json")
SIGNATURE = "serving_default"

# The saved graph may fold constants in another order; one grey level is a rounding on the edge.
_TOLERANCE = 1


class ServingModule(tf.Module):
    """A generator behind uint8 pictures; range conversion is inside."""

    def __init__(self, generator: tf.keras.Model):
        """Wraps `generator` (lr `[B, h, w, 3]` in [0, 1] to sr in [-1, 1])."""
        super().__init__(name="srgan_tf")
        # Holding the model itself would save every layer's functions and Keras' description too.
        self._apply = lambda lr: generator(lr, training=False)
        self.weights = [
            weight if isinstance(weight, tf.Variable) else weight.value  # Keras 2, Keras 3
            for weight in generator.weights
        ]

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="lr")])
    def upscale(self, lr: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps LR `[B, h, w, 3]` uint8 to `{"sr": [B, h * scale, w * scale, 3] uint8}`."""
        return {"sr": images.signed_to_uint8(self._apply(images.uint8_to_unit(lr)))}


def export(
    run_dir: str,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
) -> str:
    """Exports a run's generator and returns the folder `<output>/<step>` that holds it.

    Args:
        run_dir: the run folder.
        checkpoint: "last", "best" or a step.
        weights: "raw" or "ema"; None is "ema" where the run has it.
        output: where the folder `<step>` is made; default `RUN_DIR/saved_model`.
        overwrite: replace an existing export of the same step.

    Raises:
        errors.InputError: no such run or checkpoint, the export exists, the weights are not finite.
    """
    generator, config, step = run_folder.load_generator(run_dir, checkpoint, weights)
    # What `auto` stands for, so that a reader need not look it up.
    config = dataclasses.replace(config, generator=generators.resolve(config.generator))
    return publish(
        generator,
        os.path.join(output or os.path.join(run_dir, FOLDER), str(step)),
        source=f"{run_dir}, step {step}",
        scale=config.data.scale,
        overwrite=overwrite,
        facts={
            "step": step,
            "checkpoint": checkpoint,
            "weights": run_folder.choose_weights(config, weights),
            "recipe": config.recipe,
            "config": config_lib.to_dict(config),
        },
    )


def publish(
    generator: tf.keras.Model,
    target: str,
    *,
    source: str,
    scale: int,
    overwrite: bool,
    facts: dict[str, Any],
) -> str:
    """Writes `generator` to the folder `target` with `facts` as provenance; returns `target`.

    `source` says in an error where the generator comes from.

    Raises:
        errors.InputError: `target` exists and `overwrite` is not given, or a weight is not finite.
    """
    if tf.io.gfile.exists(target) and not overwrite:
        raise errors.InputError(f"{target} exists; give --overwrite to replace it.")
    _check_finite(generator, source)
    provenance = {
        "package_version": srgan_tf.__version__,
        "tensorflow_version": tf.__version__,
        "scale": scale,
        "receptive_radius": receptive.radius(generator, scale),
        "alignment": receptive.alignment(generator),
        **facts,
    }
    write(generator, target, provenance)
    return target


def write(generator: tf.keras.Model, target: str, provenance: dict[str, Any]) -> None:
    """Saves `generator` and its provenance in `target`, in one move, after checking the copy."""
    parent, name = os.path.split(target.rstrip("/"))
    tf.io.gfile.makedirs(parent)
    # TensorFlow Serving looks at whole numbers only, so it never sees these two.
    temporary, replaced = (os.path.join(parent, f".{name}.{part}") for part in ("new", "old"))
    _remove(temporary)
    try:
        with quiet():
            _save(generator, temporary, provenance)
            _check_copy(generator, temporary)
        _remove(replaced)
        if tf.io.gfile.exists(target):
            tf.io.gfile.rename(target, replaced)
        tf.io.gfile.rename(temporary, target)
    finally:
        _remove(temporary)
    _remove(replaced)


def read_provenance(directory: str) -> dict[str, Any]:
    """Returns what `write` recorded beside the model in `directory`.

    Raises:
        errors.InputError: the SavedModel was not exported by this package, or its record is broken.
    """
    path = os.path.join(directory, PROVENANCE)
    if not tf.io.gfile.exists(path):
        raise errors.InputError(
            f"{directory} was not written by srgan-export: it has no {PROVENANCE}."
        )
    with tf.io.gfile.GFile(path) as file:
        text = file.read()
    try:
        provenance = json.loads(text)
        for name in ("scale", "receptive_radius"):
            int(provenance[name])
        int(provenance.get("alignment", 1))
    except (ValueError, KeyError, TypeError) as error:
        raise errors.InputError(f"{path} cannot be read: {error!r}; export again.") from error
    return provenance


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides TensorFlow's notes on saving and loading, of which a user can make nothing."""
    logger = tf.get_logger()
    before = logging.get_verbosity(), logger.level
    logging.set_verbosity(logging.ERROR)
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logging.set_verbosity(before[0])
        logger.setLevel(before[1])


def _save(generator: tf.keras.Model, directory: str, provenance: dict[str, Any]) -> None:
    module = ServingModule(generator)
    tf.saved_model.save(module, directory, signatures={SIGNATURE: module.upscale})
    path = os.path.join(directory, PROVENANCE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    run_folder.write_text(path, json.dumps(provenance, indent=2) + "\n")


def _check_copy(generator: tf.keras.Model, directory: str) -> None:
    """Compares the saved artefact with the generator on a picture (noise, odd sides)."""
    lr = np.random.RandomState(0).randint(0, 256, (1, 13, 21, 3)).astype(np.uint8)
    signature = tf.saved_model.load(directory).signatures[SIGNATURE]
    copy = signature(lr=tf.constant(lr))["sr"].numpy().astype(int)
    own = images.signed_to_uint8(generator(images.uint8_to_unit(lr), training=False)).numpy()
    difference = np.abs(copy - own).max()
    if difference > _TOLERANCE:
        raise RuntimeError(
            f"The exported model differs from the generator by up to {difference} grey levels; "
            "nothing was published."
        )


def _check_finite(generator: tf.keras.Model, where: str) -> None:
    for weight in generator.weights:
        if not np.all(np.isfinite(np.asarray(weight))):
            raise errors.InputError(
                f"{where}: the weight {weight.name} is not finite (NaN or infinite); "
                "choose an earlier checkpoint."
            )


def _remove(directory: str) -> None:
    if tf.io.gfile.exists(directory):
        tf.io.gfile.rmtree(directory)
