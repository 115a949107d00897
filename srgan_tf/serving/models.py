"""Loads a model for upscaling from where it lies: a run folder, a SavedModel, or a wheel."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from srgan_tf import config as config_lib
from srgan_tf import errors, registry, run_folder
from srgan_tf.models import pretrained
from srgan_tf.serving import backends, export, fingerprint, folding, memory, model_record, servable
from srgan_tf.serving import engine as engine_lib

# What exports from before it was recorded are taken to need, per filter and pixel of the output:
# twice that of the paper's generator, which is more than that of any with subpixel upsampling.
_OLD_BYTES = 26
_OLD_FILTERS = 64


# Makes functions on arrays of a model's signatures (backends.py).
_Prepare = Callable[..., backends.Functions]


def load(
    path: str,
    checkpoint: str,
    weights: str | None,
    *,
    backend: str = "tensorflow",
    precision: str | None = None,
) -> tuple[engine_lib.Engine, dict[str, Any]]:
    """Returns the model and where it comes from; arguments and errors as `Upscaler.load`'s."""
    make = registry.lookup(backends.BACKENDS, backend, "backend")
    engine, origin = _load(path, checkpoint, weights, functools.partial(make, precision=precision))
    cost = engine.cost.times(backends.MEMORY_SHARE[backend])
    return dataclasses.replace(engine, cost=cost), origin


def _load(
    path: str, checkpoint: str, weights: str | None, prepare: _Prepare
) -> tuple[engine_lib.Engine, dict[str, Any]]:
    if path in pretrained.PRETRAINED:
        if checkpoint != "last" or weights:
            raise errors.InputError(
                f"--checkpoint and --weights are for run folders; {path} is a pretrained model "
                f"(write ./{path} for a folder of that name)."
            )
        if tf.io.gfile.isdir(path):
            logging.warning("%s is the pretrained model; the folder is ./%s.", path, path)
        return _from_pretrained(path, prepare)
    if run_folder.is_run_folder(path):
        return _from_run_folder(path, checkpoint, weights, prepare)
    directory = _find_saved_model(path)
    chosen = {"checkpoint": checkpoint if checkpoint != "last" else None, "weights": weights}
    for flag, value in chosen.items():
        if value:
            raise errors.InputError(
                f"--{flag}={value} is for run folders; {path} is a SavedModel, which holds a "
                "single one."
            )
    return _from_saved_model(directory, prepare)


def _from_pretrained(name: str, prepare: _Prepare) -> tuple[engine_lib.Engine, dict[str, Any]]:
    generator = pretrained.load_generator(name)
    config = pretrained.generator_config(name)
    engine, mark = _from_generator(generator, config, pretrained.SCALE, prepare)
    return engine, {
        "kind": "pretrained",
        "name": name,
        "source": pretrained.source(name),
        "fingerprint": mark,
    }


def _from_run_folder(
    path: str, checkpoint: str, weights: str | None, prepare: _Prepare
) -> tuple[engine_lib.Engine, dict[str, Any]]:
    generator, config, step = run_folder.load_generator(path, checkpoint, weights)
    engine, mark = _from_generator(generator, config.generator, config.data.scale, prepare)
    return engine, {
        "kind": "run folder",
        "path": path,
        "checkpoint": checkpoint,
        "weights": run_folder.choose_weights(config, weights),
        "step": step,
        "recipe": config.recipe,
        "generator": config.generator.name,
        "fingerprint": mark,
    }


def from_generator(
    generator: tf.keras.Model,
    config: config_lib.GeneratorConfig,
    scale: int,
    prepare: _Prepare = backends.tensorflow,
) -> engine_lib.Engine:
    """Returns the engine of a generator that `config` describes, batch normalization folded."""
    return _from_generator(generator, config, scale, prepare)[0]


def _from_generator(
    generator: tf.keras.Model, config: config_lib.GeneratorConfig, scale: int, prepare: _Prepare
) -> tuple[engine_lib.Engine, str]:
    module = servable.ServingModule(folding.fold(generator, config, scale))
    engine = _engine(prepare(module.functions()), module.facts(scale), keep=module)
    return engine, fingerprint.of_weights(module.weights)


def _from_saved_model(
    directory: str, prepare: _Prepare
) -> tuple[engine_lib.Engine, dict[str, Any]]:
    provenance = model_record.read(directory)
    try:
        with export.quiet():
            loaded = tf.saved_model.load(directory)
        # Tiles are cut here: the signatures have tiles and limits of their own.
        functions = servable.functions(loaded)
    except (OSError, ValueError, AttributeError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0]
        raise errors.InputError(f"{directory} cannot be loaded: {reason}") from error
    origin = {
        "kind": "SavedModel",
        "path": directory,
        "checkpoint": provenance.get("checkpoint"),
        "weights": provenance.get("weights"),
        "step": provenance.get("step"),
        "recipe": provenance.get("recipe"),
        "generator": provenance.get("config", {}).get("generator", {}).get("name"),
        **{name: provenance[name] for name in ("interpolation",) if name in provenance},
    }
    if hasattr(loaded, "weights"):
        origin["fingerprint"] = fingerprint.of_weights(loaded.weights)
    # Exports from before it was recorded are in float32.
    prepared = prepare(functions, own=provenance.get("precision", "float32"))
    return _engine(prepared, provenance, keep=loaded), origin


def _engine(functions: backends.Functions, facts: dict[str, Any], keep: Any) -> engine_lib.Engine:
    """Makes the engine of a model's functions and of what is recorded of it."""
    halves = None
    if "trunk" in functions and "tail_rim" in facts:
        halves = engine_lib.Halves(
            trunk=functions["trunk"], tail=functions["tail"], rim=facts["tail_rim"]
        )

    def whole(lr: np.ndarray, keep: Any = keep) -> np.ndarray:
        del keep  # Neither functions nor signatures keep the weights alive.
        return functions[servable.SIGNATURE](lr)

    return engine_lib.Engine(
        whole=whole,
        halves=halves,
        scale=facts["scale"],
        receptive_radius=facts["receptive_radius"],
        # Older exports do not name it: no generator had strides then.
        alignment=facts.get("alignment", 1),
        cost=_cost(facts, halved=halves is not None),
    )


def _cost(facts: dict[str, Any], *, halved: bool) -> memory.Cost:
    """Returns the memory that the model takes, by its record."""
    if halved:
        return memory.Cost.of_live(
            facts["trunk_bytes_per_lr_pixel"], facts["tail_bytes_per_lr_pixel"]
        )
    if "bytes_per_lr_pixel" in facts:
        return memory.Cost.of_live(facts["bytes_per_lr_pixel"])
    filters = facts.get("config", {}).get("generator", {}).get("filters", _OLD_FILTERS)
    return memory.Cost.of_live(_OLD_BYTES * filters * facts["scale"] ** 2)


def _find_saved_model(path: str) -> str:
    """Returns `path` or its highest numbered subfolder, whichever is a SavedModel."""
    if not tf.io.gfile.isdir(path):
        if tf.io.gfile.exists(path):
            raise errors.InputError(
                f"{path} is a file; give a run folder, a SavedModel's folder or a pretrained "
                "model's name (TFLite and ONNX files are for other programs)."
            )
        names = ", ".join(pretrained.PRETRAINED)
        raise errors.InputError(
            f"There is no folder {path} (a run folder or a SavedModel), nor a pretrained model of "
            f"that name (there are: {names})."
        )
    directory = model_record.newest(path)
    if directory:
        return directory
    raise errors.InputError(
        f"{path} is neither a run folder (it has no {run_folder.CONFIG}) nor a SavedModel (it has "
        "no saved_model.pb, nor has a numbered subfolder)."
    )
