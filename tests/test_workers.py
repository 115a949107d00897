"""training/team.py: processes with a TF_CONFIG train one run together.

The processes are real and talk over loopback; each has one core's worth of a model.
"""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors, run_folder
from srgan_tf.data import pipeline, records
from srgan_tf.training import team

PROGRAM = pathlib.Path(__file__).with_name("worker_run.py")
CONFIG = config_lib.TrainConfig(
    ema_decay=0.9,
    data=config_lib.DataConfig(crop_size=16, batch_size=8, crops_per_image=2, shuffle_window=4),
    # Each worker would normalize by its own part of a batch.
    generator=config_lib.GeneratorConfig(filters=4, blocks=1, norm="none"),
    discriminator=config_lib.DiscriminatorConfig(
        name="srgan_small", filters=2, dense_units=2, norm="none"
    ),
    stages=config_lib.StagesConfig(
        pretrain=config_lib.PretrainStage(steps=5, learning_rate=0.05),
        gan=config_lib.GanStage(
            steps=4, learning_rate=0.05, adversarial_weight=0.1, discriminator_updates=2
        ),
    ),
    run=config_lib.RunConfig(
        log_every=1, validate_every=3, validation_images=3, checkpoint_every=2, deterministic=True
    ),
)
LAST = 9


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return fixtures.prepared(folder, photos=8, size=(96, 120), crop=48)


def start(folder, config, data, run_dir, count, *options):
    """Starts `count` workers; `options` are pairs (worker, option), or options of all."""
    path = folder / "config.json"
    path.write_text(config_lib.to_json(config))
    ports = _free_ports(count)
    processes = []
    for index in range(count):
        mine = [o if isinstance(o, str) else o[1] for o in options if o[0] == index or o is str(o)]
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        task = {"type": "worker", "index": index}
        paths = os.pathsep.join([str(fixtures.ROOT), str(fixtures.ROOT / "tests")])
        variables = {**os.environ, "PYTHONPATH": paths}
        if count > 1:
            variables["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        processes.append(
            subprocess.Popen(
                [sys.executable, PROGRAM, path, data, run_dir, *mine],
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def finish(processes, codes):
    """Returns what each said, and asserts the exit codes."""
    said = [process.communicate(timeout=300)[1] for process in processes]
    found = [process.returncode for process in processes]
    assert found == codes, "\n\n".join(text[-3000:] for text in said)
    return said


def _free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def tensors(run_dir, step=LAST):
    reader = tf.train.load_checkpoint(f"{run_dir}/checkpoints/ckpt-{step}")
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if not name.startswith(("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter"))
    }


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """A run of two workers that nobody disturbed."""
    folder = tmp_path_factory.mktemp("two")
    finish(start(folder, CONFIG, data, folder / "run", 2), [0, 0])
    return folder / "run"


def test_two_workers_of_8_are_one_of_16(data, tmp_path):
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, batch_size=16))
    for count in (1, 2):
        name = tmp_path / str(count)
        name.mkdir()
        finish(start(name, config, data, name / "run", count, "sgd"), [0] * count)
    one, two = (tensors(tmp_path / str(count) / "run") for count in (1, 2))
    assert one.keys() == two.keys()
    moved = 0
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-6, err_msg=name)
        moved += value.size
    assert moved > 1000
    rows = [run_folder.read_metrics(str(tmp_path / str(count) / "run")) for count in (1, 2)]
    assert len(rows[0]) == len(rows[1]) == LAST
    for first, second in zip(*rows, strict=True):
        for name, value in first.items():
            if name not in ("stage", "step") and value != "":
                assert float(second[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-4), name


def test_only_the_first_worker_writes(together):
    found = {str(path.relative_to(together)) for path in together.rglob("*") if path.is_file()}
    single = {"config.json", "metrics.csv", "curves.png", ".lock"}
    assert single <= found
    events = [name for name in found if "tfevents" in name]
    assert len(events) == 2  # summaries/train and summaries/eval.
    assert {name.split("/")[0] for name in found - single} == {
        "checkpoints",
        "samples",
        "summaries",
    }
    assert not [name for name in found if "tmp" in name or "temp" in name]


def test_after_a_kill_all_end_and_a_new_start_ends_as_if_there_had_been_none(
    data, together, tmp_path
):
    run_dir = tmp_path / "run"
    said = finish_all(start(tmp_path, CONFIG, data, run_dir, 2, (1, "kill_at=6")))
    assert said[1][0] == -signal.SIGKILL and said[0][0] not in (0, None)
    assert run_folder.find_checkpoint(str(run_dir))
    finish(start(tmp_path, CONFIG, data, run_dir, 2), [0, 0])
    assert_same(run_dir, together)


def finish_all(processes):
    """Returns (exit code, what it said) of each."""
    said = [process.communicate(timeout=300)[1] for process in processes]
    return [(one.returncode, text) for one, text in zip(processes, said, strict=True)]


def assert_same(run_dir, expected):
    found, wanted = tensors(run_dir), tensors(expected)
    assert found.keys() == wanted.keys()
    assert not [name for name in wanted if not np.array_equal(found[name], wanted[name])]
    assert (run_dir / "metrics.csv").read_bytes() == (expected / "metrics.csv").read_bytes()


@pytest.mark.parametrize("asked", [0, 1])
def test_a_stop_of_one_worker_is_a_stop_of_all(data, together, asked, tmp_path):
    run_dir = tmp_path / "run"
    finish(start(tmp_path, CONFIG, data, run_dir, 2, (asked, "sigterm_at=3")), [143, 143])
    assert run_folder.find_checkpoint(str(run_dir)).endswith(("ckpt-4", "ckpt-5"))
    finish(start(tmp_path, CONFIG, data, run_dir, 2), [0, 0])
    assert_same(run_dir, together)


def test_parts_make_up_the_batch(data):
    split = records.open_split(data, "train")
    config = CONFIG.data

    def batches(part):
        made = pipeline.training_dataset(split, config, seed=3, start_step=5, part=part)
        return list(made.take(7))

    parts = [batches((number, 4)) for number in range(4)]
    for whole, *some in zip(batches((0, 1)), *parts, strict=True):
        for image, pieces in zip(whole, zip(*some, strict=True), strict=True):
            np.testing.assert_array_equal(image, np.concatenate(pieces))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}'],
)
def test_a_wrong_tf_config_is_one_line(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(errors.InputError, match="TF_CONFIG cannot be used"):
        team.join()


def test_places_are_counted_from_the_chief(monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["d:1"]}
    for task, place in (("chief", 0), ("worker", 2)):
        number = {"chief": 0, "worker": 1}[task]
        value = {"cluster": cluster, "task": {"type": task, "index": number}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(value))
        assert team._workers() == (["a:1", "b:1", "c:1"], place)
