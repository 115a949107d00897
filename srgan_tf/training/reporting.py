"""What a run tells people: metrics.csv, TensorBoard, the progress line, the curve at the end."""

import csv
import io
import os
import socket
import time

import numpy as np
import tensorflow as tf

from srgan_tf import errors, files, run_folder, terminal
from srgan_tf.config import TrainConfig
from srgan_tf.training import validation


def columns(config: TrainConfig) -> list[str]:
    """Returns the columns of metrics.csv: the same for all stages; what a stage lacks is empty."""
    stages = config.stages
    generator_stages = [stage for stage in (stages.pretrain, stages.gan) if stage.steps]
    names = ["stage", "step", "learning_rate"]
    if generator_stages:
        names.append("generator_loss")
        terms = dict.fromkeys(name for stage in generator_stages for name, _ in stage.content)
        names += [f"content_{name}" for name in terms]
        if any(stage.tv_weight for stage in generator_stages):
            names.append("tv")
    if stages.gan.steps:
        names.append("adversarial")
    if config.adversarial:
        names += ["discriminator_loss", "real_accuracy", "fake_accuracy"]
        if any(stage.steps and stage.r1_weight for stage in (stages.discriminator, stages.gan)):
            names.append("r1")
    return [*names, *(f"validation_{name}" for name in validation.SCORES)]


class MetricsFile:
    """metrics.csv: a row each logged step, the values of exactly that step (no averages).

    So the rows depend on the state alone, and a continued run writes the rows that one without a
    break would have written.
    """

    def __init__(self, run_dir: str, config: TrainConfig, start_step: int):
        """Keeps the rows up to `start_step`, which the checkpoint holds; later ones come again."""
        self._path = os.path.join(run_dir, run_folder.METRICS)
        self._columns = columns(config)
        header = dict(zip(self._columns, self._columns, strict=True))
        try:
            kept = [
                row for row in run_folder.read_metrics(run_dir) if int(row["step"]) <= start_step
            ]
            rows = "".join(map(self._format, [header, *kept]))
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise errors.InputError(
                f"{self._path} cannot be read as the rows of this run "
                f"({run_folder.first_line(error)}): mend it, or move it away to begin a new one."
            ) from error
        with run_folder.writing(self._path):
            run_folder.write_text(self._path, rows)

    def append(self, row: dict[str, object]) -> None:
        """Adds a row; floats are written so that they read back as the same numbers."""
        with run_folder.writing(self._path), tf.io.gfile.GFile(self._path, "a") as file:
            file.write(self._format(row))

    def sync(self) -> None:
        """Waits for the disk: a checkpoint must not be there without the rows before it."""
        with run_folder.writing(self._path):
            files.sync(self._path)

    def _format(self, row: dict[str, object]) -> str:
        line = io.StringIO()
        csv.DictWriter(line, self._columns, lineterminator="\n").writerow(row)
        return line.getvalue()


class Progress:
    """One line with step, losses, rate and remaining time, over all stages."""

    def __init__(self, total: int, start_step: int, shown: bool = True):
        """Args: updates over all stages, how many of them are done, and whether to show it."""
        self._bar = terminal.progress(
            total=total, desc="training", unit="step", initial=start_step, disable=not shown
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, stage: str, scalars: dict[str, float] | None) -> None:
        """Counts a step; `scalars` are shown when they were looked at."""
        if scalars:
            shown = {name: f"{value:.4g}" for name, value in scalars.items()}
            self._bar.set_description_str(stage, refresh=False)
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(1)


class Summaries:
    """TensorBoard scalars and pictures: summaries/train and summaries/eval."""

    def __init__(self, run_dir: str, start_step: int):
        """Args: the run folder, and the step to go on from: what was shown of later ones goes."""
        self._folder = os.path.join(run_dir, "summaries")
        train, evaluation = (os.path.join(self._folder, name) for name in ("train", "eval"))
        with run_folder.writing(self._folder):
            for folder in (train, evaluation):
                _forget_after(folder, start_step)
            self._train = tf.summary.create_file_writer(train)
            self._eval = tf.summary.create_file_writer(evaluation)

    def train(self, step: int, scalars: dict[str, float]) -> None:
        """Writes training scalars."""
        with run_folder.writing(self._folder), self._train.as_default():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, step=step)

    def evaluation(self, step: int, scores: dict[str, float], picture: np.ndarray) -> None:
        """Writes validation scores and the sample sheet (uint8 `[H, W, 3]`)."""
        with run_folder.writing(self._folder):
            with self._eval.as_default():
                for name, value in scores.items():
                    tf.summary.scalar(name, value, step=step)
                tf.summary.image("bicubic | SR | HR", picture[np.newaxis], step=step)
            self._train.flush()
            self._eval.flush()

    def close(self) -> None:
        """Flushes and closes both writers."""
        with run_folder.writing(self._folder):
            self._train.close()
            self._eval.close()


def _forget_after(folder: str, step: int) -> None:
    """Makes TensorBoard drop what earlier files of `folder` show of steps after `step`.

    It does so at a SessionLog START event; tf.summary has no call for it. The event is a file of
    its own, which sorts after the files of earlier seconds and before that of this process.
    """
    files_there = tf.io.gfile.glob(os.path.join(folder, "events.out.tfevents.*"))
    if not files_there:
        return
    times = [os.path.basename(path).split(".")[3] for path in files_there]
    newest = max([int(text) for text in times if text.isdigit()], default=0)
    wait = newest + 1 - time.time()
    if 0 < wait <= 1:  # After a rollback in the first second; not for another machine's clock.
        time.sleep(wait)
    now = time.time()
    # "+" sorts before the digit that TensorFlow's names have there.
    name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.+start.v2"
    start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    with tf.io.TFRecordWriter(os.path.join(folder, name)) as file:
        restart = tf.compat.v1.Event(wall_time=now, step=step + 1, session_log=start)
        # The first START that TensorBoard meets is no restart to it; the second always is.
        for event in (
            tf.compat.v1.Event(wall_time=now, file_version="brain.Event:2"),
            *[restart] * 2,
        ):
            file.write(event.SerializeToString())
