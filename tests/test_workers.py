"""Several workers train one run: real processes with TF_CONFIG, on loopback."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import fixtures
import numpy as np
import pytest
from worker_run import Job, tensors

from srgan_tf import config as config_lib
from srgan_tf import errors, run_folder
from srgan_tf.data import pipeline, records
from srgan_tf.training import team, tf_config

CONFIG = config_lib.TrainConfig(
    ema_decay=0.9,
    data=config_lib.DataConfig(crop_size=16, batch_size=16, crops_per_image=2, shuffle_window=4),
    generator=config_lib.GeneratorConfig(filters=4, blocks=1, norm="batch"),
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


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """A run of two workers, 8 images each, that nobody disturbed."""
    run_dir = tmp_path_factory.mktemp("two") / "run"
    Job(CONFIG, data, run_dir, 2).said([0, 0])
    return run_dir


def test_two_workers_of_8_are_one_of_16(data, together, tmp_path):
    Job(CONFIG, data, tmp_path / "run", 1).said([0])
    one, two = (tensors(run_dir, LAST) for run_dir in (tmp_path / "run", together))
    assert one.keys() == two.keys()
    assert [name for name in one if "moving_mean" in name or "momentum" in name]
    moved = 0
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-6, err_msg=name)
        moved += value.size
    assert moved > 1000
    rows = [run_folder.read_metrics(str(run_dir)) for run_dir in (tmp_path / "run", together)]
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


def test_killed_and_stopped_and_continued_it_ends_as_if_nothing_had_been(data, together, tmp_path):
    run_dir = tmp_path / "run"
    said = Job(CONFIG, data, run_dir, 2, worker_1={"kill_at": 4}).said([1, -signal.SIGKILL])
    assert "error: Worker 0 of 2 lost another one" in said[0]
    # The checkpoint of step 2 and what the survivor saved of step 4, if it got so far.
    assert run_folder.find_checkpoint(str(run_dir)).endswith(("ckpt-2", "ckpt-4"))
    Job(CONFIG, data, run_dir, 2, worker_1={"sigterm_at": 6}).said([143, 143])
    assert run_folder.find_checkpoint(str(run_dir)).endswith(("ckpt-7", "ckpt-8"))
    Job(CONFIG, data, run_dir, 2).said([0, 0])
    found, wanted = (tensors(folder, LAST) for folder in (run_dir, together))
    assert found.keys() == wanted.keys()
    assert not [name for name in wanted if not np.array_equal(found[name], wanted[name])]
    assert (run_dir / "metrics.csv").read_bytes() == (together / "metrics.csv").read_bytes()


def other_data(data, tmp_path):
    return {"data": str(tmp_path / "nothing")}, "no finished data set"


def other_folder(data, tmp_path):
    (tmp_path / "own").mkdir()
    shutil.copytree(data, tmp_path / "own" / "data")
    (tmp_path / "run2").mkdir()
    (tmp_path / "run2" / "config.json").write_text("{}")
    return {"run_dir": tmp_path / "run2"}, "must be on a file system that all workers see"


def other_seed(data, tmp_path):
    return {"seed": 7}, "start all workers with the same command"


@pytest.mark.parametrize("fault", [other_data, other_folder, other_seed])
def test_what_one_worker_cannot_begin_with_ends_all(data, fault, tmp_path):
    options, words = fault(data, tmp_path)
    said = Job(CONFIG, data, tmp_path / "run", 2, worker_1=options).said([2, 2])
    for text in said:
        (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
        assert words in line, line
    assert "Worker 1" in said[0]
    assert fault is other_folder or not (tmp_path / "run").exists()


def test_data_that_only_one_worker_cannot_read_ends_all(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    for path in pathlib.Path(tmp_path / "data").glob("*-train.tfrecord-*"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    options = {"data": str(tmp_path / "data")}
    said = Job(CONFIG, data, tmp_path / "run", 2, worker_1=options).said([1, 1])
    assert "error: Worker 0 of 2 lost another one" in said[0]
    assert "Among several workers bad records are not replaced" in said[1]


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
        assert tf_config.workers() == (["a:1", "b:1", "c:1"], place)


def said_by(script, folder, **variables):
    """Runs a script of docs/SCALING.md with `srgan-train` in the place of which TF_CONFIG shows."""
    tools = {
        "srgan-train": 'echo "$TF_CONFIG"',
        "scontrol": 'printf "node7\\nnode9\\n"',
        "srun": 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"',
    }
    for name, content in tools.items():
        (folder / name).write_text(f"#!/bin/bash\n{content}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **variables}
    done = subprocess.run(
        ["bash", "-euc", script], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_examples_of_the_docs_make_a_tf_config(tmp_path, monkeypatch):
    yaml = pytest.importorskip("yaml")
    text = (fixtures.ROOT / "docs" / "SCALING.md").read_text()
    slurm = re.search(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", text, re.DOTALL).group(1)
    *_, job = yaml.safe_load_all(re.search(r"```yaml\n(.*?)```", text, re.DOTALL).group(1))
    (kubernetes,) = job["spec"]["template"]["spec"]["containers"][0]["args"]
    examples = [
        (slurm, {"SLURM_PROCID": "1", "SLURM_JOB_NODELIST": "node[7,9]"}, ["node7", "node9"]),
        (kubernetes, {"JOB_COMPLETION_INDEX": "1"}, [f"srgan-{n}.srgan" for n in range(4)]),
    ]
    assert job["spec"]["completions"] == 4
    for script, variables, hosts in examples:
        monkeypatch.setenv("TF_CONFIG", said_by(script, tmp_path, **variables))
        assert tf_config.workers() == ([f"{host}:2222" for host in hosts], 1)
