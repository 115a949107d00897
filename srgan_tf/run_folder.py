"""A training run's folder: where its parts lie, its config.json, and its generator.

`config.json` is written by the trainer when the run begins; export, evaluation and upscaling read
everything that they need from it, so a checkpoint is never rebuilt with other hyper-parameters.
"""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import tensorflow as tf
from absl import logging

import srgan_tf
from srgan_tf import checkpoint_files, errors, files
from srgan_tf import config as config_lib
from srgan_tf.config import TrainConfig
from srgan_tf.models import generators

CONFIG = "config.json"
METRICS = "metrics.csv"
CHECKPOINTS = "checkpoints"
# What the moving average of the generator is called in checkpoints.
AVERAGED = "averaged_generator"


def is_run_folder(path: str) -> bool:
    """Whether `path` holds a config.json of this package's trainer."""
    return tf.io.gfile.exists(os.path.join(path, CONFIG))


def write_config(run_dir: str, config: TrainConfig, **facts: Any) -> None:
    """Writes config.json; `facts` (data, environment) are recorded beside the config."""
    record = {
        "package_version": srgan_tf.__version__,
        "recipe": config.recipe,
        "config": config_lib.to_dict(config),
        **facts,
    }
    write_text(os.path.join(run_dir, CONFIG), json.dumps(record, indent=2) + "\n")


def add_to_record(run_dir: str, name: str, entry: dict[str, Any]) -> None:
    """Appends `entry` to the list `name` of config.json, where later starts keep it."""
    path = os.path.join(run_dir, CONFIG)
    with tf.io.gfile.GFile(path) as file:
        record = json.loads(file.read())
    record[name] = [*record.get(name, []), entry]
    write_text(path, json.dumps(record, indent=2) + "\n")


def read_config(run_dir: str) -> tuple[TrainConfig, dict[str, Any]]:
    """Returns the run's config and the whole record of config.json.

    Raises:
        errors.InputError: there is no config.json, or it cannot be read.
    """
    path = os.path.join(run_dir, CONFIG)
    if not tf.io.gfile.exists(path):
        raise errors.InputError(f"{run_dir} is not a run folder: it has no {CONFIG}.")
    with tf.io.gfile.GFile(path) as file:
        text = file.read()
    try:
        record = json.loads(text)
        return config_lib.from_dict(TrainConfig, record["config"], path), record
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise errors.InputError(f"{path} cannot be read as a config: {error}.") from error


def read_metrics(run_dir: str) -> list[dict[str, str]]:
    """Returns the complete rows of metrics.csv; empty when there is none yet."""
    path = os.path.join(run_dir, METRICS)
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        text = file.read()
    # A kill can cut the last line short, even within its last number.
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))


def find_checkpoint(run_dir: str, which: str = "last") -> str:
    """Returns the prefix of an intact checkpoint: the last, the best of the last stage, a step's.

    Raises:
        errors.InputError: there is none (the message lists what is there), or it is damaged. A
            damaged last one is warned about, and the one before is taken.
    """
    folder = os.path.join(run_dir, CHECKPOINTS)
    if which == "last":
        found = newest_intact(run_dir)
    elif which == "best":
        found = _best_checkpoint(run_dir)
    elif which.isdigit():
        there = int(which) in checkpoint_files.complete(folder)
        found = checkpoint_files.prefix_of(folder, int(which)) if there else None
    else:
        raise errors.InputError(f"--checkpoint must be last, best or a step, not {which!r}.")
    if not found:
        there = ", ".join(checkpoint_names(run_dir)) or "none yet"
        raise errors.InputError(f"{run_dir} has no checkpoint {which!r}; there are: {there}.")
    fault = checkpoint_files.fault(found) if which != "last" else None
    if fault:
        raise errors.InputError(
            f"Checkpoint {found} is damaged: {fault}; choose another with --checkpoint, or copy it "
            "again."
        )
    return found


def newest_intact(run_dir: str) -> str | None:
    """Returns the prefix of the newest checkpoint that is whole, None if none was ever saved.

    Checkpoints that a rollback has undone do not count. Damaged ones are warned about.

    Raises:
        errors.InputError: all are damaged; the message names them.
    """
    folder, faults = os.path.join(run_dir, CHECKPOINTS), []
    for step in reversed(valid_steps(run_dir)):
        prefix = checkpoint_files.prefix_of(folder, step)
        fault = checkpoint_files.fault(prefix)
        if fault is None:
            return prefix
        logging.warning("Checkpoint %s is damaged: %s; it is passed over.", prefix, fault)
        faults.append(fault)
    if faults:
        raise errors.InputError(
            f"No checkpoint in {folder} is intact ({'; '.join(faults)}): copy the folder again, or "
            "begin anew in another --run_dir (--init_from with --init_checkpoint=best takes this "
            "run's best generator along, if that is intact)."
        )
    return None


def valid_steps(run_dir: str) -> list[int]:
    """Returns the steps of the checkpoints that count and that no rollback has undone."""
    folder = os.path.join(run_dir, CHECKPOINTS)
    steps, rollbacks = checkpoint_files.complete(folder), _rollbacks(run_dir)
    return [step for step in steps if not (rollbacks and _undone(folder, step, rollbacks))]


def _undone(folder: str, step: int, rollbacks: list[dict[str, Any]]) -> bool:
    """Whether a rollback that the checkpoint does not know yet led to before it."""
    try:
        known = checkpoint_files.facts(checkpoint_files.prefix_of(folder, step))
    except ValueError:
        return False  # Damaged; that is found where it is read.
    # Older versions removed what they undid, and wrote no count.
    since = rollbacks[known.get("rollbacks", len(rollbacks)) :]
    return any(step > entry["back_to"] for entry in since)


def _rollbacks(run_dir: str) -> list[dict[str, Any]]:
    return read_config(run_dir)[1].get("rollbacks", []) if is_run_folder(run_dir) else []


def checkpoint_names(run_dir: str) -> list[str]:
    """Returns the names of the recent checkpoints that are there, the oldest first."""
    folder = os.path.join(run_dir, CHECKPOINTS)
    return [f"ckpt-{step}" for step in checkpoint_files.complete(folder)]


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Makes a failure to write `path` one line that says what is kept.

    Raises:
        errors.RunError: the disk is full, may not be written to, is gone, ...
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise errors.RunError(
            f"{path} cannot be written: {checkpoint_files.reason(error)}. Make room (or mend the "
            "folder) and give the same command again: checkpoints that are there stay intact, and "
            "it continues from the last one."
        ) from error


def check_keras(run_dir: str, record: dict[str, Any]) -> None:
    """Refuses a run of the other Keras: its checkpoints name the same weights differently.

    Raises:
        errors.InputError: the run was trained under another major version of Keras.
    """
    # Not tf.keras.__version__, which TensorFlow 2.15 does not have.
    here = metadata.version("keras")
    trained = record.get("environment", {}).get("versions", {}).get("keras") or here
    if trained.split(".")[0] != here.split(".")[0]:
        raise errors.InputError(
            f"{run_dir} was trained under Keras {trained}, this is Keras {here}: "
            "use the Python that it was trained with, or export it there (srgan-export); a "
            "SavedModel works under both."
        )


def first_line(error: Exception) -> str:
    """Returns the first line of an exception's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def best_folder(run_dir: str, stage: str) -> str:
    """Where the best checkpoint of a stage is kept (PSNR falls when the GAN stage begins)."""
    return os.path.join(run_dir, CHECKPOINTS, f"best-{stage}")


def choose_weights(config: TrainConfig, weights: str | None = None) -> str:
    """Returns which weights `weights` means: "raw" or "ema", the moving average of a run.

    Args:
        config: the run's.
        weights: one of both; None is "ema" where the run has it.

    Raises:
        errors.InputError: "ema" is asked for, but the run has none; or it is neither.
    """
    if weights not in (None, "raw", "ema"):
        raise errors.InputError(f"--weights must be raw or ema, not {weights!r}.")
    if weights == "ema" and not config.ema_decay:
        raise errors.InputError(
            "--weights=ema: this run keeps no moving average of its weights (it was trained with "
            "--ema_decay=0); leave --weights out."
        )
    return weights or ("ema" if config.ema_decay else "raw")


def load_generator(
    run_dir: str, which: str = "last", weights: str | None = None
) -> tuple[tf.keras.Model, TrainConfig, int]:
    """Builds the run's generator and restores it.

    Args:
        run_dir: the run folder.
        which: "last", "best" (of the last stage that has one) or a step.
        weights: "raw" or "ema"; see `choose_weights`.

    Returns:
        The generator (lr `[B, h, w, 3]` in [0, 1] to sr in [-1, 1]), the config, and the step.

    Raises:
        errors.InputError: no run folder, no such checkpoint, or one that does not fit.
    """
    config, record = read_config(run_dir)
    check_keras(run_dir, record)
    weights = choose_weights(config, weights)
    prefix = find_checkpoint(run_dir, which)
    generator = generators.build(config.generator, config.data.scale)
    step = tf.Variable(0, dtype=tf.int64)
    try:
        name = AVERAGED if weights == "ema" else "generator"
        status = tf.train.Checkpoint(step=step, **{name: generator}).restore(prefix)
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
        raise errors.InputError(
            f"Checkpoint {prefix} cannot be restored: {first_line(error)}"
        ) from error
    return generator, config, int(step.numpy())


def write_text(path: str, text: str) -> None:
    """Writes a file atomically: whole or not at all, whatever fails meanwhile."""
    files.write_atomically(path, [text.encode()], durable=True)


def _best_checkpoint(run_dir: str) -> str | None:
    config, _ = read_config(run_dir)
    for stage, _ in reversed(config.stages.active()):
        folder = best_folder(run_dir, stage)
        steps = checkpoint_files.complete(folder)
        if steps:
            return checkpoint_files.prefix_of(folder, steps[-1])
    return None
