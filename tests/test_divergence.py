"""training/divergence.py: a run that goes back, with a smaller learning rate, and says so."""

import dataclasses
import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import test_steps
import test_training

from srgan_tf import errors, run_folder
from srgan_tf.training import checkpoints, divergence, doctor, loop
from srgan_tf.training import run as run_lib

data = test_training.data


@pytest.fixture
def exploding(monkeypatch):
    """Makes the steps whose numbers are put in the returned list poison the generator, once."""
    real, when = run_lib.steps.distributed_step, []

    def distributed_step(strategy, state):
        step = real(strategy, state)

        def run(batch):
            now = int(state.step.numpy()) + 1
            if when and now == when[0]:
                when.pop(0)
                kernel = state.generator.trainable_variables[0]
                kernel.assign(tf.fill(kernel.shape, float("nan")))
            return step(batch)

        return run

    monkeypatch.setattr(run_lib.steps, "distributed_step", distributed_step)
    return when


def stages(pretrain=6, discriminator=0):
    """A tiny run without the stage that takes long to trace."""
    whole = test_training.tiny()
    changes = {
        name: dataclasses.replace(getattr(whole.stages, name), steps=steps)
        for name, steps in (("pretrain", pretrain), ("discriminator", discriminator), ("gan", 0))
    }
    return dataclasses.replace(whole, stages=dataclasses.replace(whole.stages, **changes))


def rolling(config, **changes):
    changes = {"on_divergence": "rollback", **changes}
    return dataclasses.replace(config, run=dataclasses.replace(config.run, **changes))


def test_a_rollback_goes_on_with_a_smaller_learning_rate(data, tmp_path, exploding):
    run_dir, config = tmp_path / "run", rolling(stages(pretrain=3, discriminator=3))
    exploding[:] = [3, 6]
    assert test_training.train(config, data, run_dir) == 0
    rows = run_folder.read_metrics(str(run_dir))
    assert [int(row["step"]) for row in rows] == list(range(1, 7))
    # Checkpoints are at 2, 3 (the stage's end), 4 and 6: back to 2, later back to 4.
    rates = [float(row["learning_rate"]) / 0.05 for row in rows]
    assert rates == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])
    record = json.loads((run_dir / "config.json").read_text())
    assert record["rollbacks"] == [
        {"diverged_at": 3, "back_to": 2, "learning_rate_scale": 0.5},
        {"diverged_at": 6, "back_to": 4, "learning_rate_scale": 0.25},
    ]
    weights = test_training.weights(run_dir, 6)
    assert all(np.isfinite(value).all() for value in weights.values() if value.dtype == np.float32)
    (scale,) = (value for name, value in weights.items() if name.startswith("learning_rate_scale"))
    assert scale == 0.25
    # A later start keeps the record.
    assert test_training.train(config, data, run_dir) == 0
    assert json.loads((run_dir / "config.json").read_text())["rollbacks"] == record["rollbacks"]


def test_the_optimizer_takes_the_smaller_rate(data, tmp_path, exploding):
    """A rollback by a factor near 0 leaves the weights where the checkpoint had them."""
    run_dir = tmp_path / "run"
    exploding[:] = [3]
    assert test_training.train(rolling(stages(), rollback_factor=1e-6), data, run_dir) == 0
    early, late = (
        run_folder.load_generator(str(run_dir), which)[0].trainable_variables
        for which in ("2", "6")
    )
    for before, after in zip(early, late, strict=True):
        np.testing.assert_allclose(before.numpy(), after.numpy(), atol=1e-5)


def test_without_a_way_back_the_run_stops(data, tmp_path, exploding):
    exploding[:] = [1]
    with pytest.raises(errors.RunError, match="no checkpoint yet"):
        test_training.train(rolling(stages()), data, tmp_path / "first")
    exploding[:] = [3, 3]
    with pytest.raises(errors.RunError, match="not finite at step 3"):
        test_training.train(rolling(stages(), max_rollbacks=1), data, tmp_path / "often")
    record = json.loads((tmp_path / "often" / "config.json").read_text())
    assert len(record["rollbacks"]) == 1
    assert checkpoints.latest_step(str(tmp_path / "often")) == 2
    # Started again, the run goes on at the smaller rate, and its rollbacks are still counted.
    exploding[:] = [4]
    again = rolling(stages(), max_rollbacks=1)
    with pytest.raises(errors.RunError, match="step 4, after 1 rollbacks"):
        test_training.train(again, data, tmp_path / "often")
    rates = [
        float(row["learning_rate"]) / 0.05
        for row in run_folder.read_metrics(str(tmp_path / "often"))
    ]
    assert rates == pytest.approx([1, 1, 0.5])


def test_stop_is_the_default(data, tmp_path, exploding):
    exploding[:] = [2]
    with pytest.raises(divergence.Diverged, match="--on_divergence=rollback"):
        test_training.train(stages(), data, tmp_path / "run")


def test_checkpoints_from_before_rollbacks_are_continued(data, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    state = loop.state.TrainState
    real = state.checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(
            state, "checkpoint", lambda self, without=(): real(self, ("learning_rate_scale",))
        )
        patch.setattr(run_lib.Run, "_after_step", _stopping_after(run_lib.Run._after_step, 4))
        assert test_training.train(stages(), data, run_dir) == 130
    names = tf.train.load_checkpoint(str(run_dir / "checkpoints" / "ckpt-4"))
    assert not names.has_tensor("learning_rate_scale/.ATTRIBUTES/VARIABLE_VALUE")
    assert test_training.train(stages(), data, run_dir) == 0
    assert checkpoints.latest_step(str(run_dir)) == 6


def _stopping_after(real, stop_at):
    def after(self, step, *arguments):
        real(self, step, *arguments)
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    return after


def test_a_best_checkpoint_of_undone_steps_is_removed(tmp_path):
    state = test_steps.make_state("pretrain")
    made = checkpoints.Checkpoints(str(tmp_path), state, keep=3)
    state.step.assign(5)
    assert made.save_if_best({"psnr_y": 30.0})
    made.forget_best_after(5)
    assert (tmp_path / "checkpoints" / "best-pretrain" / "ckpt-5.index").exists()
    made.forget_best_after(4)
    assert not (tmp_path / "checkpoints" / "best-pretrain").exists()
    # What comes next is the best again, however bad.
    state.step.assign(6)
    assert made.save_if_best({"psnr_y": 20.0})
    assert (tmp_path / "checkpoints" / "best-pretrain" / "ckpt-6.index").exists()


@pytest.mark.parametrize("wanted", [True, False])
def test_the_doctor_looks_unless_told_not_to(data, tmp_path, monkeypatch, wanted):
    seen = []
    monkeypatch.setattr(doctor.Doctor, "observe", lambda _, row: seen.append(row["step"]))
    config = stages(pretrain=2)
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, doctor=wanted))
    assert test_training.train(config, data, tmp_path / "run") == 0
    assert seen == ([1, 2] if wanted else [])


def test_two_games_in_one_run_are_warned_about(monkeypatch):
    said = []
    monkeypatch.setattr(
        loop.state.logging, "warning", lambda text, *values: said.append(text % values)
    )
    config = test_steps.config()
    loop.state.build(config)
    assert not said
    gan = dataclasses.replace(config.stages.gan, adversarial="lsgan")
    loop.state.build(
        dataclasses.replace(config, stages=dataclasses.replace(config.stages, gan=gan))
    )
    (text,) = said
    assert "--discriminator_adversarial=vanilla and --gan_adversarial=lsgan" in text
