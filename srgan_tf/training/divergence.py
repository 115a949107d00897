"""What happens when a run's numbers are no longer finite: it stops, or goes back and tries again.

Going back (`--on_divergence=rollback`) restores the newest checkpoint and multiplies the learning
rate by `rollback_factor` from there on. The batches are the same as before; only the steps are
smaller. When the run diverges again before it could save, that checkpoint is bad itself, and the
next rollback goes to the one before it. Every rollback is recorded in config.json.
"""

import os

from absl import logging

from srgan_tf import errors, run_folder
from srgan_tf.config import RunConfig


class Diverged(errors.RunError):
    """A loss or a weight is not finite."""

    def __init__(self, step: int, what: str, last: str):
        """Args: the first step that shows it, what is not finite, the last good checkpoint."""
        super().__init__(
            f"Training diverged: {what} is not finite at step {step}. The last good checkpoint is "
            f"{last}; lower the learning rate (--pretrain_learning_rate, --gan_learning_rate) in a "
            "new --run_dir, or continue with --on_divergence=rollback, which does it."
        )
        self.step, self.what = step, what


class Rollbacks:
    """Decides about a run's rollbacks and writes them down; knows those of earlier starts."""

    def __init__(self, run_dir: str, config: RunConfig, writes: bool = True):
        """Reads those of earlier starts.

        Args:
            run_dir: the run folder, with its config.json.
            config: what it says of divergence.
            writes: whether new ones are written down: by one process of a run.
        """
        self._writes = writes
        self._run_dir, self._config = run_dir, config
        _, record = run_folder.read_config(run_dir)
        self._entries = record.get("rollbacks", [])

    @property
    def count(self) -> int:
        """How often the run was rolled back so far."""
        return len(self._entries)

    def led_to(self, step: int) -> bool:
        """Whether the last rollback led to `step`."""
        return bool(self._entries) and self._entries[-1]["back_to"] == step

    def scale_after(self, step: int) -> float | None:
        """Returns the learning rate's scale for a checkpoint from before the last rollback."""
        # What was saved since is of a later step than that to which it led.
        if not self._entries or step > self._entries[-1]["back_to"]:
            return None
        return self._entries[-1]["learning_rate_scale"]

    def roll_back(self, error: Diverged, to_step: int, learning_rate_scale: float) -> float:
        """Returns the new scale of the learning rate, or raises.

        Args:
            error: what happened.
            to_step: step of the checkpoint to go back to; 0 if there is none.
            learning_rate_scale: what the learning rate was multiplied by so far.

        Raises:
            Diverged: rollbacks are not asked for.
            errors.RunError: there is no way back, or there were too many.
        """
        if self._config.on_divergence != "rollback":
            raise error
        found = f"Training diverged: {error.what} is not finite at step {error.step}"
        if not to_step:
            raise errors.RunError(
                f"{found}, and there is no checkpoint yet to go back to: lower the learning rate "
                "(--pretrain_learning_rate), or save earlier (--checkpoint_every)."
            ) from error
        if len(self._entries) >= self._config.max_rollbacks:
            raise errors.RunError(
                f"{found}, after {len(self._entries)} rollbacks: look at metrics.csv for where it "
                "began; lower the learning rate in a new --run_dir, or raise --max_rollbacks."
            ) from error
        scale = learning_rate_scale * self._config.rollback_factor
        logging.warning(
            "Diverged at step %d: back to step %d with %g times the learning rate.",
            error.step,
            to_step,
            scale,
        )
        entry = {"diverged_at": error.step, "back_to": to_step, "learning_rate_scale": scale}
        if self._writes:
            self._write(entry)
        self._entries = [*self._entries, entry]
        return scale

    def _write(self, entry: dict[str, float]) -> None:
        with run_folder.writing(os.path.join(self._run_dir, run_folder.CONFIG)):
            run_folder.add_to_record(self._run_dir, "rollbacks", entry)
