"""What happens when a run's numbers are no longer finite: it stops, or goes back and tries again.

Going back (`--on_divergence=rollback`) restores the newest checkpoint and multiplies the learning
rate by `rollback_factor` from there on. The batches are the same as before; only the steps are
smaller. Every rollback is recorded in config.json.
"""

from absl import logging

from srgan_tf import errors, run_folder
from srgan_tf.config import RunConfig


class Diverged(errors.RunError):
    """A loss or a weight is not finite."""

    def __init__(self, step: int, what: str, last: str):
        """Args: the first step that shows it, what is not finite, the last good checkpoint."""
        super().__init__(
            f"Training diverged: {what} is not finite at step {step}. The last good checkpoint is "
            f"{last}; lower the learning rate (--pretrain_learning_rate, --gan_learning_rate) and "
            "start with a new --run_dir, or let the run do it (--on_divergence=rollback)."
        )
        self.step = step


class Rollbacks:
    """Decides about a run's rollbacks and writes them down."""

    def __init__(self, run_dir: str, config: RunConfig):
        """Args: the run folder, and what the config says of divergence."""
        self._run_dir, self._config = run_dir, config
        self._left = config.max_rollbacks

    def roll_back(self, error: Diverged, to_step: int, learning_rate_scale: float) -> float:
        """Returns the new scale of the learning rate, or raises `error` again.

        Args:
            error: what happened.
            to_step: step of the newest checkpoint; 0 if there is none to go back to.
            learning_rate_scale: what the learning rate was multiplied by so far.
        """
        if self._config.on_divergence != "rollback" or not to_step:
            raise error
        if not self._left:
            logging.error("Went back %d times, in vain.", self._config.max_rollbacks)
            raise error
        self._left -= 1
        scale = learning_rate_scale * self._config.rollback_factor
        logging.warning(
            "Diverged at step %d: back to step %d with %g times the learning rate.",
            error.step,
            to_step,
            scale,
        )
        entry = {"diverged_at": error.step, "back_to": to_step, "learning_rate_scale": scale}
        run_folder.add_to_record(self._run_dir, "rollbacks", entry)
        return scale
