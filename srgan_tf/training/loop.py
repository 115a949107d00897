"""One loop for every stage of a run: update, log, validate, save; stop and continue at any step."""

import dataclasses
import os
from collections.abc import Iterator

from absl import logging

from srgan_tf import errors
from srgan_tf.config import TrainConfig
from srgan_tf.data import pipeline, records
from srgan_tf.training import checkpoints as checkpoints_lib
from srgan_tf.training import (
    curves,
    divergence,
    doctor,
    environment,
    feeding,
    initialization,
    opening,
    optimizers,
    profiling,
    reporting,
    run_lock,
    state,
    steps,
    stopping,
    validation,
)
from srgan_tf.training import strategy as strategy_lib


@dataclasses.dataclass(frozen=True)
class _Span:
    """A stage's place in the run: steps `first` + 1 to `last`."""

    name: str
    first: int
    last: int


def train(
    config: TrainConfig, *, data_dir: str, run_dir: str, devices: tuple[str, ...] = ()
) -> int:
    """Trains all stages of `config` in `run_dir`, or continues there.

    Args:
        config: the run.
        data_dir: a folder that srgan-prepare wrote.
        run_dir: where everything goes; a run that was stopped there is continued.
        devices: see `strategy.make_strategy`.

    Returns:
        The exit code: 0 when all stages are done, 130 or 143 when a signal stopped the run.

    Raises:
        errors.InputError: bad data, devices or weights, or `run_dir` holds another run.
        errors.RunError: training diverged, or the run folder cannot be written.
    """
    with stopping.StopRequest() as stop, run_lock.RunLock(run_dir) as lock:
        return _train(config, data_dir, run_dir, devices, stop, lock)
    return stop.exit_code  # It was stopped before the first step.


def _train(config, data_dir, run_dir, devices, stop, lock) -> int:
    feed = feeding.Feed(config, data_dir=data_dir, run_dir=run_dir)
    validation_split = records.open_split(data_dir, "validation")
    if config.run.deterministic:
        environment.make_deterministic()
    strategy = strategy_lib.make_strategy(devices)
    if config.data.batch_size % strategy.num_replicas_in_sync:
        raise errors.InputError(
            f"batch_size must divide by the {strategy.num_replicas_in_sync} devices: "
            f"batch_size={config.data.batch_size}."
        )
    # Everything that can be wrong is found before the run folder is made.
    pipeline.check(feed.split, config.data)
    start = checkpoints_lib.latest_step(run_dir)
    begins = not start
    if begins:  # Later on the weights' source is no longer needed.
        initialization.check(config)
    with strategy.scope():
        train_state = state.build(config)
        initial = train_state.initialize() if begins else None
    validator = validation.Validator(validation_split, config, train_state.output_generator)
    opening.open_run_folder(run_dir, config, feed.split, validation_split, initial, lock)
    run = _Run(config, run_dir, strategy, train_state, feed, validator, start)
    return run.run(stop)


def spans(config: TrainConfig) -> list[_Span]:
    """Returns the active stages with the steps that they cover."""
    made, first = [], 0
    for name, stage in config.stages.active():
        made.append(_Span(name, first, first + stage.steps))
        first += stage.steps
    return made


class _Run:
    """The parts of a run that its stages share."""

    def __init__(self, config, run_dir, strategy, train_state, feed, validator, start):
        self._config, self._run_dir = config, run_dir
        self._strategy, self._state = strategy, train_state
        self._feed, self._validator = feed, validator
        self._start = start
        self._metrics = reporting.MetricsFile(run_dir, config, self._start)
        self._summaries = reporting.Summaries(run_dir, self._start)
        self._doctor = doctor.Doctor()
        self._profiler = profiling.Profiler(run_dir, config.run)
        self._rollbacks = divergence.Rollbacks(run_dir, config.run)
        # Not None after a rollback: the checkpoint that it led to has the scale from before.
        self._rate_scale = self._rollbacks.scale_after(self._start)
        self._waits = False  # Whether a validation was interrupted.

    def run(self, stop: stopping.StopRequest) -> int:
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
        stop.between_steps()
        try:
            while not self._run_stages(stop):
                pass
        finally:
            self._profiler.close()
            self._summaries.close()
        return self._finish(stop)

    def _run_stages(self, stop: stopping.StopRequest) -> bool:
        """Runs what is left; returns False when it diverged and was rolled back."""
        try:
            with reporting.Progress(self._config.total_steps, self._start) as progress:
                for span in spans(self._config):
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
        to_step = checkpoints_lib.latest_step(self._run_dir)
        if self._rollbacks.led_to(to_step):  # Diverged again before it could save.
            to_step = checkpoints_lib.step_before(self._run_dir, to_step) or to_step
        before = float(self._state.learning_rate_scale.numpy())
        self._rate_scale = self._rollbacks.roll_back(error, to_step, before)
        self._start = to_step
        self._state.diverged_at.assign(-1)
        self._metrics = reporting.MetricsFile(self._run_dir, self._config, to_step)
        self._summaries.close()
        self._summaries = reporting.Summaries(self._run_dir, to_step)

    def _run_stage(self, span: _Span, stop: stopping.StopRequest, progress) -> None:
        with self._strategy.scope():
            self._state.enter_stage(span.name)
            checkpoints = checkpoints_lib.Checkpoints(
                self._run_dir,
                self._state,
                self._config.run.keep_checkpoints,
                self._rollbacks.count,
            )
            pending = checkpoints.restore(self._start) if span.first < self._start else None
            if self._rate_scale is not None:
                self._state.learning_rate_scale.assign(self._rate_scale)
                checkpoints.forget_best_after(self._start)
        step = int(self._state.step.numpy())
        if pending:  # It was stopped while it validated; the row may have been written since.
            self._metrics = reporting.MetricsFile(self._run_dir, self._config, step - 1)
            if self._complete(pending, checkpoints, stop) and step == span.last:
                checkpoints.save(again=True)  # What is best has changed.
        if step == span.last:
            return
        logging.info("Stage %s: steps %d to %d.", span.name, step + 1, span.last)
        self._doctor.enter_stage()
        train_step = steps.distributed_step(self._strategy, self._state)
        batches = self._batches(step)
        while step < span.last and not stop.signal:
            try:
                batch = next(batches)
            except feeding.BadData:
                self._metrics.sync()
                checkpoints.save()
                raise
            step += 1
            with self._profiler.step(step):
                scalars = train_step(batch)
            self._after_step(step, span, scalars, checkpoints, progress, stop)
        self._stop_if_diverged(checkpoints)
        self._metrics.sync()
        checkpoints.save()

    def _batches(self, step: int) -> Iterator[pipeline.Pair]:
        data = self._config.data
        updates = getattr(self._state.stage, "discriminator_updates", 1)
        data = dataclasses.replace(data, batch_size=data.batch_size * updates)
        return self._feed.batches(self._strategy, data, step)

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
        if self._config.run.doctor:
            self._doctor.observe(step, values)
        if logged or validated:
            # Not in metrics.csv: time differs from run to run.
            waited = self._feed.clock.observe()
            self._summaries.train(step, {**values, "learning_rate": rate, **waited})
        progress.advance(span.name, values)
        if validated:
            self._complete(row, checkpoints, stop)
        elif logged:
            self._metrics.append(row)
        if saved:
            self._metrics.sync()
            checkpoints.save()

    def _complete(self, row, checkpoints, stop) -> bool:
        """Validates and writes the row; a run that must stop meanwhile does both next time."""
        scores = self._validate(row["step"], checkpoints, stop)
        if scores is None:
            self._metrics.sync()
            checkpoints.save(pending=row)
            self._waits = True
            return False
        self._metrics.append({**row, **scores})
        return True

    def _validate(self, step, checkpoints, stop) -> dict[str, float] | None:
        """Returns the columns of metrics.csv; None if the run is to stop."""
        scores = self._validator.evaluate(lambda: bool(stop.signal))
        if scores is None:
            return None
        sheet = self._validator.sample_sheet()
        path = os.path.join(self._run_dir, "samples", f"step-{step:07d}.png")
        validation.write_png(path, sheet)
        self._summaries.evaluation(step, scores, sheet)
        if self._config.run.doctor:
            self._doctor.observe_validation(step, scores)
        best = checkpoints.save_if_best(scores)
        logging.info(
            "Step %d: validation PSNR %.2f dB, SSIM %.4f (Y)%s; %s",
            step,
            scores["psnr_y"],
            scores["ssim_y"],
            ", the best of this stage" if best else "",
            path,
        )
        return {f"validation_{name}": value for name, value in scores.items()}

    def _stop_if_diverged(self, checkpoints: checkpoints_lib.Checkpoints) -> None:
        step = int(self._state.diverged_at.numpy())
        if step >= 0:
            raise divergence.Diverged(step, "a loss", checkpoints.last)

    def _finish(self, stop: stopping.StopRequest) -> int:
        curve = curves.write_curves(self._run_dir, self._validator.bicubic_psnr)
        step = int(self._state.step.numpy())
        waited = self._feed.clock.total_share
        if waited is not None:
            logging.info("%.1f %% of the training time went by waiting for data.", 100 * waited)
        if stop.signal and (self._waits or step < self._config.total_steps):
            logging.info(
                "Stopped at step %d of %d, saved; the same command continues.",
                step,
                self._config.total_steps,
            )
            return stop.exit_code
        logging.info(
            "Done: %d steps; curve in %s, samples in %s.",
            step,
            curve,
            os.path.join(self._run_dir, "samples"),
        )
        logging.info("Next: srgan-export --run_dir=%s", self._run_dir)
        return 0
