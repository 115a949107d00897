"""Network interpolation: one generator between two of the same architecture.

Wang et al. 2018 (ESRGAN, arXiv 1809.00219), section 3.4: each weight is (1 - alpha) A + alpha B. A
is normally the run that was trained for PSNR, B the GAN run that began with its weights; alpha then
leads from fidelity to sharpness without another training. Runs that never had weights in common
give nonsense in between. All weights are interpolated, moving statistics of batch normalization
included.
"""

import dataclasses
import os
from typing import Any

import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors, files, run_folder
from srgan_tf.models import generators, pretrained
from srgan_tf.serving import export as export_lib
from srgan_tf.serving import formats, provenance


@dataclasses.dataclass(frozen=True)
class _Source:
    """A generator, how it is built (`auto` resolved), and where it comes from."""

    generator: tf.keras.Model
    config: config_lib.GeneratorConfig
    scale: int
    origin: dict[str, Any]
    train_config: config_lib.TrainConfig | None = None


def export(
    between: str,
    *,
    output: str,
    weights: str | None = None,
    overwrite: bool = False,
    precision: str = "float32",
    version: int | None = None,
    max_pixels: int | None = None,
    format: str = formats.SAVED_MODEL,
    tflite_type: str | None = None,
) -> str:
    """Exports (1 - alpha) A + alpha B and returns the folder `<output>/<version>` that holds it.

    The step is B's, or A's where B is a pretrained model, or 0 where both are.

    Args:
        between: "A,B,alpha"; A and B are RUN_DIR, RUN_DIR:CHECKPOINT (last, best or a step) or the
            name of a pretrained model; alpha is in [0, 1].
        output: where the folder is made.
        weights: "raw" or "ema" of the runs; None is "ema" where a run has it.
        overwrite: replace an existing export of the same version.
        precision: what the exported network computes in: float32 or bfloat16.
        version: default: the step.
        max_pixels: see `export.export`, as for `format` and `tflite_type`.
        format: savedmodel, tflite or onnx.
        tflite_type: of the weights of TensorFlow Lite.

    Raises:
        errors.InputError: `between` is not that, a source cannot be had, they are different
            generators, or the export exists.
    """
    name_a, name_b, alpha = _parse(between)
    a, b = _load(name_a, weights), _load(name_b, weights)
    _require_same(name_a, a, name_b, b)
    described = b if b.train_config or not a.train_config else a
    trained = described.train_config is not None
    step = described.origin.get("step", 0)
    mixed = [
        (1.0 - alpha) * one + alpha * other
        for one, other in zip(a.generator.get_weights(), b.generator.get_weights(), strict=True)
    ]
    a.generator.set_weights(mixed)
    return export_lib.publish(
        a.generator,
        os.path.join(output, str(step if version is None else version)),
        source=f"--interpolate={between}",
        generator_config=a.config,
        scale=a.scale,
        overwrite=overwrite,
        precision=precision,
        max_pixels=max_pixels,
        format=format,
        tflite_type=tflite_type,
        facts={
            "step": step,
            "recipe": described.train_config.recipe if described.train_config else None,
            "interpolation": {"alpha": alpha, "a": a.origin, "b": b.origin},
            "config": _config(described),
            **(provenance.of_run(described.origin["source"], step) if trained else {}),
        },
    )


def _parse(between: str) -> tuple[str, str, float]:
    parts = [part.strip() for part in between.split(",")]
    try:
        name_a, name_b, last = parts
        alpha = float(last)
        ok = bool(name_a and name_b) and 0.0 <= alpha <= 1.0
    except ValueError:
        ok = False
    if not ok:
        raise errors.InputError(
            f"--interpolate must be RUN_A,RUN_B,alpha with alpha in 0 to 1 (no commas in the names "
            f"of folders): {between!r}."
        )
    return name_a, name_b, alpha


def _load(name: str, weights: str | None) -> _Source:
    if name in pretrained.PRETRAINED:
        return _Source(
            pretrained.load_generator(name),
            generators.resolve(pretrained.generator_config(name)),
            pretrained.SCALE,
            {"source": name, "weights": pretrained.source(name)},
        )
    path, colon, checkpoint = name.rpartition(":")
    # Other colons belong to the path, as in gs://bucket/run.
    if not (colon and path and (checkpoint in ("last", "best") or checkpoint.isdigit())):
        path, checkpoint = name, "last"
    folder = files.expand(path)
    if not run_folder.is_run_folder(folder):
        names = ", ".join(pretrained.PRETRAINED)
        raise errors.InputError(
            f"--interpolate: {path} is neither a pretrained model ({names}) nor a run folder."
        )
    generator, config, step = run_folder.load_generator(folder, checkpoint, weights)
    origin = {
        "source": folder,
        "checkpoint": checkpoint,
        "step": step,
        "weights": run_folder.choose_weights(config, weights),
        "recipe": config.recipe,
    }
    resolved = generators.resolve(config.generator)
    return _Source(generator, resolved, config.data.scale, origin, config)


def _require_same(name_a: str, a: _Source, name_b: str, b: _Source) -> None:
    changed = generators.differences((a.config, a.scale), (b.config, b.scale))
    if changed:
        raise errors.InputError(
            f"{name_a} and {name_b} cannot be interpolated, their generators differ "
            f"({'; '.join(changed)})."
        )


def _config(source: _Source) -> dict[str, Any]:
    """Returns the run's config; of a pretrained model what is known of it."""
    if source.train_config:
        resolved = dataclasses.replace(source.train_config, generator=source.config)
        return config_lib.to_dict(resolved)
    return {"generator": config_lib.to_dict(source.config), "data": {"scale": source.scale}}
