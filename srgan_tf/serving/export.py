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
from srgan_tf.models import generators
from srgan_tf.serving import folding, model_record, servable, served

FOLDER = "saved_model"
# In grey levels. The saved graph may fold constants in another order: one is a rounding on the
# edge. In bfloat16 photos differ by up to 12 with published weights, and noise by more.
_TOLERANCES = {"float32": 1, "bfloat16": 48}


def export(
    run_dir: str,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    precision: str = "float32",
    max_pixels: int | None = None,
) -> str:
    """Exports a run's generator and returns the folder `<output>/<step>` that holds it.

    Args:
        run_dir: the run folder.
        checkpoint: "last", "best" or a step.
        weights: "raw" or "ema"; None is "ema" where the run has it.
        output: where the folder `<step>` is made; default `RUN_DIR/saved_model`.
        overwrite: replace an existing export of the same step.
        precision: what the exported network computes in: float32 or bfloat16.
        max_pixels: how large a picture may be that the signatures take; None is
            `served.default_max_pixels`.

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
        generator_config=config.generator,
        scale=config.data.scale,
        overwrite=overwrite,
        precision=precision,
        max_pixels=max_pixels,
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
    generator_config: config_lib.GeneratorConfig,
    scale: int,
    overwrite: bool,
    precision: str = "float32",
    max_pixels: int | None = None,
    facts: dict[str, Any],
) -> str:
    """Writes `generator` to the folder `target` with `facts` as provenance; returns `target`.

    Batch normalization is folded into the convolutions. `source` says in an error where the
    generator comes from, `generator_config` how it is built; `max_pixels` see `export`.

    Raises:
        errors.InputError: `target` exists and `overwrite` is not given, or a weight is not finite.
    """
    if tf.io.gfile.exists(target) and not overwrite:
        raise errors.InputError(f"{target} exists; give --overwrite to replace it.")
    _check_finite(generator, source)
    folded = folding.fold(generator, generator_config, scale, precision)
    module = served.ServedModule(folded, scale, max_pixels=max_pixels)
    provenance = {
        "package_version": srgan_tf.__version__,
        "tensorflow_version": tf.__version__,
        "precision": precision,
        **module.facts(scale),
        **facts,
    }
    write(generator, module, target, provenance)
    return target


def write(
    generator: tf.keras.Model,
    module: servable.ServingModule,
    target: str,
    provenance: dict[str, Any],
) -> None:
    """Saves `module` and its provenance in `target`, in one move, if it does as `generator`."""
    parent, name = os.path.split(target.rstrip("/"))
    tf.io.gfile.makedirs(parent)
    # TensorFlow Serving looks at whole numbers only, so it never sees these two.
    temporary, replaced = (os.path.join(parent, f".{name}.{part}") for part in ("new", "old"))
    _remove(temporary)
    try:
        with quiet():
            _save(module, temporary, provenance)
            _check_copy(generator, temporary, _TOLERANCES[provenance["precision"]])
        _remove(replaced)
        if tf.io.gfile.exists(target):
            tf.io.gfile.rename(target, replaced)
        tf.io.gfile.rename(temporary, target)
    finally:
        if tf.io.gfile.exists(replaced) and not tf.io.gfile.exists(target):
            tf.io.gfile.rename(replaced, target)  # Interrupted between the two.
        _remove(temporary)
    _remove(replaced)


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


def _save(module: servable.ServingModule, directory: str, provenance: dict[str, Any]) -> None:
    tf.saved_model.save(module, directory, signatures=module.signatures())
    path = os.path.join(directory, model_record.PATH)
    tf.io.gfile.makedirs(os.path.dirname(path))
    run_folder.write_text(path, json.dumps(provenance, indent=2) + "\n")


def _check_copy(generator: tf.keras.Model, directory: str, tolerance: int) -> None:
    """Compares the saved artefact with the generator on a picture (noise, odd sides)."""
    lr = np.random.RandomState(0).randint(0, 256, (1, 13, 21, 3)).astype(np.uint8)
    signature = tf.saved_model.load(directory).signatures[servable.SIGNATURE]
    copy = signature(lr=tf.constant(lr))["sr"].numpy().astype(int)
    own = images.signed_to_uint8(generator(images.uint8_to_unit(lr), training=False)).numpy()
    difference = np.abs(copy - own).max()
    if difference > tolerance:
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
