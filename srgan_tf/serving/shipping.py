"""Puts a run's generator into the package as the weights of a pretrained model.

Two files are written: NAME.npz, which `models.pretrained` reads, and NAME.json, which says which
run's step, data and commits they are from. Float16 is half the size; that it costs nothing is
measured on the photos that come with the package, before anything is written.
"""

import hashlib
import json
import os
from typing import Any

import numpy as np
import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors, files, images, metrics, run_folder
from srgan_tf.models import generators, pretrained, weight_files
from srgan_tf.serving import provenance, verification

# In dB, between SR with float32 weights and with float16. Errors that have nothing in common add
# up: at 60 dB a picture of 35 dB loses 0.014.
_CLOSE_ENOUGH = 60.0


def ship(
    name: str,
    run_dir: str,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    blend: tuple[str, float] | None = None,
    folder: str = pretrained.WEIGHTS,
) -> dict[str, Any]:
    """Writes `folder`/NAME.npz and NAME.json from a run folder, and returns what NAME.json says.

    Args:
        name: a pretrained model that comes with the package.
        run_dir: the run folder.
        checkpoint: "last", "best" or a step.
        weights: "raw" or "ema"; None is "ema" where the run has it.
        blend: a pretrained model or run folder of the same generator and alpha in (0, 1): what is
            written is (1 - alpha) of it plus alpha of the run (ESRGAN's network interpolation,
            arXiv 1809.00219, equation 4); None is the run alone.
        folder: where to.

    Raises:
        errors.InputError: there is no such model, run or checkpoint, the run's generator is another
            one, or its weights are not finite or lose too much in float16; or `blend` names no
            such generator, or alpha is out of its range.
    """
    theirs = pretrained.generator_config(name)
    file_name = pretrained.PRETRAINED[name].generator
    if not file_name.endswith(".npz"):
        raise errors.InputError(f"The weights of {name} do not come with the package.")
    generator, config, step = run_folder.load_generator(run_dir, checkpoint, weights)
    changed = generators.differences(
        (theirs, pretrained.SCALE), (config.generator, config.data.scale)
    )
    if changed:
        raise errors.InputError(f"{run_dir} is not a run of {name} ({'; '.join(changed)}).")
    mixed = None
    if blend:
        mixed = {"with": _blend(generator, config, *blend), "alpha": blend[1]}
    closeness = _closeness(generator, config)
    if not closeness >= _CLOSE_ENOUGH:  # Nor where it is not a number.
        raise errors.InputError(
            f"The weights of {run_dir}, step {step}, lose too much in float16: pictures agree to "
            f"{closeness:.1f} dB only, {_CLOSE_ENOUGH:.0f} are needed."
        )
    tf.io.gfile.makedirs(folder)
    path = os.path.join(folder, file_name)
    weight_files.write_npz(path, generator)
    record = {
        "name": name,
        "source": pretrained.source(name),
        "sha256": digest(path),
        "generator": config_lib.to_dict(generators.resolve(config.generator)),
        "scale": config.data.scale,
        "recipe": config.recipe,
        "step": step,
        "steps": {stage: one.steps for stage, one in config.stages.active()},
        "batch_size": config.data.batch_size,
        "weights": run_folder.choose_weights(config, weights),
        **({"blend": mixed} if mixed else {}),
        "float16_psnr": round(closeness, 1),
        **_trained(run_dir, step),
    }
    run_folder.write_text(
        os.path.join(folder, f"{os.path.splitext(file_name)[0]}.json"),
        json.dumps(record, indent=2) + "\n",
    )
    return record


def _blend(
    generator: tf.keras.Model, config: config_lib.TrainConfig, other: str, alpha: float
) -> str:
    """Moves weights towards those of `other`: alpha is what stays of them. Says what that was."""
    if not 0 < alpha < 1:
        raise errors.InputError(f"The share of the run must be between 0 and 1, not {alpha:g}.")
    theirs, text = None, other
    if other in pretrained.PRETRAINED:
        settings, scale = pretrained.generator_config(other), pretrained.SCALE
    else:
        theirs, trained, step = run_folder.load_generator(files.expand(other))
        settings, scale = trained.generator, trained.data.scale
        text = f"step {step} of a run of {trained.recipe}"
    changed = generators.differences((settings, scale), (config.generator, config.data.scale))
    if changed:
        raise errors.InputError(f"{other} is another generator ({'; '.join(changed)}).")
    theirs = theirs or pretrained.load_generator(other)
    generator.set_weights(
        [
            (1 - alpha) * one + alpha * two
            for one, two in zip(theirs.get_weights(), generator.get_weights(), strict=True)
        ]
    )
    return text


def digest(path: str) -> str:
    """Returns the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _closeness(generator: tf.keras.Model, config: config_lib.TrainConfig) -> float:
    """Returns the PSNR, in dB, of SR with weights in float16 against SR with the run's own."""
    rounded = generators.build(config.generator, config.data.scale)
    rounded.set_weights(
        [one.astype(np.float16).astype(one.dtype) for one in generator.get_weights()]
    )
    scores = []
    for photo in verification.photos():
        one, other = (
            images.signed_to_unit(model(photo.unit, training=False))
            for model in (rounded, generator)
        )
        scores.append(float(metrics.psnr(one, other, 0)[0]))
    return min(scores)


def _trained(run_dir: str, step: int) -> dict[str, Any]:
    """Returns how it was trained; where the data lay is nobody else's business."""
    facts = provenance.of_run(run_dir, step)
    data = {key: value for key, value in (facts["data"] or {}).items() if key != "dir"}
    before = run_folder.read_config(run_dir)[1].get("initialized_from")
    # Of a run that began with another's weights: after how many of its steps.
    begun = {"initialized_from_step": before.get("step")} if before else {}
    return {**begun, **facts, "data": data}
