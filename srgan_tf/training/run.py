"""A run's way through its stages: update, log, validate, save; stop and continue at any step."""

import dataclasses
import os
from collections.abc import Callable, Iterator

from absl import logging

from srgan_tf.data import pipeline
from srgan_tf.training import checkpoints as checkpoints_lib
from srgan_tf.training import (
    curves,
    divergence,
    observer,
    optimizers,
    profiling,
    reporting,
    spans,
    steps,
    stopping,
)


class Run:
    """The parts of a run that its stages share; see `loop.train`."""

    def __init__(self, config, run_dir, team, train_state, feed, validator, start):
        """Takes what `loop.train` has opened; `start` is the step of the checkpoint, or 0."""
        self._config, self._run_dir = config, run_dir
        self._team, self._strategy, self._state = team, team.strategy, train_state
        self._feed, self._validator = feed, validator
        self._start = start
        kind = observer.Observer if team.first else observer.Silent
        self._observer = kind(run_dir, config, start, validator, feed.clock)
        self._profiler = profiling.Profiler(run_dir, config.run, enabled=team.first)
        self._rollbacks = divergence.Rollbacks(run_dir, config.run, writes=team.first)
        # Not None after a rollback: the checkpoint that it led to has the scale from before.
        self._rate_scale = self._rollbacks.scale_after(self._start)

    def run(self, stop: stopping.StopRequest) -> int:
        """Runs what is left of all stages, and returns the exit code."""
        devices = [name.split("device:")[-1] for name in self._strategy.extended.worker_devices]
        logging.info("Training on %s.", ", ".join(devices))
        logging.info(
            "Bicubic upscaling reaches %.2f dB (PSNR, Y) on the validation images.",
            self._validator.bicubic_psnr,
        )
        if self._config.init_from and not self._start:
            scores = self._validator.evaluate()
            logging.info(
                "The given weights reach %.2f dB (%.4f SSIM).", scores["psnr_y"], scores["ssim_y"]
            )
        if self._start:
            logging.info("Continuing %s from step %d.", self._run_dir, self._start)
        stop = self._team.agreed(stop)
        stop.between_steps()
        try:
            while not self._run_stages(stop):
                pass
        finally:
            try:
                self._profiler.close()
            finally:
                self._observer.close()
        return self._finish(stop)

    def _run_stages(self, stop: stopping.StopRequest) -> bool:
        """Runs what is left; returns False when it diverged and was rolled back."""
        try:
            total, shown = self._config.total_steps, self._team.first
            with reporting.Progress(total, self._start, shown=shown) as progress:
                for span in spans.spans(self._config):
                    # The stage that wrote the checkpoint is entered even when it is complete:
                    # its optimizers are in there. The next one starts from its networks.
                    if span.last >= self._start:
                        self._run_stage(span, stop, progress)
                    if stop.signal:
                        break
        except divergence.Diverged as error:
            self._roll_back(error)
            return False
        return True

    def _roll_back(self, error: divergence.Diverged) -> None:
        """Makes the run continue from its newest checkpoint, or raises `error`."""
        to_step = 0
        if self._team.first:
            to_step = checkpoints_lib.latest_step(self._run_dir)
            if self._rollbacks.led_to(to_step):  # Diverged again before it could save.
                to_step = checkpoints_lib.step_before(self._run_dir, to_step) or to_step
        to_step = int(self._team.from_first(to_step))
        before = float(self._state.learning_rate_scale.numpy())
        self._rate_scale = self._rollbacks.roll_back(error, to_step, before)
        self._start = to_step
        self._state.diverged_at.assign(-1)
        self._observer.go_back(to_step)

    def _run_stage(self, span: spans.Span, stop: stopping.StopRequest, progress) -> None:
        with self._strategy.scope():
            self._state.enter_stage(span.name)
            checkpoints = checkpoints_lib.Checkpoints(
                self._run_dir,
                self._state,
                self._config.run.keep_checkpoints,
                self._rollbacks.count,
                self._team,
            )
            pending = checkpoints.restore(self._start) if span.first < self._start else None
            if self._rate_scale is not None:
                self._state.learning_rate_scale.assign(self._rate_scale)
                checkpoints.forget_best_after(self._start)
        step = int(self._state.step.numpy())
        if pending:  # It was stopped while it validated; the row may have been written since.
            self._observer.rewrite_after(step - 1)
            if self._observer.validate(pending, checkpoints, stop) and step == span.last:
                checkpoints.save(again=True)  # What is best has changed.
        if step == span.last:
            return
        logging.info("Stage %s: steps %d to %d.", span.name, step + 1, span.last)
        train_step = self._team.watched(steps.distributed_step(self._strategy, self._state), stop)
        batches = self._batches(step, lambda: self._save(span, checkpoints))
        while step < span.last and not stop.signal:
            batch = next(batches)
            step += 1
            with self._profiler.step(step):
                scalars = train_step(batch)
            self._after_step(step, span, scalars, checkpoints, progress, stop)
        self._save(span, checkpoints)

    def _save(self, span: spans.Span, checkpoints: checkpoints_lib.Checkpoints) -> None:
        """Saves between two steps, unless the stage has not begun: then it is saved already."""
        self._stop_if_diverged(checkpoints)
        if int(self._state.step.numpy()) > span.first:
            self._observer.sync()
            checkpoints.save()

    def _batches(self, step: int, save: Callable[[], None]) -> Iterator[pipeline.Pair]:
        data = self._config.data
        updates = getattr(self._state.stage, "discriminator_updates", 1)
        data = dataclasses.replace(data, batch_size=data.batch_size * updates)
        return self._feed.batches(self._team, data, step, before_search=save)

    def _after_step(self, step, span, scalars, checkpoints, progress, stop) -> None:
        """Logs, validates and saves when it is time, or at the end of the stage."""
        every, ends = self._config.run, step == span.last
        logged = ends or step % every.log_every == 0
        # A stage that leaves the generator alone has nothing to validate.
        validated = bool(self._state.objective) and (ends or step % every.validate_every == 0)
        saved = ends or step % every.checkpoint_every == 0
        if not (logged or validated or saved):
            progress.advance(span.name, None)
            return
        if validated or saved:
            self._feed.clock.skip()
        self._stop_if_diverged(checkpoints)
        values = {name: float(value) for name, value in scalars.items()}
        rate = optimizers.learning_rate_at(
            self._state.stage, step - 1 - span.first, self._state.learning_rate_scale
        )
        row = {"stage": span.name, "step": step, "learning_rate": rate, **values}
        self._observer.scalars(row, values, summarized=logged or validated)
        progress.advance(span.name, values)
        if validated:
            self._observer.validate(row, checkpoints, stop)
        elif logged:
            self._observer.append(row)
        if saved:
            self._observer.sync()
            checkpoints.save()

    def _stop_if_diverged(self, checkpoints: checkpoints_lib.Checkpoints) -> None:
        step = int(self._state.diverged_at.numpy())
        if step >= 0:
            raise divergence.Diverged(step, "a loss", checkpoints.last)

    def _finish(self, stop: stopping.StopRequest) -> int:
        curve = None
        if self._team.first:
            curve = curves.write_curves(self._run_dir, self._validator.bicubic_psnr)
        # Schedulers kill the others soon after one has ended: the first has saved and drawn by now.
        self._team.from_first(0)
        step = int(self._state.step.numpy())
        waited = self._feed.clock.total_share
        if waited is not None:
            logging.info("%.1f %% of the training time went by waiting for data.", 100 * waited)
        if stop.signal and (self._observer.interrupted or step < self._config.total_steps):
            logging.info(
                "Stopped at step %d of %d, saved; the same command continues.",
                step,
                self._config.total_steps,
            )
            return stop.exit_code
        if not self._team.first:
            logging.info("Done: %d steps.", step)
            return 0
        logging.info(
            "Done: %d steps; curve in %s, samples in %s.",
            step,
            curve,
            os.path.join(self._run_dir, "samples"),
        )
        logging.info("Next: srgan-export --run_dir=%s", self._run_dir)
        return 0
