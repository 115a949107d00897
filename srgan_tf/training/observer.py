"""What is seen of a run: rows, summaries, validation, samples, the doctor's remarks."""

import os
from typing import Any

from absl import logging

from srgan_tf import run_folder
from srgan_tf.config import TrainConfig
from srgan_tf.training import checkpoints as checkpoints_lib
from srgan_tf.training import doctor, reporting, stopping, validation, waiting


class Observer:
    """Writes what people look at; the state of the run is none of its business."""

    def __init__(
        self,
        run_dir: str,
        config: TrainConfig,
        start: int,
        validator: validation.Validator,
        clock: waiting.Clock,
    ):
        """Begins at step `start`: what was written of later steps comes again.

        Args:
            run_dir: the run folder.
            config: the run's.
            start: step of the checkpoint that the run continues from, or 0.
            validator: scores the generator.
            clock: knows how long the run waited for data.
        """
        self._run_dir, self._config = run_dir, config
        self._validator, self._clock = validator, clock
        self._doctor = doctor.Doctor(config) if config.run.doctor else None
        self.rewrite_after(start)
        self._summaries = reporting.Summaries(run_dir, start)
        self.interrupted = False  # Whether a validation was, because the run is to stop.

    def go_back(self, step: int) -> None:
        """Takes back what was written after `step`."""
        self.rewrite_after(step)
        self._summaries.close()
        self._summaries = reporting.Summaries(self._run_dir, step)

    def rewrite_after(self, step: int) -> None:
        """Takes the rows after `step` out of metrics.csv; the doctor knows those that are left."""
        self._metrics = reporting.MetricsFile(self._run_dir, self._config, step)
        if self._doctor:
            path = os.path.join(self._run_dir, run_folder.METRICS)
            self._doctor.recall(run_folder.read_metrics(self._run_dir), path)

    def scalars(self, row: dict[str, Any], values: dict[str, float], *, summarized: bool) -> None:
        """Looks at the scalars of a step; `row` has them for metrics.csv, with what names them."""
        if summarized:
            # Not in metrics.csv: time differs from run to run.
            waited = self._clock.observe()
            rate = {"learning_rate": row["learning_rate"]}
            self._summaries.train(row["step"], {**values, **rate, **waited})

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row to metrics.csv; the doctor sees what stands there and nothing else."""
        self._metrics.append(row)
        if self._doctor:
            self._doctor.observe(row)

    def validate(
        self,
        row: dict[str, Any],
        checkpoints: checkpoints_lib.Checkpoints,
        stop: stopping.StopRequest,
    ) -> bool:
        """Validates and writes the row; a run that must stop meanwhile does both next time.

        Returns:
            Whether it is done.
        """
        scores = self._validator.evaluate(lambda: bool(stop.signal))
        if scores is None:
            self.sync()
            checkpoints.save(pending=row)
            self.interrupted = True
            return False
        self._show(row["step"], scores, checkpoints)
        scored = {f"validation_{name}": value for name, value in scores.items()}
        self.append({**row, **scored})
        return True

    def _show(
        self, step: int, scores: dict[str, float], checkpoints: checkpoints_lib.Checkpoints
    ) -> None:
        sheet = self._validator.sample_sheet()
        path = os.path.join(self._run_dir, "samples", f"step-{step:07d}.png")
        validation.write_png(path, sheet)
        self._summaries.evaluation(step, scores, sheet)
        best = checkpoints.save_if_best(scores)
        logging.info(
            "Step %d: validation PSNR %.2f dB, SSIM %.4f (Y)%s; %s",
            step,
            scores["psnr_y"],
            scores["ssim_y"],
            ", the best of this stage" if best else "",
            path,
        )

    def sync(self) -> None:
        """Makes sure that the rows are on the disk; call before a checkpoint is saved."""
        self._metrics.sync()

    def close(self) -> None:
        """Closes what is open."""
        self._summaries.close()


class Silent:
    """What an `Observer` is in the other processes of a run: it takes part and writes nothing."""

    def __init__(self, run_dir, config, start, validator, clock):
        """Takes what `Observer` takes."""
        del run_dir, config, start, clock
        self._validator, self.interrupted = validator, False

    def validate(
        self,
        row: dict[str, Any],
        checkpoints: checkpoints_lib.Checkpoints,
        stop: stopping.StopRequest,
    ) -> bool:
        """Scores this process' share of the images, unless all processes are to stop."""
        scores = self._validator.evaluate(lambda: bool(stop.signal))
        if scores is None:
            checkpoints.save(pending=row)
            self.interrupted = True
            return False
        checkpoints.save_if_best(scores)
        return True

    def go_back(self, step: int) -> None:
        """Writes nothing."""

    def rewrite_after(self, step: int) -> None:
        """Writes nothing."""

    def scalars(self, row: dict[str, Any], values: dict[str, float], *, summarized: bool) -> None:
        """Writes nothing."""

    def append(self, row: dict[str, Any]) -> None:
        """Writes nothing."""

    def sync(self) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Writes nothing."""
