"""training/checkpoints.py, checkpoint_files.py: whole or not there, damage found, one at a time."""

import builtins
import dataclasses
import json
import os
import pathlib
import resource
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import test_steps

from srgan_tf import checkpoint_files, config, errors, run_folder
from srgan_tf.config import GeneratorConfig, RunConfig, StagesConfig
from srgan_tf.training import checkpoints, divergence, reporting, state, validation


def settings(**run):
    stages = test_steps.config().stages
    return dataclasses.replace(
        test_steps.config(),
        generator=GeneratorConfig(filters=4, blocks=1),
        stages=StagesConfig(
            pretrain=stages.pretrain,
            discriminator=dataclasses.replace(stages.discriminator, steps=0),
            gan=dataclasses.replace(stages.gan, steps=0),
        ),
        run=RunConfig(**run),
    )


def fill(made, step):
    """Gives the state numbers by which it is recognized: every weight and slot is `step`."""
    made.step.assign(step)
    for variable in (*made.generator.variables, *made.generator_optimizer.variables):
        variable.assign(tf.fill(variable.shape, tf.cast(step, variable.dtype)))


def holds(made, step):
    values = (*made.generator.variables, *made.generator_optimizer.variables, made.step)
    return all(np.all(value.numpy() == step) for value in values)


@pytest.fixture(scope="module")
def made():
    built = state.build(settings())
    built.enter_stage("pretrain")
    return built


@pytest.fixture(scope="module")
def three(made, tmp_path_factory):
    """A run folder with checkpoints at 2, 4 and 6 and a best at 4."""
    run_dir = tmp_path_factory.mktemp("three") / "run"
    saver = checkpoints.Checkpoints(str(run_dir), made, keep=3)
    made.best.assign(state.NO_SCORE)
    for step in (2, 4, 6):
        fill(made, step)
        saver.save()
        if step == 4:
            saver.save_if_best({"psnr_y": 30.0})
    run_folder.write_config(str(run_dir), settings())
    return run_dir


@pytest.fixture
def run_dir(three, tmp_path):
    return pathlib.Path(shutil.copytree(three, tmp_path / "run"))


def saver(run_dir, made, keep=3, **changes):
    return checkpoints.Checkpoints(str(run_dir), made, keep=keep, **changes)


class Killed(BaseException):
    """Stands for SIGKILL."""


class Kill:
    """Ends the process, as far as it writes, before its `at`-th operation on files."""

    def __init__(self, at):
        self.at, self.count = at, 0

    def point(self):
        self.count += 1
        if self.count >= self.at:  # The dead do not clean up either.
            raise Killed

    def before(self, function):
        def call(*arguments, **named):
            self.point()
            return function(*arguments, **named)

        return call

    def install(self, patch):
        for module, names in (
            (os, ("replace", "fsync", "remove")),
            (tf.io.gfile, ("remove", "rmtree", "makedirs", "rename")),
        ):
            for name in names:
                patch.setattr(module, name, self.before(getattr(module, name)))
        patch.setattr(tf.train.Checkpoint, "write", self._write(tf.train.Checkpoint.write))
        real = builtins.open

        def opened(path, mode="r", *arguments, **named):
            if "w" in mode and str(path).endswith(".tmp"):
                self.point()
                real(path, mode).close()  # Dead after this: there, and empty.
                self.point()
            return real(path, mode, *arguments, **named)

        patch.setattr(builtins, "open", opened)

    def _write(self, real):
        """TensorFlow's: a folder of parts, then the data file, then the index."""
        remove, makedirs, move = os.remove, os.makedirs, shutil.move

        def write(checkpoint, prefix):
            self.point()
            real(checkpoint, prefix)
            data, index = f"{prefix}.data-00000-of-00001", f"{prefix}.index"
            try:
                self.point()
            except Killed:
                makedirs(f"{prefix}_temp")
                move(data, f"{prefix}_temp/part")
                remove(index)
                raise
            try:
                self.point()
            except Killed:
                remove(index)
                raise
            try:
                self.point()
            except Killed:
                with builtins.open(data, "r+b") as file:
                    file.truncate(100)
                raise

        return write


def listed(run_dir):
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_checkpoint(three, tmp_path, made):
    points = seen = 0
    keep = 1  # The hardest: the old one goes when the new one is there.
    for at in range(1, 200):
        run_dir = pathlib.Path(shutil.copytree(three, tmp_path / str(at)))
        fill(made, 8)
        with pytest.MonkeyPatch.context() as patch:
            kill = Kill(at)
            kill.install(patch)
            try:
                saver(run_dir, made, keep).save()
            except Killed:
                points += 1
        step = checkpoints.latest_step(str(run_dir))
        assert step in (6, 8), at
        seen += step == 8
        fill(made, 1)
        again = saver(run_dir, made, keep)
        again.restore(step)
        assert holds(made, step), at
        # It goes on, and nothing is left of what was cut off.
        fill(made, 10)
        again.save()
        steps = [6, 8, 10] if step == 8 else [6, 10]
        parts = ("data-00000-of-00001", "index", "json")
        kept = sorted(f"ckpt-{s}.{part}" for s in steps[-keep:] for part in parts)
        assert listed(run_dir) == sorted(["best-pretrain", "checkpoint", "format.json", *kept])
        if kill.count < at:
            break
    # Both outcomes occurred at several moments.
    assert points > 12 and 1 < seen < points


def test_a_kill_in_the_first_save_leaves_nothing_that_counts(tmp_path, made):
    for at in range(1, 200):
        run_dir = tmp_path / str(at)
        fill(made, 2)
        with pytest.MonkeyPatch.context() as patch:
            kill = Kill(at)
            kill.install(patch)
            try:
                saver(run_dir, made).save()
                break
            except Killed:
                pass
        step = checkpoints.latest_step(str(run_dir))
        assert step in (0, 2)
        if step:
            saver(run_dir, made).restore(2)
        saver(run_dir, made).save()
        assert checkpoints.latest_step(str(run_dir)) == 2
    assert at > 10


def test_a_kill_while_the_best_is_replaced_leaves_one(three, tmp_path, made):
    for at in range(1, 200):
        run_dir = pathlib.Path(shutil.copytree(three, tmp_path / str(at)))
        fill(made, 6)
        made.best.assign(30.0)
        with pytest.MonkeyPatch.context() as patch:
            kill = Kill(at)
            kill.install(patch)
            try:
                assert saver(run_dir, made).save_if_best({"psnr_y": 31.0})
                break
            except Killed:
                pass
        step = checkpoint_files.step_of(run_folder.find_checkpoint(str(run_dir), "best"))
        assert step in (4, 6)
    _, _, step = run_folder.load_generator(str(run_dir), "best")
    assert at > 10 and step == 6


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def _lengthen(path):
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("damage", [_flip, _cut, _lengthen, pathlib.Path.unlink])
@pytest.mark.parametrize("part", ["data-00000-of-00001", "index", "json"])
def test_damage_is_found_and_named(run_dir, made, caplog, part, damage):
    path = run_dir / "checkpoints" / f"ckpt-6.{part}"
    damage(path)
    assert checkpoints.latest_step(str(run_dir)) == 4
    # Without its sidecar, the newest was never finished: nothing to warn about.
    unfinished = part == "json" and damage is pathlib.Path.unlink
    assert unfinished or f"ckpt-6.{part}" in caplog.text
    assert run_folder.load_generator(str(run_dir))[2] == 4
    with pytest.raises(errors.InputError, match="no checkpoint '6'|damaged: ckpt-6"):
        run_folder.find_checkpoint(str(run_dir), "6")
    # What was damaged does not push out what is intact.
    run = saver(run_dir, made, keep=1)
    run.restore(4)
    fill(made, 5)
    run.save()
    assert run_folder.checkpoint_names(str(run_dir)) == ["ckpt-5"]


def test_when_all_are_damaged_all_are_named(run_dir):
    for step in (2, 4, 6):
        _flip(run_dir / "checkpoints" / f"ckpt-{step}.index")
    for read in (checkpoints.latest_step, run_folder.find_checkpoint):
        with pytest.raises(errors.InputError, match="ckpt-6.index.*ckpt-4.index.*ckpt-2.index"):
            read(str(run_dir))


def test_a_damaged_best_is_refused(run_dir):
    assert run_folder.load_generator(str(run_dir), "best")[2] == 4
    _flip(run_dir / "checkpoints" / "best-pretrain" / "ckpt-4.data-00000-of-00001")
    with pytest.raises(errors.InputError, match="best-pretrain/ckpt-4 is damaged: ckpt-4.data"):
        run_folder.load_generator(str(run_dir), "best")


def test_a_later_format_is_refused(run_dir):
    (run_dir / "checkpoints" / "format.json").write_text('{"format": 2}')
    with pytest.raises(errors.InputError, match="format 2, this version knows format 1"):
        checkpoints.latest_step(str(run_dir))


def test_the_sidecar_says_what_and_by_what(run_dir):
    facts = json.loads((run_dir / "checkpoints" / "ckpt-6.json").read_text())
    assert (facts["step"], facts["stage"], facts["best_metric"]) == (6, "pretrain", "psnr_y")
    assert facts["versions"]["tensorflow"] == tf.__version__
    data = "ckpt-6.data-00000-of-00001"
    said = subprocess.run(
        ["sha256sum", data], cwd=run_dir / "checkpoints", capture_output=True, text=True, check=True
    )
    assert said.stdout.split()[0] == facts["files"][data]["sha256"]


def test_tensorflows_own_tools_find_the_newest(run_dir):
    assert tf.train.latest_checkpoint(str(run_dir / "checkpoints")).endswith("ckpt-6")


# --- what cannot be written


def _expect_refusal(run_dir, made):
    before = listed(run_dir)
    fill(made, 8)
    with pytest.raises(errors.RunError, match="ckpt-8 cannot be written: .*Make room") as caught:
        saver(run_dir, made).save()
    assert "\n" not in str(caught.value)
    assert listed(run_dir) == before
    assert checkpoints.latest_step(str(run_dir)) == 6
    return str(caught.value)


def test_a_file_size_limit_stops_the_run_in_one_line(run_dir, made):
    """A real failure of write(2): EFBIG (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        text = _expect_refusal(run_dir, made)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in text


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_run_in_one_line(three, small_disk, made):
    run_dir = pathlib.Path(shutil.copytree(three, small_disk / "run"))
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - 20_000))
    assert "No space left on device" in _expect_refusal(run_dir, made)
    # Nothing at all left: not even the marker of a folder.
    with filler.open("ab") as file:
        file.write(b"\0" * shutil.disk_usage(small_disk).free)
    _expect_refusal(run_dir, made)
    with pytest.raises(errors.RunError, match="step-1.png cannot be written"):
        noise = np.random.RandomState(0).randint(0, 99, [99, 99, 3]).astype(np.uint8)
        validation.write_png(str(run_dir / "samples" / "step-1.png"), noise)
    filler.unlink()
    saver(run_dir, made).save()
    assert checkpoints.latest_step(str(run_dir)) == 8


@pytest.mark.parametrize("name", ["write", "seal"])
def test_any_failure_of_a_save_leaves_the_earlier_ones(run_dir, made, monkeypatch, name):
    target = tf.train.Checkpoint if name == "write" else checkpoint_files
    real = getattr(target, name)

    def failing(*arguments):
        real(*arguments) if name == "write" else None
        raise tf.errors.ResourceExhaustedError(None, None, "{{node x}} ckpt; No space [Op:SaveV2]")

    monkeypatch.setattr(target, name, failing)
    assert "ckpt; No space. Make" in _expect_refusal(run_dir, made)


# --- what is saved


@pytest.mark.parametrize("where", ["weights", "slots"])
def test_numbers_that_are_not_finite_are_never_saved(run_dir, made, where):
    fill(made, 8)
    slots = [v for v in made.generator_optimizer.variables if v.dtype == tf.float32]
    bad = (made.generator.variables if where == "weights" else slots)[-1]
    bad.assign(tf.fill(bad.shape, float("inf")))
    before = listed(run_dir)
    with pytest.raises(divergence.Diverged, match="is not finite at step 8. .*ckpt-6"):
        saver(run_dir, made).save()
    assert listed(run_dir) == before


def test_undone_checkpoints_do_not_count(run_dir, made):
    # A rollback to 4 that was killed before anything else happened.
    run_folder.add_to_record(str(run_dir), "rollbacks", {"back_to": 4, "learning_rate_scale": 0.5})
    assert checkpoints.latest_step(str(run_dir)) == 4
    assert checkpoints.step_before(str(run_dir), 4) == 2
    rolled = divergence.Rollbacks(str(run_dir), settings().run)
    assert (rolled.count, rolled.led_to(4), rolled.led_to(2)) == (1, True, False)
    assert [rolled.scale_after(step) for step in (2, 4, 5)] == [0.5, 0.5, None]
    run = saver(run_dir, made, rollbacks=rolled.count)
    run.restore(4)
    fill(made, 5)
    run.save()
    assert run_folder.checkpoint_names(str(run_dir)) == ["ckpt-2", "ckpt-4", "ckpt-5"]
    assert checkpoints.latest_step(str(run_dir)) == 5


def test_a_row_that_waits_for_its_validation_is_kept_with_the_checkpoint(run_dir, made):
    row = {"stage": "pretrain", "step": 8, "learning_rate": 1e-4, "generator_loss": 1 / 3}
    fill(made, 8)
    run = saver(run_dir, made)
    run.save(pending=row)
    assert saver(run_dir, made).restore(8) == row
    run.save(again=True)
    assert saver(run_dir, made).restore(8) is None


@pytest.mark.parametrize("metric", sorted(config.BEST_METRICS))
def test_best_is_by_the_metric_and_its_direction(tmp_path, metric):
    assert metric in validation.SCORES
    made = state.build(settings(best_metric=metric))
    made.enter_stage("pretrain")
    run = saver(tmp_path, made)
    better = 1 if config.BEST_METRICS[metric] else -1
    kept = []
    for step, score in enumerate((-2.0, -2.0 - better, float("nan"), -2.0 + better), 1):
        fill(made, step)
        if run.save_if_best({metric: score}):
            kept.append(step)
    assert kept == [1, 4]
    prefix = os.path.join(run_folder.best_folder(str(tmp_path), "pretrain"), "ckpt-4")
    assert checkpoint_files.facts(prefix)["score"] == -2.0 + better


def test_another_metric_begins_anew(run_dir, made, caplog):
    assert saver(run_dir, made).restore(6) is None
    assert float(made.best.numpy()) == 30.0
    other = state.build(settings(best_metric="ssim_y"))
    other.enter_stage("pretrain")
    run = saver(run_dir, other)
    run.restore(6)
    assert "psnr_y so far, from now on by ssim_y" in caplog.text
    assert run.save_if_best({"psnr_y": 20.0, "ssim_y": 0.1})
    with pytest.raises(errors.InputError, match="best_metric must be one of psnr_y"):
        RunConfig(best_metric="lpips")


def test_rows_and_summaries_on_a_full_disk_are_one_line_too(small_disk):
    metrics = reporting.MetricsFile(str(small_disk), settings(), 0)
    summaries = reporting.Summaries(str(small_disk), 0)
    with (small_disk / "filler").open("wb") as file:
        file.write(b"\0" * shutil.disk_usage(small_disk).free)
    with pytest.raises(errors.RunError, match=r"metrics.csv cannot be written: .*No space left"):
        for step in range(999):
            metrics.append({"step": step, "generator_loss": 1 / 3})
    picture = np.zeros([99, 99, 3], np.uint8)
    with pytest.raises(errors.RunError, match=r"summaries cannot be written: .*No space left"):
        for step in range(99):
            summaries.evaluation(step, {"psnr_y": 1.0}, picture)
