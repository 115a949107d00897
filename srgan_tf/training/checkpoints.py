"""Saves and restores the whole state: networks, averages, optimizers, step, best so far.

Recent checkpoints lie in RUN_DIR/checkpoints/ckpt-<step>. The best generator of each stage, by
validation PSNR, lies in RUN_DIR/checkpoints/best-<stage>/: to be exported, not to be continued.
"""

import os

import numpy as np
import tensorflow as tf

from srgan_tf import errors, run_folder
from srgan_tf.training import divergence
from srgan_tf.training.state import TrainState


def latest_step(run_dir: str) -> int:
    """Returns the step of the newest checkpoint, 0 when there is none.

    Raises:
        errors.InputError: there are checkpoints, but the newest cannot be told or read: starting
            from step 0 would overwrite them.
    """
    folder = os.path.join(run_dir, run_folder.CHECKPOINTS)
    there = run_folder.checkpoint_names(run_dir)
    prefix = tf.train.latest_checkpoint(folder)
    if not prefix:
        if there:
            raise errors.InputError(
                f"{folder} holds {', '.join(there)}, but not the file `checkpoint` that names the "
                "newest (or the newest itself); copy the folder again, whole."
            )
        return 0
    try:
        return int(tf.train.load_variable(prefix, "step/.ATTRIBUTES/VARIABLE_VALUE"))
    except (tf.errors.OpError, IndexError, ValueError) as error:
        raise errors.InputError(
            f"The newest checkpoint {prefix} cannot be read ({run_folder.first_line(error)}); "
            f"there are {', '.join(there)}. To go back to an older one, name it in "
            f"{os.path.join(folder, 'checkpoint')}."
        ) from error


def _missing(prefix: str) -> tuple[str, ...]:
    """Returns the parts of the state that the checkpoint is too old to have; they keep 1."""
    known = tf.train.load_checkpoint(prefix).has_tensor(
        "learning_rate_scale/.ATTRIBUTES/VARIABLE_VALUE"
    )
    return () if known else ("learning_rate_scale",)


class Checkpoints:
    """Checkpoints of one stage; made anew when a stage begins, over the same folder."""

    def __init__(self, run_dir: str, state: TrainState, keep: int):
        """Args: the run folder, the state inside its stage, and how many recent ones are kept."""
        self._state = state
        checkpoint = state.checkpoint()
        folder = os.path.join(run_dir, run_folder.CHECKPOINTS)
        self._recent = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=keep)
        best = run_folder.best_folder(run_dir, state.stage_name)
        generators = tf.train.Checkpoint(step=state.step, **state.generators())
        self._best = tf.train.CheckpointManager(generators, best, max_to_keep=1)

    @property
    def last(self) -> str:
        """Path prefix of the newest checkpoint, or "none"."""
        return self._recent.latest_checkpoint or "none"

    def restore(self) -> None:
        """Restores the newest checkpoint; everything in it and in the state must match.

        Raises:
            errors.InputError: the checkpoint does not fit the networks and optimizers.
        """
        prefix = self._recent.latest_checkpoint
        try:
            # Restoring is silent about what it leaves out; assert_consumed is not.
            self._state.checkpoint(without=_missing(prefix)).restore(prefix).assert_consumed()
        except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
            raise errors.InputError(
                f"Checkpoint {prefix} cannot be restored: {run_folder.first_line(error)}"
            ) from error

    def save(self) -> None:
        """Saves the state under its step, unless that is saved already.

        Raises:
            divergence.Diverged: a weight is not finite; the checkpoints before stay as they are.
        """
        step = int(self._state.step.numpy())
        if self._recent.latest_checkpoint and self.last.endswith(f"ckpt-{step}"):
            return
        self._require_finite(step)
        self._recent.save(checkpoint_number=step)

    def save_if_best(self, psnr: float) -> bool:
        """Keeps the generator as the stage's best when `psnr` (dB) is above what was reached."""
        if not psnr > float(self._state.best.numpy()):
            return False
        self._state.best.assign(psnr)
        step = int(self._state.step.numpy())
        self._require_finite(step)
        self._best.save(checkpoint_number=step)
        return True

    def forget_best_after(self, step: int) -> None:
        """Removes the stage's best checkpoint if it is of a later step, which a rollback undid."""
        folder, best = self._best.directory, self._best.latest_checkpoint
        if best and int(best.rpartition("-")[2]) > step:
            tf.io.gfile.rmtree(folder)
            self._best = tf.train.CheckpointManager(self._best.checkpoint, folder, max_to_keep=1)
            self._state.best.assign(-1.0)

    def _require_finite(self, step: int) -> None:
        for network in (*self._state.generators().values(), self._state.discriminator):
            for variable in network.variables if network else ():
                if not np.isfinite(variable.numpy()).all():
                    raise divergence.Diverged(step, f"{network.name}: {variable.name}", self.last)
