"""Runs that go on: from an older version's checkpoints, after a stop while validating, locked."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import time
from importlib import metadata

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import test_steps
import test_training
from test_checkpoints import settings

from srgan_tf import checkpoint_files, errors, run_folder
from srgan_tf.models import discriminators
from srgan_tf.training import (
    checkpoints,
    loop,
    older,
    reporting,
    run_lock,
    state,
    stopping,
)
from srgan_tf.training import run as run_lib

data = test_training.data
KERAS = metadata.version("keras").split(".")[0]
# Written by the first commit of the package under each Keras, and stopped at step 2 of 4: srresnet
# x2 with 4 filters and 1 block, adam at a constant rate, neither sidecars nor learning_rate_scale.
OLDER = fixtures.ROOT / "tests" / "data" / f"older_run_keras{KERAS}"


@pytest.fixture
def old_run(tmp_path):
    return pathlib.Path(shutil.copytree(OLDER, tmp_path / "old"))


def test_an_older_checkpoint_is_restored_with_its_slots(old_run):
    config, _ = run_folder.read_config(str(old_run))
    made = state.build(config)
    made.enter_stage("pretrain")
    assert checkpoints.latest_step(str(old_run)) == 2
    saver = checkpoints.Checkpoints(str(old_run), made, keep=3)
    saver.restore(2)
    reader = tf.train.load_checkpoint(str(old_run / "checkpoints" / "ckpt-2"))
    saved = [reader.get_tensor(name) for name in reader.get_variable_to_shape_map()]
    slots = [value.numpy() for value in made.generator_optimizer.variables]
    assert slots[0] == 2 and float(made.learning_rate_scale.numpy()) == 1.0
    # Each kernel's moments are there, in the order of the kernels, and are not zero.
    kernels = [v for v in made.generator.trainable_variables if len(v.shape) == 4]
    assert {v.shape for v in slots if v.ndim == 4} == {tuple(v.shape) for v in kernels}
    for value in [v for v in slots if v.ndim == 4] + [v.numpy() for v in kernels]:
        assert value.any() and any(np.array_equal(value, other) for other in saved)
    # Saving beside it seals it: from then on its bytes are watched over.
    made.step.assign(3)
    saver.save()
    assert run_folder.checkpoint_names(str(old_run)) == ["ckpt-2", "ckpt-3"]
    assert checkpoint_files.facts(str(old_run / "checkpoints" / "ckpt-2"))["adopted"]


def test_a_damaged_older_checkpoint_is_found_by_tensorflows_checksums(old_run):
    path = old_run / "checkpoints" / "ckpt-2.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(errors.InputError, match="No checkpoint .* is intact .ckpt-2.index cannot"):
        checkpoints.latest_step(str(old_run))


def test_both_optimizers_of_an_older_gan_are_handed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(discriminators, "build", test_steps.small_discriminator)
    made = test_steps.make_state("gan")
    # As they were built then.
    pairs = (
        ("generator_optimizer", made.generator),
        ("discriminator_optimizer", made.discriminator),
    )
    for name, network in pairs:
        optimizer = tf.keras.optimizers.Adam(1e-4)
        optimizer.build(network.trainable_variables)
        for number, variable in enumerate(optimizer.variables):
            variable.assign(tf.fill(variable.shape, tf.cast(number, variable.dtype)))
        setattr(made, name, optimizer)
    checkpoint = made.checkpoint(without=("learning_rate_scale",))
    assert checkpoint.save_counter.numpy() == 0  # From here on it is part of it.
    prefix = checkpoint.write(str(tmp_path / "ckpt-2"))
    expected = {
        name: [v.numpy() for v in getattr(made, name).variables if "learning_rate" not in v.name]
        for name, _ in pairs
    }
    made.enter_stage("gan")
    older.restore(made, prefix)
    for name, _ in pairs:
        for got, value in zip(getattr(made, name).variables, expected[name], strict=True):
            np.testing.assert_array_equal(got.numpy(), value)


def test_an_older_run_goes_on(data, old_run):
    config, record = run_folder.read_config(str(old_run))
    # Its data set is not here; another one of the same kind stands in.
    record["data"]["fingerprint"] = loop.records.open_split(data, "train").fingerprint
    (old_run / "config.json").write_text(json.dumps(record))
    first = (old_run / "metrics.csv").read_text().splitlines()[1].split(",")[:3]
    assert test_training.train(config, data, old_run) == 0
    rows = run_folder.read_metrics(str(old_run))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [rows[0][name] for name in ("stage", "step", "learning_rate")] == first
    assert checkpoints.latest_step(str(old_run)) == 4


def run_of(config, steps):
    pretrain = dataclasses.replace(config.stages.pretrain, steps=steps)
    stages = dataclasses.replace(config.stages, pretrain=pretrain)
    run = test_training.tiny().run
    return dataclasses.replace(config, stages=stages, run=run)


@pytest.fixture
def cheap(monkeypatch):
    """Steps that need no tracing: weights and losses that follow from the step alone.

    Those in the list that is returned poison the generator, once each, in this order.
    """
    poisoned = []

    def distributed_step(strategy, made):
        def run(batch):
            del batch
            step = int(made.step.assign_add(1).numpy())
            for variable in made.generator.trainable_variables:
                variable.assign(variable * 0.9 + 0.01 * step)
            if poisoned and step == poisoned[0]:
                kernel = made.generator.trainable_variables[poisoned.pop(0) % 2]
                kernel.assign(tf.fill(kernel.shape, float("nan")))
            return {"generator_loss": tf.constant(1 / step)}

        return run

    monkeypatch.setattr(run_lib.steps, "distributed_step", distributed_step)
    return poisoned


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("keep", [1, 3])
def test_a_stop_while_validating_saves_at_once_and_validates_next_time(
    data, tmp_path, monkeypatch, keep
):
    config = run_of(settings(), steps=4)
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, keep_checkpoints=keep))
    original = loop.validation.Validator.evaluate

    def real(self, interrupted):  # These steps make nothing better: so it is said.
        scores = original(self, interrupted)
        folder = tmp_path / ("run" if (tmp_path / "run").exists() else "whole")
        return scores and {**scores, "psnr_y": float(len(run_folder.read_metrics(str(folder))))}

    monkeypatch.setattr(loop.validation.Validator, "evaluate", real)
    assert test_training.train(config, data, tmp_path / "whole") == 0
    for step in (2, 4):

        def evaluate(self, interrupted, step=step):
            if len(run_folder.read_metrics(str(tmp_path / "run"))) == step - 1:
                os.kill(os.getpid(), signal.SIGTERM)
                assert interrupted()
            return real(self, interrupted)

        monkeypatch.setattr(loop.validation.Validator, "evaluate", evaluate)
        assert test_training.train(config, data, tmp_path / "run") == 143
        assert checkpoints.latest_step(str(tmp_path / "run")) == step
        assert len(run_folder.read_metrics(str(tmp_path / "run"))) == step - 1
    monkeypatch.setattr(loop.validation.Validator, "evaluate", real)
    assert test_training.train(config, data, tmp_path / "run") == 0
    whole, run = ((tmp_path / name / "metrics.csv").read_text() for name in ("whole", "run"))
    assert run == whole
    expected, got = (test_training.weights(tmp_path / name, 4) for name in ("whole", "run"))
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


@pytest.mark.usefixtures("cheap")
def test_a_stop_where_a_stage_begins_leaves_its_checkpoint_alone(data, tmp_path, monkeypatch):
    config = run_of(settings(keep_checkpoints=1), steps=2)
    later = dataclasses.replace(test_steps.config().stages.discriminator, steps=2)
    config = dataclasses.replace(
        config, stages=dataclasses.replace(config.stages, discriminator=later)
    )
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, keep_checkpoints=1))
    sidecar = tmp_path / "run" / "checkpoints" / "ckpt-2.json"
    real, made = run_lib.Run._batches, []

    def batches(self, *arguments):
        if sidecar.exists():
            made.append(sidecar.stat().st_mtime_ns)
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *arguments)

    monkeypatch.setattr(run_lib.Run, "_batches", batches)
    assert test_training.train(config, data, tmp_path / "run") == 143
    assert made == [sidecar.stat().st_mtime_ns]
    assert json.loads(sidecar.read_text())["stage"] == "pretrain"


@pytest.mark.usefixtures("cheap")
def test_what_a_kill_left_behind_does_not_keep_a_run_from_starting(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.123.tmp").write_text("{")
    assert test_training.train(run_of(settings(), steps=1), data, tmp_path / "run") == 0
    assert not list((tmp_path / "run").glob(".*.tmp"))


@pytest.mark.parametrize("text", ["step;stage\n1;gan\n", "step\n1,2,3\n", "\0\0\n1\n"])
def test_rows_that_cannot_be_read_are_one_line(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(errors.InputError, match="metrics.csv cannot be read as the rows"):
        reporting.MetricsFile(str(tmp_path), settings(), 3)
    assert (tmp_path / "metrics.csv").read_text() == text


def test_an_event_file_from_the_future_is_not_waited_for(tmp_path):
    folder = tmp_path / "summaries" / "train"
    folder.mkdir(parents=True)
    (folder / f"events.out.tfevents.{int(time.time()) + 3600}.host.1.0.v2").touch()
    start = time.monotonic()
    reporting.Summaries(str(tmp_path), 3).close()
    assert time.monotonic() - start < 60


def test_a_signal_before_the_first_step_ends_at_once(data, tmp_path, monkeypatch):
    config = run_of(settings(), steps=4)
    monkeypatch.setattr(
        loop.state, "build", lambda _: [os.kill(os.getpid(), signal.SIGTERM), time.sleep(9)]
    )
    before = signal.getsignal(signal.SIGTERM)
    started = time.monotonic()
    assert test_training.train(config, data, tmp_path / "run") == 143
    assert time.monotonic() - started < 9 and signal.getsignal(signal.SIGTERM) == before
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.RunError, match=r"file/run cannot be written: .*Make room \(or mend"):
        run_lock.RunLock(str(tmp_path / "file" / "run")).take()


@pytest.mark.usefixtures("cheap")
def test_going_on_without_determinism_is_said(data, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(loop.environment, "make_deterministic", lambda: None)
    config = run_of(settings(), steps=2)
    with_it = dataclasses.replace(config.run, deterministic=True)
    assert test_training.train(dataclasses.replace(config, run=with_it), data, tmp_path / "r") == 0
    assert "began with --deterministic" not in caplog.text
    assert test_training.train(config, data, tmp_path / "r") == 0
    assert "began with --deterministic and goes on without" in caplog.text


def test_signals_are_counted(monkeypatch):
    exits = []
    monkeypatch.setattr(stopping.os, "_exit", exits.append)
    with stopping.StopRequest() as stop:
        stop.between_steps()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.exit_code == 143 and not exits
        signal.raise_signal(signal.SIGINT)
        assert exits == [130]


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    folder = str(tmp_path / "run")
    reading, writing = os.pipe()
    holder = os.fork()
    if not holder:
        run_lock.RunLock(folder).take()
        os.write(writing, b"!")
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(reading, 1) == b"!"
        lock = run_lock.RunLock(folder)
        with pytest.raises(errors.InputError, match=rf"by process {holder} on \S+ since 2") as said:
            lock.take()
        assert "\n" not in str(said.value)
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    with lock:
        lock.take()
        with pytest.raises(errors.InputError, match=f"by process {os.getpid()} "):
            run_lock.RunLock(folder).take()
    run_lock.RunLock(folder).take()


def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    folder = str(tmp_path / "run")
    with run_lock.RunLock(folder) as lock:
        lock.take()
        begun, tell = os.pipe()
        worker = os.fork()
        if not worker:
            os.write(tell, b"!")
            time.sleep(60)
            os._exit(0)
        os.read(begun, 1)  # What is done at a fork is done.
    try:
        with run_lock.RunLock(folder) as other:
            other.take()
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_a_run_that_began_meanwhile_is_not_taken_over(data, tmp_path, monkeypatch):
    real = run_lock.RunLock.take

    def take(self):
        real(self)
        run_folder.write_config(str(tmp_path / "run"), settings())

    monkeypatch.setattr(run_lock.RunLock, "take", take)
    with pytest.raises(errors.InputError, match="has begun a run"):
        test_training.train(run_of(settings(), steps=4), data, tmp_path / "run")


def test_a_rollback_from_a_bad_checkpoint_goes_to_the_one_before(data, tmp_path, cheap):
    """Poisoned at 5 twice: back to 4, and as 4 leads there again, back to 2."""
    config = run_of(settings(), steps=6)
    config = dataclasses.replace(
        config, run=dataclasses.replace(config.run, on_divergence="rollback")
    )
    # Found by reading back what was saved at 6.
    cheap[:] = [5, 5]
    assert test_training.train(config, data, tmp_path / "run") == 0
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [(entry["back_to"], entry["learning_rate_scale"]) for entry in record["rollbacks"]] == [
        (4, 0.5),
        (2, 0.25),
    ]
    rates = [float(r["learning_rate"]) / 0.05 for r in run_folder.read_metrics(tmp_path / "run")]
    assert rates == pytest.approx([1, 1, 0.25, 0.25, 0.25, 0.25])
    assert run_folder.checkpoint_names(str(tmp_path / "run")) == ["ckpt-2", "ckpt-4", "ckpt-6"]


def test_tensorboard_shows_repeated_steps_once(tmp_path):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.plugin_event_accumulator"
    )
    for start, steps in ((0, (1, 2, 3, 4)), (2, (3,)), (3, (4, 5))):
        summaries = reporting.Summaries(str(tmp_path), start)
        for step in steps:
            summaries.train(step, {"loss": 10.0 * start + step})
        summaries.close()
    shown = accumulators.EventAccumulator(str(tmp_path / "summaries" / "train"))
    shown.Reload()
    points = [
        (event.step, float(tf.make_ndarray(event.tensor_proto))) for event in shown.Tensors("loss")
    ]
    assert points == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 34.0), (5, 35.0)]
