"""Writes a TensorBoard profile of some steps (`--profile=FROM,TO`) into RUN_DIR/summaries."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from srgan_tf.config import RunConfig


class Profiler:
    """Runs TensorFlow's profiler while the steps of `config.profile` are made."""

    def __init__(self, run_dir: str, config: RunConfig):
        """Args: the run folder, and the config that names the steps."""
        self._folder = os.path.join(run_dir, "summaries")
        self._first, self._last = config.profile or (0, -1)
        self._running = False

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Makes what happens within it part of the profile if step `number` is asked for.

        On a GPU the last of the steps is cut where Python had given its orders.
        """
        if not self._first <= number <= self._last:
            yield
            return
        if not self._running:
            tf.profiler.experimental.start(self._folder)
            self._running = True
        with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
            yield
        if number == self._last:
            self.close()

    def close(self) -> None:
        """Writes the profile if one is running: after its last step, or when the run stops."""
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()
            logging.info("Profile: tensorboard --logdir=%s", self._folder)
