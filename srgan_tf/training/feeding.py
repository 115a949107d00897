"""Feeds training with batches; finds, counts and replaces bad records when reading fails.

Reading stays as fast as it can be: nothing is checked in advance but each shard's size. When it
fails, every record is looked at, those that are bad are named, and the run either stops or goes on
at the same step with others in their place (`max_bad_records`). The list is kept in the run folder,
so a run that is continued sees the batches that it would have seen.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import logging

from srgan_tf import errors, run_folder
from srgan_tf.config import DataConfig, TrainConfig
from srgan_tf.data import faults, pipeline, records, scan
from srgan_tf.training import team as team_lib
from srgan_tf.training import waiting

# Bad records are named in the log one by one, up to so many lines.
_MAX_LINES = 20


class BadData(errors.RunError):
    """Reading failed and the run may not go on; the state up to here is worth saving."""


class Feed:
    """The training data of a run: its split, and what of it is bad."""

    def __init__(self, config: TrainConfig, *, data_dir: str, run_dir: str):
        """Opens the data set; writes nothing.

        Raises:
            errors.InputError: there is no such data set, or more of it is bad than is allowed.
        """
        self._config, self._path = config, os.path.join(run_dir, faults.FILE)
        self._allowed = config.run.max_bad_records
        self.split = records.open_split(data_dir, "train", damaged=self._allowed > 0)
        self.clock = waiting.Clock()
        known = self._read()
        if self._allowed and records.damage_of(data_dir, "train"):
            logging.warning("The data set in %s is damaged; checking every record.", data_dir)
            known = faults.merge(known, scan.scan(self.split, min_side=config.data.crop_size))
        if faults.total(known) > self._allowed:
            listed = "" if self._allowed else f" by the list of an earlier start, {self._path}"
            raise errors.InputError(
                self._too_many(known, listed)
                + (f" If the data are whole again, remove {self._path}." if listed else "")
            )
        self.split = dataclasses.replace(self.split, bad=known)

    def batches(
        self,
        team: team_lib.Team,
        data: DataConfig,
        step: int,
        before_search: Callable[[], None] = lambda: None,
    ) -> Iterator[pipeline.Pair]:
        """Yields the batches of the updates `step` + 1, `step` + 2, ...

        `before_search` is called before all records are searched for bad ones, which can take
        long: what was trained is better saved by then.

        Raises (while iterating):
            BadData: more records are bad than is allowed, or reading fails without a bad record.
        """
        failed_before = -1
        if self.split.bad and team.first:
            self._write()
        part = data.batch_size // team.count
        self.clock.restart()
        while True:
            try:
                dataset = pipeline.training_dataset(
                    self.split,
                    data,
                    seed=self._config.seed,
                    start_step=step,
                    part=(team.index, team.count),
                )
                iterator = team.batches(dataset, part)
                while True:
                    yield self.clock.fetch(iterator)
                    step += 1
            except scan.READ_ERRORS as error:
                if team.count > 1:  # The others are in the midst of a step.
                    raise BadData(self._one_of_several(error, step)) from error
                before_search()
                self._recover(error, step, again=failed_before == step)
                failed_before = step
                self.clock.restart()

    def _recover(self, error: Exception, step: int, *, again: bool) -> None:
        """Finds out what is bad and takes it out of the split, or raises."""
        reason = scan.reason_of(error)
        logging.warning("Step %d: the data cannot be read (%s); checking all.", step + 1, reason)
        found = scan.scan(self.split, min_side=self._config.data.crop_size)
        bad = faults.merge(self.split.bad, found)
        if bad == self.split.bad:
            if again:
                raise BadData(
                    f"The data set in {self.split.data_dir} cannot be read at step {step + 1} "
                    f"({reason}), twice, though no record was found bad: look at disk and network."
                ) from error
            logging.warning("No record was found bad; trying once more.")
            return
        for fault in bad[:_MAX_LINES]:
            logging.warning("Bad: %s", faults.describe(self.split.files, fault))
        if faults.total(bad) > self._allowed:
            raise BadData(self._too_many(bad)) from error
        logging.warning("Going on with others in the place of %d bad records.", faults.total(bad))
        self.split = dataclasses.replace(self.split, bad=bad)
        self._write()

    def _one_of_several(self, error: Exception, step: int) -> str:
        return (
            f"the data set in {self.split.data_dir} cannot be read at step {step + 1} "
            f"({scan.reason_of(error)}). Among several workers bad records are not replaced; start "
            "one worker alone with --max_bad_records, which lists them in the run folder, then all."
        )

    def _too_many(self, bad: tuple[faults.Fault, ...], listed: str = "") -> str:
        return (
            f"the data set in {self.split.data_dir} has {faults.summary(self.split.files, bad)}"
            f"{listed}, "
            f"more than --max_bad_records={self._allowed}; copy or prepare it again (srgan-prepare "
            f"--verify lists what is bad), or go on without them "
            f"(--max_bad_records={faults.total(bad)})."
        )

    def _read(self) -> tuple[faults.Fault, ...]:
        if not tf.io.gfile.exists(self._path):
            return ()
        with tf.io.gfile.GFile(self._path) as file:
            text = file.read()
        try:
            return faults.from_json(text, self.split.fingerprint, self.split.files)
        except (KeyError, TypeError, ValueError) as error:
            raise errors.InputError(
                f"{self._path} cannot be read as a list of bad records: {error!r}."
            ) from error

    def _write(self) -> None:
        text = faults.to_json(self.split.fingerprint, self.split.files, self.split.bad)
        with run_folder.writing(self._path):
            run_folder.write_text(self._path, text)
