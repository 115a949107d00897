"""Writes a TensorBoard profile of some steps (`--profile=FROM,TO`) into RUN_DIR/summaries."""

import contextlib
import os
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import logging

from srgan_tf.config import RunConfig


class Profiler:
    """Runs TensorFlow's profiler while the steps of `config.profile` are made."""

    def __init__(self, run_dir: str, config: RunConfig, enabled: bool = True):
        """Args: the run folder, the config that names the steps, and whether to take a profile."""
        self._folder = os.path.join(run_dir, "summaries")
        self._first, self._last = (enabled and config.profile) or (0, -1)
        self._running = self._tried = False

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Makes what happens within it part of the profile if step `number` is asked for.

        On a GPU the last of the steps is cut where Python had given its orders.
        """
        if not self._first <= number <= self._last:
            yield
            return
        if not self._running:
            self._tried = True
            self._running = self._try(tf.profiler.experimental.start, self._folder)
            if not self._running:
                self._last = -1
                yield
                return
        with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
            yield
        if number == self._last:
            self.close()

    def close(self) -> None:
        """Writes the profile if one is running: after its last step, or when the run stops."""
        if self._last >= self._first and not self._tried:
            logging.warning("No profile: steps %d to %d were not made.", self._first, self._last)
        if self._running:
            self._running = False
            if self._try(tf.profiler.experimental.stop):
                logging.info("Profile: tensorboard --logdir=%s", self._folder)

    def _try(self, action: Callable[..., None], *arguments: str) -> bool:
        """A profile that cannot be had does not end a training."""
        try:
            action(*arguments)
        except (OSError, tf.errors.OpError) as error:
            logging.warning("No profile: %s", str(error).splitlines()[0])
            return False
        return True
