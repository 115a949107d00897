"""Writes a trained generator as a SavedModel: uint8 pictures of any size and number in, SR out.

`RUN_DIR/saved_model/<step>/` is what TensorFlow Serving watches: it appears whole or not at all,
and only after the saved artefact, loaded again, has given the generator's own pictures.
`assets.extra/srgan_tf.json` in it says where the model comes from and what a client needs to know
(scale, receptive radius, alignment of tiles).
"""

import contextlib
import dataclasses
import functools
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
from srgan_tf.serving import folding, network

FOLDER = "saved_model"
PROVENANCE = os.path.join("assets.extra", "srgan_tf.json")
SIGNATURE = "serving_default"

_LR = tf.TensorSpec([None, None, None, 3], tf.uint8, name="lr")

# In grey levels. The saved graph may fold constants in another order: one is a rounding on the
# edge. In bfloat16 photos differ by up to 12 with published weights, and noise by more.
_TOLERANCES = {"float32": 1, "bfloat16": 48}


class ServingModule(tf.Module):
    """A generator behind uint8 pictures; range conversion is inside.

    Where the network can be cut in two (network.py), `trunk` and `tail` are its halves: `upscale`
    is one after the other.
    """

    def __init__(self, generator: tf.keras.Model):
        """Wraps `generator` (lr `[B, h, w, 3]` in [0, 1] to sr in [-1, 1])."""
        super().__init__(name="srgan_tf")
        # Holding the model itself would save every layer's functions and Keras' description too.
        self._apply = lambda lr: generator(lr, training=False)
        self.weights = [
            weight if isinstance(weight, tf.Variable) else weight.value  # Keras 2, Keras 3
            for weight in generator.weights
        ]
        self._describe = functools.partial(_describe, generator)
        self.trunk = self.tail = None
        halves = network.split(network.steps(generator))
        if halves:
            self.trunk, self.tail = _halves(*halves)

    @tf.function(input_signature=[_LR])
    def upscale(self, lr: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps LR `[B, h, w, 3]` uint8 to `{"sr": [B, h * scale, w * scale, 3] uint8}`."""
        return {"sr": images.signed_to_uint8(self._apply(images.uint8_to_unit(lr)))}

    def signatures(self) -> dict[str, Any]:
        """Returns the functions by the names of their signatures."""
        made = {SIGNATURE: self.upscale, "trunk": self.trunk, "tail": self.tail}
        return {name: function for name, function in made.items() if function is not None}

    def facts(self, scale: int) -> dict[str, Any]:
        """Returns what a client needs to know of the network, which enlarges by `scale`."""
        return self._describe(scale)


def _halves(trunk: list[network.Step], tail: list[network.Step]) -> tuple[Any, Any]:
    """Returns the two halves of a network as functions of uint8 LR and to uint8 SR."""
    features = tf.TensorSpec(
        [None, None, None, trunk[-1].shape[-1]], trunk[-1].layer.compute_dtype, name="features"
    )

    @tf.function(input_signature=[_LR])
    def run_trunk(lr: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": network.run(trunk, images.uint8_to_unit(lr))}

    @tf.function(input_signature=[features])
    def run_tail(features: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sr": images.signed_to_uint8(network.run(tail, features))}

    return run_trunk, run_tail


def _describe(generator: tf.keras.Model, scale: int) -> dict[str, Any]:
    """Returns scale, receptive radius, alignment and memory (`network.live_bytes`)."""
    radius = receptive.radius(generator, scale)
    sequence = network.steps(generator)
    facts = {
        "scale": scale,
        "receptive_radius": radius,
        "alignment": receptive.alignment(generator),
        "bytes_per_lr_pixel": round(network.live_bytes(sequence)),
    }
    halves = network.split(sequence)
    if halves:
        trunk = tf.keras.Model(generator.inputs, halves[0][-1].layer.output)
        live = [round(network.live_bytes(half)) for half in halves]
        facts |= {
            "trunk_bytes_per_lr_pixel": live[0],
            "tail_bytes_per_lr_pixel": live[1],
            # Both radii are rounded up.
            "tail_rim": radius - receptive.radius(trunk, 1) + 1,
        }
    return facts


def export(
    run_dir: str,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    precision: str = "float32",
) -> str:
    """Exports a run's generator and returns the folder `<output>/<step>` that holds it.

    Args:
        run_dir: the run folder.
        checkpoint: "last", "best" or a step.
        weights: "raw" or "ema"; None is "ema" where the run has it.
        output: where the folder `<step>` is made; default `RUN_DIR/saved_model`.
        overwrite: replace an existing export of the same step.
        precision: what the exported network computes in: float32 or bfloat16.

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
    facts: dict[str, Any],
) -> str:
    """Writes `generator` to the folder `target` with `facts` as provenance; returns `target`.

    Batch normalization is folded into the convolutions. `source` says in an error where the
    generator comes from, `generator_config` how it is built.

    Raises:
        errors.InputError: `target` exists and `overwrite` is not given, or a weight is not finite.
    """
    if tf.io.gfile.exists(target) and not overwrite:
        raise errors.InputError(f"{target} exists; give --overwrite to replace it.")
    _check_finite(generator, source)
    module = ServingModule(folding.fold(generator, generator_config, scale, precision))
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
    generator: tf.keras.Model, module: ServingModule, target: str, provenance: dict[str, Any]
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


def _save(module: ServingModule, directory: str, provenance: dict[str, Any]) -> None:
    tf.saved_model.save(module, directory, signatures=module.signatures())
    path = os.path.join(directory, PROVENANCE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    run_folder.write_text(path, json.dumps(provenance, indent=2) + "\n")


def _check_copy(generator: tf.keras.Model, directory: str, tolerance: int) -> None:
    """Compares the saved artefact with the generator on a picture (noise, odd sides)."""
    lr = np.random.RandomState(0).randint(0, 256, (1, 13, 21, 3)).astype(np.uint8)
    signature = tf.saved_model.load(directory).signatures[SIGNATURE]
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
