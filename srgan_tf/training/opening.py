"""Opens a run folder: config.json is written, or compared with what is there."""

import os
import time
from typing import Any

import tensorflow as tf
from absl import logging

from srgan_tf import config as config_lib
from srgan_tf import errors, run_folder
from srgan_tf.config import TrainConfig
from srgan_tf.data import records
from srgan_tf.training import environment, run_lock
from srgan_tf.training import team as team_lib

_SEEN_SECONDS = 60.0


def open_run_folder(
    run_dir: str,
    config: TrainConfig,
    train_split: records.Split,
    validation_split: records.Split,
    initial: dict[str, Any] | None,
    lock: run_lock.RunLock,
) -> None:
    """Writes config.json, or refuses a folder that holds another run.

    Args:
        run_dir: the folder; made where it is missing.
        config: the run's.
        train_split: what it learns from.
        validation_split: what it is validated on.
        initial: what the networks began with (`initialization.initialize`), None for a run that
            is continued: what is recorded stays.
        lock: taken here if the folder is new.

    Raises:
        errors.InputError: the folder holds another run, or something else, or is in use.
        errors.RunError: it cannot be written.
    """
    data = {
        "dir": train_split.data_dir,
        "fingerprint": train_split.fingerprint,
        "train_records": train_split.num_records,
        "validation_records": validation_split.num_records,
    }
    session = environment.describe()
    first, sessions = session, []
    kept = {"initialized_from": initial} if initial else {}
    # A run that never got to its first checkpoint may be started anew with other flags.
    if run_folder.is_run_folder(run_dir) and run_folder.checkpoint_names(run_dir):
        old, record = run_folder.read_config(run_dir)
        _require_same_run(run_dir, record, old, config, data)
        first, sessions = record["environment"], record.get("sessions", [])
        if old.run.deterministic and not config.run.deterministic:
            logging.warning(
                "This run began with --deterministic and goes on without: not to the bit."
            )
        _warn_of_another_machine((sessions or [first])[-1], session)
        kept = {name: record[name] for name in ("initialized_from", "rollbacks") if name in record}
    elif (
        tf.io.gfile.exists(run_dir)
        and any(not name.startswith(".") for name in tf.io.gfile.listdir(run_dir))
        and not run_folder.is_run_folder(run_dir)
    ):
        raise errors.InputError(
            f"{run_dir} is neither empty nor a run folder; name another --run_dir."
        )
    there = run_folder.is_run_folder(run_dir)
    with run_folder.writing(run_dir):
        tf.io.gfile.makedirs(run_dir)
        lock.take()
        _remove_strays(run_dir)
    if not there and run_folder.is_run_folder(run_dir):
        raise errors.InputError(
            f"Another process has begun a run in {run_dir} meanwhile; name another --run_dir."
        )
    facts = {"data": data, "environment": first, "sessions": [*sessions, session], **kept}
    with run_folder.writing(os.path.join(run_dir, run_folder.CONFIG)):
        run_folder.write_config(run_dir, config, **facts)


def require_same_folder(run_dir: str, team: team_lib.Team) -> None:
    """Raises errors.InputError unless all processes see the config.json that the first wrote."""
    if team.count == 1:
        return
    text = ""
    with team.together():
        # Network file systems remember for a while that something was not there.
        end = time.monotonic() + _SEEN_SECONDS
        while not run_folder.is_run_folder(run_dir):
            if time.monotonic() > end:
                raise errors.InputError(
                    f"Worker {team.index} sees no run in {run_dir}, where worker 0 has begun one: "
                    "--run_dir must be on a file system that all workers see."
                )
            time.sleep(0.5)
        with tf.io.gfile.GFile(os.path.join(run_dir, run_folder.CONFIG)) as file:
            text = file.read()
    team.require_same(text, f"run in {run_dir}", "it must be on a file system that all workers see")


def _remove_strays(run_dir: str) -> None:
    """Removes what a killed process was writing: hidden files that were never renamed."""
    for folder in (run_dir, os.path.join(run_dir, "samples")):
        if tf.io.gfile.isdir(folder):
            for name in tf.io.gfile.listdir(folder):
                if name.startswith(".") and name.endswith(".tmp"):
                    tf.io.gfile.remove(os.path.join(folder, name))


def _warn_of_another_machine(before: dict[str, Any], now: dict[str, Any]) -> None:
    """The last bits of a sum depend on how it is split."""
    for name in ("threads", "versions", "logical_devices"):
        if name in before and before[name] != now.get(name):
            logging.warning(
                "This start has other %s than the one before (%s, now %s): the run goes on, but "
                "not to the bit.",
                name.replace("_", " "),
                before[name],
                now.get(name),
            )


def _require_same_run(run_dir, record, old, config, data) -> None:
    run_folder.check_keras(run_dir, record)
    changed = config_lib.differences(old, config, ignore=("run.", "recipe"))
    if record["data"]["fingerprint"] != data["fingerprint"]:
        changed.append(f"data set: {record['data']['dir']} -> {data['dir']} (other content)")
    if changed:
        raise errors.InputError(
            f"{run_dir} holds a run with another configuration ({'; '.join(changed)}); "
            "use the same flags, or another --run_dir."
        )
