"""training/loop.py with checkpoints, reporting, validation: whole runs of a tiny model."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import test_steps
from PIL import Image

from srgan_tf import bicubic, errors, evaluation, images, run_folder
from srgan_tf.config import DiscriminatorConfig, RunConfig
from srgan_tf.data import records
from srgan_tf.models import discriminators
from srgan_tf.serving import export, model_record
from srgan_tf.serving.upscaler import Upscaler
from srgan_tf.training import checkpoints, loop, stopping, validation
from srgan_tf.training import run as run_lib


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return fixtures.prepared(tmp_path_factory.mktemp("data"), photos=4, size=(120, 144), crop=72)


def tiny(**changes):
    """A run of three stages, with the smallest discriminator: its trace is most of the time."""
    discriminator = DiscriminatorConfig(name="srgan_small", filters=2, dense_units=16)
    changes = {"discriminator": discriminator, **changes}
    run = RunConfig(log_every=1, validate_every=2, validation_images=1, checkpoint_every=2)
    return dataclasses.replace(test_steps.config(), run=run, **changes)


def train(config, data, run_dir):
    return loop.train(config, data_dir=data, run_dir=str(run_dir), devices=("cpu:0",))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run of 3 + 3 + 3 steps without a break."""
    run_dir = tmp_path_factory.mktemp("run") / "whole"
    profiled = dataclasses.replace(tiny().run, profile=(3, 4))  # Over the end of a stage.
    assert train(dataclasses.replace(tiny(), run=profiled), data, run_dir) == 0
    return run_dir


def weights(run_dir, step=9):
    reader = tf.train.load_checkpoint(str(run_dir / "checkpoints" / f"ckpt-{step}"))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name not in ("_CHECKPOINTABLE_OBJECT_GRAPH",) and "save_counter" not in name
    }


def test_run_folder_has_what_design_says(whole):
    there = {path.name for path in whole.iterdir()}
    assert {"config.json", "checkpoints", "summaries", "metrics.csv", "samples"} <= there
    assert "curves.png" in there
    record = json.loads((whole / "config.json").read_text())
    assert record["environment"]["versions"]["tensorflow"] == tf.__version__
    assert record["data"]["fingerprint"] and record["data"]["train_records"] > 0
    assert record["config"]["stages"]["gan"]["adversarial_weight"] == 0.1
    assert {path.name for path in (whole / "summaries").iterdir()} == {"train", "eval", "plugins"}
    (profile,) = (whole / "summaries" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert b"Conv2DBackpropFilter" in profile.read_bytes()


def test_metrics_have_every_step_and_stage(whole):
    rows = run_folder.read_metrics(str(whole))
    assert [int(row["step"]) for row in rows] == list(range(1, 10))
    assert [row["stage"] for row in rows] == ["pretrain"] * 3 + ["discriminator"] * 3 + ["gan"] * 3
    assert rows[0]["content_mse"] and not rows[0]["discriminator_loss"]
    assert rows[3]["discriminator_loss"] and not rows[3]["generator_loss"]
    assert rows[8]["adversarial"] and rows[8]["real_accuracy"] and rows[8]["validation_psnr_y"]
    assert [bool(row["validation_psnr_y"]) for row in rows] == [
        step not in (4, 5, 6) and (step % 2 == 0 or step % 3 == 0) for step in range(1, 10)
    ]


def test_checkpoint_holds_everything(whole):
    names = " ".join(weights(whole))
    for part in ("step", "generator/", "discriminator/", "best"):
        assert part in names
    for optimizer in ("generator_optimizer", "discriminator_optimizer"):
        assert optimizer in names
    # Recent ones are bounded; every stage keeps its best.
    recent = list((whole / "checkpoints").glob("ckpt-*.index"))
    assert len(recent) == 3
    for stage in ("pretrain", "gan"):
        assert list((whole / "checkpoints" / f"best-{stage}").glob("ckpt-*.index"))
    assert not (whole / "checkpoints" / "best-discriminator").exists()


def test_samples_are_three_panels_of_a_validation_image(whole):
    picture = np.asarray(Image.open(whole / "samples" / "step-0000009.png"))
    side = min(48, 120 // 4) * 4
    assert picture.shape[1] == 3 * side + 2 * validation._GAP
    first = np.asarray(Image.open(whole / "samples" / "step-0000002.png"))
    # Bicubic and HR panels never change, SR does.
    np.testing.assert_array_equal(picture[:, :side], first[:, :side])
    np.testing.assert_array_equal(picture[:, -side:], first[:, -side:])
    assert not np.array_equal(picture, first)


def test_a_run_stopped_often_ends_as_if_it_had_not_been(data, whole, tmp_path, monkeypatch):
    """Within stages and at both borders: weights, slots and metrics.csv equal to the bit."""
    run_dir = tmp_path / "run"
    real = run_lib.Run._after_step
    for stop_at in (3, 6, 7):

        def stopping_after(self, step, *arguments, stop_at=stop_at):
            real(self, step, *arguments)
            if step == stop_at:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(run_lib.Run, "_after_step", stopping_after)
        assert train(tiny(), data, run_dir) == 130
        assert checkpoints.latest_step(str(run_dir)) == stop_at
    monkeypatch.setattr(run_lib.Run, "_after_step", real)
    assert train(tiny(), data, run_dir) == 0
    expected, got = weights(whole), weights(run_dir)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert (run_dir / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def optioned():
    """The tiny run with what else must be continued to the bit: averages, rates, labels, shares."""
    settings = test_steps.with_options(discriminator_updates=2, schedule="cosine", warmup_steps=1)
    stages = settings.stages
    stages = dataclasses.replace(
        stages,
        pretrain=dataclasses.replace(stages.pretrain, content=(("charbonnier", 1.0),)),
        discriminator=dataclasses.replace(stages.discriminator, steps=1, adversarial="lsgan"),
    )
    return dataclasses.replace(settings, stages=stages, run=tiny().run)


@pytest.fixture(scope="module")
def averaged(data, tmp_path_factory):
    """A run of 3 + 1 + 3 steps with a moving average and every other option."""
    run_dir = tmp_path_factory.mktemp("run") / "averaged"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discriminators, "build", test_steps.small_discriminator)
        assert train(optioned(), data, run_dir) == 0
    return run_dir


def test_a_run_with_every_option_is_continued_to_the_bit(data, averaged, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    monkeypatch.setattr(discriminators, "build", test_steps.small_discriminator)
    real = run_lib.Run._after_step
    for stop_at in (2, 5):

        def stopping_after(self, step, *arguments, stop_at=stop_at):
            real(self, step, *arguments)
            if step == stop_at:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(run_lib.Run, "_after_step", stopping_after)
        assert train(optioned(), data, run_dir) == 130
    monkeypatch.setattr(run_lib.Run, "_after_step", real)
    assert train(optioned(), data, run_dir) == 0
    expected, got = weights(averaged, 7), weights(run_dir, 7)
    assert expected.keys() == got.keys()
    assert any(name.startswith(run_folder.AVERAGED) for name in expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert (run_dir / "metrics.csv").read_text() == (averaged / "metrics.csv").read_text()
    row = run_folder.read_metrics(str(averaged))[-1]
    assert float(row["r1"]) > 0 and float(row["content_mse"]) > 0


def test_average_is_what_is_validated_exported_and_upscaled_with(data, averaged, tmp_path):
    lr = tf.random.stateless_uniform([1, 30, 36, 3], [1, 2])
    raw, default, ema = (
        run_folder.load_generator(str(averaged), "last", name)[0](lr, training=False)
        for name in ("raw", None, "ema")
    )
    np.testing.assert_array_equal(default, ema)
    assert not np.allclose(raw, ema, atol=1e-6)
    # The best checkpoint holds both too.
    for name in ("raw", "ema"):
        run_folder.load_generator(str(averaged), "best", name)
    split = records.open_split(data, "validation")
    generator, _, _ = run_folder.load_generator(str(averaged))
    scores = validation.Validator(split, optioned(), generator).evaluate()
    row = run_folder.read_metrics(str(averaged))[-1]
    assert float(row["validation_psnr_y"]) == pytest.approx(scores["psnr_y"], abs=1e-4)
    for chosen, expected in ((None, "ema"), ("raw", "raw")):
        exported = export.export(
            str(averaged), weights=chosen, output=str(tmp_path / expected), overwrite=True
        )
        assert model_record.read(exported)["weights"] == expected
        assert Upscaler.load(exported).origin["weights"] == expected
        assert Upscaler.load(str(averaged), weights=chosen).origin["weights"] == expected
        with pytest.raises(errors.InputError, match="--weights=raw is for run folders"):
            Upscaler.load(exported, weights="raw")


def test_a_run_without_average_has_none_to_export(whole):
    with pytest.raises(errors.InputError, match="no moving average"):
        export.export(str(whole), weights="ema")


def test_a_finished_run_is_left_as_it_is(data, whole):
    before = (whole / "metrics.csv").read_text()
    assert train(tiny(), data, whole) == 0
    assert (whole / "metrics.csv").read_text() == before


def test_another_config_is_refused_with_the_fields(data, whole):
    other = dataclasses.replace(tiny(), seed=2)
    with pytest.raises(errors.InputError, match="seed: 1 -> 2"):
        train(other, data, whole)
    # How often it saves or logs may change.
    seldom = dataclasses.replace(tiny().run, log_every=5)
    assert train(dataclasses.replace(tiny(), run=seldom), data, whole) == 0


def test_other_data_is_refused(whole, tmp_path):
    other = fixtures.prepared(tmp_path / "other", photos=3, size=(120, 144), crop=72, seed=9)
    with pytest.raises(errors.InputError, match="other content"):
        train(tiny(), other, whole)


def test_checkpoints_that_cannot_be_continued_are_never_overwritten(data, whole, tmp_path):
    lost = tmp_path / "lost"
    shutil.copytree(whole, lost)
    (lost / "checkpoints" / "checkpoint").unlink()
    assert checkpoints.latest_step(str(lost)) == 9  # TensorFlow's list of them is not needed.
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    for shard in (cut / "checkpoints").glob("ckpt-*.data-00000-of-00001"):
        shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(errors.InputError, match="ckpt-9.*ckpt-8.*ckpt-6"):
        train(tiny(), data, cut)
    assert (cut / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_a_run_of_the_other_keras_is_refused(whole, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    record = json.loads((copy / "config.json").read_text())
    record["environment"]["versions"]["keras"] = "1.2.2"
    (copy / "config.json").write_text(json.dumps(record))
    with pytest.raises(errors.InputError, match="trained under Keras 1.2.2"):
        run_folder.load_generator(str(copy))


def test_a_folder_of_something_else_is_refused(data, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("x")
    with pytest.raises(errors.InputError, match="neither empty nor a run folder"):
        train(tiny(), data, tmp_path / "letters")
    assert (tmp_path / "letters" / "a.txt").read_text() == "x"


def test_divergence_names_step_and_last_good_checkpoint(data, tmp_path, monkeypatch):
    real = run_lib.steps.distributed_step

    def exploding(strategy, train_state):
        step = real(strategy, train_state)

        calls = iter(range(1, 9))

        def run(batch):
            if next(calls) == 4:
                kernel = train_state.generator.trainable_variables[0]
                kernel.assign(tf.fill(kernel.shape, float("nan")))
            return step(batch)

        return run

    monkeypatch.setattr(run_lib.steps, "distributed_step", exploding)
    stages = dataclasses.replace(
        tiny().stages, pretrain=dataclasses.replace(tiny().stages.pretrain, steps=8)
    )
    with pytest.raises(errors.RunError, match=r"step 4\. .*ckpt-2"):
        train(tiny(stages=stages), data, tmp_path / "run")
    assert checkpoints.latest_step(str(tmp_path / "run")) == 2


def test_load_generator_restores_last_best_and_step(whole):
    last, config, step = run_folder.load_generator(str(whole))
    assert step == 9 and config.stages == tiny().stages
    earlier, _, _ = run_folder.load_generator(str(whole), "8")
    lr = tf.random.stateless_uniform([1, 5, 7, 3], [1, 2])
    assert last(lr, training=False).shape == (1, 20, 28, 3)
    assert not np.allclose(last(lr, training=False), earlier(lr, training=False))
    _, _, best = run_folder.load_generator(str(whole), "best")
    assert 7 <= best <= 9
    with pytest.raises(errors.InputError, match="ckpt-9"):
        run_folder.load_generator(str(whole), "5")
    with pytest.raises(errors.InputError, match="not a run folder"):
        run_folder.load_generator(str(whole / "samples"))


def test_validation_scores_equal_a_direct_computation(data):
    split = records.open_split(data, "validation")
    generator = test_steps.make_state("pretrain").generator
    validator = validation.Validator(split, tiny(), generator)
    (serialized,) = tf.data.TFRecordDataset(list(split.files)).take(1)
    hr = records.decode(serialized, split.encoding).numpy()
    # The LR image by the one other implementation; its rim and rounding differ a little.
    lr = bicubic.imresize(hr, 0.25)
    sr = images.signed_to_uint8(generator(images.uint8_to_unit(lr)[tf.newaxis], training=False))
    direct = evaluation.score(sr[0].numpy(), hr, border=4)
    scores = validator.evaluate()
    assert scores["psnr_y"] == pytest.approx(direct["psnr_y"], abs=0.05)
    assert scores["ssim_y"] == pytest.approx(direct["ssim_y"], abs=2e-3)
    baseline = evaluation.score(bicubic.imresize(lr, 4), hr, border=4)
    assert validator.bicubic_psnr == pytest.approx(baseline["psnr_y"], abs=0.05)


def test_stop_request_restores_handlers():
    before = signal.getsignal(signal.SIGTERM)
    with stopping.StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.signal == signal.SIGTERM and stop.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def _command(data, run_dir, *flags):
    return [
        sys.executable,
        str(fixtures.ROOT / "scripts" / "train.py"),
        "--recipe=quick",
        f"--data={data}",
        f"--run_dir={run_dir}",
        "--crop_size=24",
        "--batch_size=2",
        "--generator_filters=4",
        "--generator_blocks=1",
        "--discriminator_filters=4",
        "--validation_images=1",
        "--log_every=1",
        *flags,
    ]


def test_command_trains_and_says_what_to_do_next(data, tmp_path):
    run_dir = tmp_path / "run"
    flags = ["--pretrain_steps=2", "--discriminator_steps=1", "--gan_steps=1"]
    done = subprocess.run(
        _command(data, run_dir, *flags), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "srgan-export" in done.stderr
    assert "cuda" not in done.stderr.lower() and "callback" not in done.stderr
    assert (run_dir / "curves.png").exists()


def test_command_stops_on_ctrl_c_and_saves(data, tmp_path):
    run_dir = tmp_path / "run"
    with subprocess.Popen(
        _command(data, run_dir, "--pretrain_steps=100000"), stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.time() + 300
        while len(run_folder.read_metrics(str(run_dir))) < 3 and time.time() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "Traceback" not in text
    assert "the same command continues" in text
    assert checkpoints.latest_step(str(run_dir)) >= 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--recipe=papper"], "did you mean 'paper'"),
        (["--data="], "--data is needed"),
        (["--generator=resnet"], "srresnet"),
        (["--gan_adversarial=vanila"], "did you mean 'vanilla'"),
        (["--gan_content=msee:1"], "did you mean 'mse'"),
        (["--crop_size=384"], "lower --crop_size"),
        (["--seed=-1"], "seed must be"),
        (["--gan_tv_weight=-1"], "not negative"),
        (["--scale=5"], "scale must be one of"),
        (["--devices=gpu:7"], "there are cpu:0"),
        (["stray"], "Unexpected arguments"),
    ],
)
def test_a_users_mistake_is_one_line(data, tmp_path, flags, words):
    done = subprocess.run(
        [*_command(data, tmp_path / "run"), *flags], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not pathlib.Path(tmp_path / "run").exists()
