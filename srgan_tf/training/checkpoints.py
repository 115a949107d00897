"""Saves and restores the whole state: networks, averages, optimizers, step, best so far.

Recent checkpoints lie in RUN_DIR/checkpoints/ckpt-<step>. The best generator of each stage, by
`best_metric` on the validation images, lies in RUN_DIR/checkpoints/best-<stage>/: to be exported,
not to be continued. What makes one count, and how damage is found, is in checkpoint_files.py.
"""

import contextlib
import os
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

import srgan_tf
from srgan_tf import checkpoint_files, errors, files, run_folder
from srgan_tf.config import BEST_METRICS
from srgan_tf.training import divergence, environment, older
from srgan_tf.training import team as team_lib
from srgan_tf.training.state import NO_SCORE, TrainState

# TensorFlow's file system in memory, of one process.
_NOWHERE = "ram://srgan_tf/ckpt"


def latest_step(run_dir: str) -> int:
    """Returns the step of the newest intact checkpoint, 0 when there is none.

    Raises:
        errors.InputError: there are checkpoints, but all are damaged.
    """
    prefix = run_folder.newest_intact(run_dir)
    return checkpoint_files.step_of(prefix) if prefix else 0


def step_before(run_dir: str, step: int) -> int:
    """Returns the step of the newest intact checkpoint before that of `step`; 0: there is none."""
    folder = os.path.join(run_dir, run_folder.CHECKPOINTS)
    for earlier in reversed(run_folder.valid_steps(run_dir)):
        prefix = checkpoint_files.prefix_of(folder, earlier)
        if earlier < step and checkpoint_files.fault(prefix) is None:
            return earlier
    return 0


class Checkpoints:
    """Checkpoints of one stage; made anew when a stage begins, over the same folder."""

    def __init__(
        self,
        run_dir: str,
        state: TrainState,
        keep: int,
        rollbacks: int = 0,
        team: team_lib.Team | None = None,
    ):
        """Describes where and what is saved.

        Args:
            run_dir: the run folder.
            state: inside its stage.
            keep: how many recent ones are kept.
            rollbacks: how often the run was rolled back so far; see `run_folder.valid_steps`.
            team: the processes of the run; all of them save, and the first one writes.
        """
        self._team = team or team_lib.Team(tf.distribute.get_strategy())
        self._state, self._keep, self._rollbacks = state, keep, rollbacks
        self._metric = state.config.run.best_metric
        self._run_dir = run_dir
        self._folder = os.path.join(run_dir, run_folder.CHECKPOINTS)
        self._best_folder = run_folder.best_folder(run_dir, state.stage_name)
        self._whole = state.checkpoint()
        self._generators = tf.train.Checkpoint(step=state.step, **state.generators())
        # What is saved and need not be again: steps of this run, as it goes on from here.
        self._saved: int | None = None

    @property
    def last(self) -> str:
        """Path prefix of the newest checkpoint of what was run, or "none"."""
        steps = checkpoint_files.complete(self._folder)
        now = int(self._state.step.numpy())
        steps = [step for step in steps if step <= now]
        return checkpoint_files.prefix_of(self._folder, steps[-1]) if steps else "none"

    def restore(self, step: int) -> dict[str, Any] | None:
        """Restores the checkpoint of `step`; everything in it and in the state must match.

        Returns:
            The row of metrics.csv whose validation is still to be made (`save`), None if none is.

        Raises:
            errors.InputError: the checkpoint does not fit the networks and optimizers.
        """
        prefix = checkpoint_files.prefix_of(self._folder, step)
        facts = checkpoint_files.facts(prefix)
        try:
            older.restore(self._state, prefix)
        except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
            writer = facts.get("package_version", "an earlier version")
            raise errors.InputError(
                f"Checkpoint {prefix} (written by srgan_tf {writer}) cannot be restored: "
                f"{run_folder.first_line(error)}"
            ) from error
        self._saved = step
        metric = facts.get("best_metric", "psnr_y")
        if metric != self._metric:
            logging.warning(
                "The best was chosen by %s so far, from now on by %s: the next validation is the "
                "best of this stage until a better one.",
                metric,
                self._metric,
            )
            self._state.best.assign(NO_SCORE)
        return facts.get("pending")

    def save(self, pending: dict[str, Any] | None = None, again: bool = False) -> None:
        """Saves the state under its step, unless that is saved already.

        Args:
            pending: a row of metrics.csv that waits for its validation, which was interrupted.
            again: save even if it is saved (and another checkpoint is there meanwhile).

        Raises:
            divergence.Diverged: a number is not finite; the checkpoints before stay as they are.
            errors.RunError: it cannot be written; the checkpoints before stay as they are.
        """
        step = int(self._state.step.numpy())
        if step == self._saved:
            others = again and self._team.first and len(checkpoint_files.complete(self._folder)) > 1
            if not (again and self._team.from_first(others)):
                return
        facts = {"pending": pending} if pending else {}
        # It is saved once more after its validation, for which there must be another meanwhile.
        keep = max(self._keep, 2) if pending else self._keep
        self._write(self._whole, self._folder, facts, keep=keep)
        self._saved = step

    def save_if_best(self, scores: dict[str, float]) -> bool:
        """Keeps the generator as the stage's best when its score is better than all before."""
        score = scores[self._metric]
        worth = score if BEST_METRICS[self._metric] else -score
        if not worth > float(self._state.best.numpy()):
            return False
        self._state.best.assign(worth)
        self._write(self._generators, self._best_folder, {"score": score}, keep=1)
        return True

    def forget_best_after(self, step: int) -> None:
        """Removes the stage's best checkpoint if it is of a later step, which a rollback undid."""
        later = self._team.first and any(
            best > step for best in checkpoint_files.complete(self._best_folder)
        )
        if self._team.from_first(later):
            if self._team.first:
                tf.io.gfile.rmtree(self._best_folder)
            self._state.best.assign(NO_SCORE)

    def _write(
        self, checkpoint: tf.train.Checkpoint, folder: str, facts: dict[str, Any], keep: int
    ) -> None:
        step = int(self._state.step.numpy())
        if not self._team.first:
            self._write_nowhere(checkpoint, step)
            return
        prefix = checkpoint_files.prefix_of(folder, step)
        with run_folder.writing(f"Checkpoint {prefix}"):
            checkpoint_files.prepare(folder)
            checkpoint_files.remove(prefix)
            try:
                # Not counted up, but part of what earlier versions and TensorFlow's manager read.
                _ = checkpoint.save_counter
                with self._team.lost_is_one_line():  # To read some variables asks the others.
                    checkpoint.write(prefix)
                self._require_finite(prefix, step)
                checkpoint_files.seal(prefix, {**self._facts(step), **facts})
            except Exception:
                if not tf.io.gfile.exists(f"{prefix}.json"):
                    with contextlib.suppress(OSError, tf.errors.OpError):
                        checkpoint_files.remove(prefix)
                raise
            self._keep_newest(folder, step, keep)

    def _write_nowhere(self, checkpoint: tf.train.Checkpoint, step: int) -> None:
        """Takes part in a save: to read some variables all processes must take part.

        What it reads goes to memory, so that a process that is killed leaves nothing behind.
        """
        _ = checkpoint.save_counter
        checkpoint.write(_NOWHERE)
        try:
            self._require_finite(_NOWHERE, step)
        finally:
            tf.io.gfile.rmtree(os.path.dirname(_NOWHERE))

    def _keep_newest(self, folder: str, step: int, keep: int) -> None:
        """Removes older ones, those of undone or repeated steps after `step`, and strays."""
        there = checkpoint_files.complete(folder)
        # What a rollback undid must not take the place of what counts.
        valid = set(run_folder.valid_steps(self._run_dir) if folder == self._folder else there)
        kept = [other for other in there if other <= step and other in valid][-keep:]
        # For TensorFlow's own tools; this package goes by the sidecars.
        lines = [f'model_checkpoint_path: "ckpt-{step}"\n']
        lines += [f'all_model_checkpoint_paths: "ckpt-{other}"\n' for other in kept]
        files.write_atomically(os.path.join(folder, "checkpoint"), ["".join(lines).encode()])
        for other in set(there) - set(kept):
            checkpoint_files.remove(checkpoint_files.prefix_of(folder, other))
        checkpoint_files.remove_strays(folder)

    def _facts(self, step: int) -> dict[str, Any]:
        versions = environment.versions()
        return {
            "step": step,
            "stage": self._state.stage_name,
            "package_version": srgan_tf.__version__,
            "versions": {name: versions[name] for name in ("tensorflow", "keras")},
            "rollbacks": self._rollbacks,
            "best_metric": self._metric,
        }

    def _require_finite(self, prefix: str, step: int) -> None:
        """Reads back what was written: weights, averages, optimizers' slots, of any optimizer."""
        for name, value in checkpoint_files.variables(prefix):
            # bfloat16 is of NumPy's kind V.
            if value.dtype.kind in "fV" and not np.isfinite(value).all():
                if self._team.first:
                    checkpoint_files.remove(prefix)
                raise divergence.Diverged(step, name, self.last)
