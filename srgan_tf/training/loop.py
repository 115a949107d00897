"""One loop for every stage of a run: update, log, validate, save; stop and continue at any step."""

import contextlib
import dataclasses
import json

from srgan_tf import errors
from srgan_tf.config import TrainConfig
from srgan_tf.data import pipeline, records
from srgan_tf.training import checkpoints as checkpoints_lib
from srgan_tf.training import (
    environment,
    feeding,
    initialization,
    opening,
    run_lock,
    state,
    stopping,
    validation,
)
from srgan_tf.training import run as run_lib
from srgan_tf.training import team as team_lib

_ENDING_SECONDS = 60.0


def train(
    config: TrainConfig,
    *,
    data_dir: str,
    run_dir: str,
    devices: tuple[str, ...] = (),
    stop: stopping.StopRequest | None = None,
) -> int:
    """Trains all stages of `config` in `run_dir`, or continues there.

    Args:
        config: the run.
        data_dir: a folder that srgan-prepare wrote.
        run_dir: where everything goes; a run that was stopped there is continued.
        devices: see `strategy.make_strategy`.
        stop: for who stops the run otherwise than by a signal (`StopRequest.ask`).

    With several workers in TF_CONFIG each is to be started with the same arguments, and with the
    same folders, which all of them must see (team.py).

    Returns:
        The exit code: 0 when all stages are done, 130 or 143 when a signal stopped the run.

    Raises:
        errors.InputError: bad data, devices or weights, or `run_dir` holds another run.
        errors.RunError: training diverged, the run folder cannot be written, or another worker is
            gone (`team.Lost`).
    """
    with stop or stopping.StopRequest() as stop, contextlib.ExitStack() as held:
        if config.run.deterministic:
            environment.make_deterministic()
        team = team_lib.join(devices)
        with team.lost_is_one_line():
            return _train(config, data_dir, run_dir, team, stop, held)
    return stop.exit_code  # It was stopped before the first step.


def _train(config, data_dir, run_dir, team, stop, held) -> int:
    """Opens everything, so that all that can be wrong is found before the run folder is made."""
    start = 0
    with team.together():
        lock = None
        if team.first:  # It alone writes.
            # Workers of a start before, which lost one, may be about to end.
            patience = _ENDING_SECONDS if team.count > 1 else 0.0
            lock = held.enter_context(run_lock.RunLock(run_dir, patience))
        feed = feeding.Feed(config, data_dir=data_dir, run_dir=run_dir)
        validation_split = records.open_split(data_dir, "validation")
        _check(config, feed.split, team)
        if team.first:
            start = checkpoints_lib.latest_step(run_dir)
    if team.count > 1:
        team.require_same(json.dumps(dataclasses.asdict(config), sort_keys=True), "configuration")
        team.require_same(feed.split.fingerprint, f"data set ({data_dir})")
    start = int(team.from_first(start))
    begins = not start
    if begins:  # Later on the weights' source is no longer needed.
        with team.together():
            initialization.check(config)
    with team.strategy.scope():
        train_state = state.build(config)
        initial = train_state.initialize() if begins else None
    validator = validation.Validator(validation_split, config, train_state.output_generator, team)
    with team.together():
        if team.first:
            opening.open_run_folder(run_dir, config, feed.split, validation_split, initial, lock)
    opening.require_same_folder(run_dir, team)
    with team.together():
        run = run_lib.Run(config, run_dir, team, train_state, feed, validator, start)
    return run.run(stop)


def _check(config: TrainConfig, split: records.Split, team: team_lib.Team) -> None:
    """Refuses what the replicas, or several workers, cannot do."""
    replicas = team.strategy.num_replicas_in_sync
    if config.data.batch_size % replicas:
        raise errors.InputError(
            f"batch_size must divide by the {replicas} devices: "
            f"batch_size={config.data.batch_size}."
        )
    pipeline.check(split, config.data)
    if team.count > 1 and config.precision == "float16":
        raise errors.InputError(
            "Several workers train in float32 or bfloat16 (--precision): the loss scale of "
            "float16 is made for one process."
        )
