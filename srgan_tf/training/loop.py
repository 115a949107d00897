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


def train(
    config: TrainConfig, *, data_dir: str, run_dir: str, devices: tuple[str, ...] = ()
) -> int:
    """Trains all stages of `config` in `run_dir`, or continues there.

    Args:
        config: the run.
        data_dir: a folder that srgan-prepare wrote.
        run_dir: where everything goes; a run that was stopped there is continued.
        devices: see `strategy.make_strategy`.

    With several workers in TF_CONFIG each is to be started with the same arguments, and with the
    same folders, which all of them must see (team.py).

    Returns:
        The exit code: 0 when all stages are done, 130 or 143 when a signal stopped the run.

    Raises:
        errors.InputError: bad data, devices or weights, or `run_dir` holds another run.
        errors.RunError: training diverged, the run folder cannot be written, or another worker is
            gone.
    """
    with stopping.StopRequest() as stop:
        if config.run.deterministic:
            environment.make_deterministic()
        team = team_lib.join(devices)
        with run_lock.RunLock(run_dir) if team.first else contextlib.nullcontext() as lock:
            with team.lost_is_one_line():
                return _train(config, data_dir, run_dir, team, stop, lock)
    return stop.exit_code  # It was stopped before the first step.


def _train(config, data_dir, run_dir, team, stop, lock) -> int:
    feed = feeding.Feed(config, data_dir=data_dir, run_dir=run_dir)
    validation_split = records.open_split(data_dir, "validation")
    strategy = team.strategy
    if config.data.batch_size % strategy.num_replicas_in_sync:
        raise errors.InputError(
            f"batch_size must divide by the {strategy.num_replicas_in_sync} devices: "
            f"batch_size={config.data.batch_size}."
        )
    # Everything that can be wrong is found before the run folder is made.
    pipeline.check(feed.split, config.data)
    _check_team(team, config, feed.split)
    start = int(team.from_first(checkpoints_lib.latest_step(run_dir) if team.first else 0))
    begins = not start
    if begins:  # Later on the weights' source is no longer needed.
        initialization.check(config)
    with strategy.scope():
        train_state = state.build(config)
        initial = train_state.initialize() if begins else None
    validator = validation.Validator(validation_split, config, train_state.output_generator, team)
    if team.first:
        opening.open_run_folder(run_dir, config, feed.split, validation_split, initial, lock)
    team.wait()
    run = run_lib.Run(config, run_dir, team, train_state, feed, validator, start)
    return run.run(stop)


def _check_team(team: team_lib.Team, config: TrainConfig, split: records.Split) -> None:
    """Refuses what several workers cannot do, or do not agree about."""
    if team.count == 1:
        return
    if config.precision == "float16":
        raise errors.InputError(
            "Several workers train in float32 or bfloat16 (--precision): the loss scale of "
            "float16 is made for one process."
        )
    team.require_same(json.dumps(dataclasses.asdict(config), sort_keys=True), "configuration")
    team.require_same(split.fingerprint, f"data set ({split.data_dir})")
