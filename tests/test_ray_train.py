"""training/on_ray.py: Ray Train on a cluster of a head and two nodes, one of which is killed."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import types

import fixtures
import numpy as np
import pytest
import ray_cluster as clusters
import worker_run
from absl import logging

from srgan_tf import config as config_lib
from srgan_tf import errors, run_folder
from srgan_tf.training import on_ray

pytestmark = pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not() or "")

# So many steps that what is done to the run is done in its midst.
LAST = 80
CONFIG = config_lib.TrainConfig(
    data=config_lib.DataConfig(crop_size=16, batch_size=16, crops_per_image=2, shuffle_window=4),
    generator=config_lib.GeneratorConfig(filters=4, blocks=1, norm="batch"),
    stages=config_lib.StagesConfig(
        pretrain=config_lib.PretrainStage(steps=LAST), gan=config_lib.GanStage(steps=0)
    ),
    run=config_lib.RunConfig(
        log_every=10,
        validate_every=50,
        validation_images=2,
        checkpoint_every=5,
        deterministic=True,
    ),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return fixtures.prepared(folder, photos=8, size=(96, 120), crop=48)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of two cores, so that one alone is enough for two workers, too."""
    with clusters.Cluster(nodes=2, cpus=2) as made:
        yield made


@pytest.fixture(autouse=True)
def as_talkative_as_commands():
    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    yield
    logging.set_verbosity(before)


def train(cluster, data, run_dir, num_workers=2, config=CONFIG, when=None, **options):
    wanted = on_ray.Cluster(num_workers=num_workers, address=cluster.address, **options)
    try:
        return on_ray.train(config, data_dir=str(data), run_dir=str(run_dir), cluster=wanted)
    finally:
        if when:
            when.end()


class When(threading.Thread):
    """Does something once the run has a checkpoint from `step` on, if it has not ended by then.

    A signal that comes after the run has none to hear it but the process of the tests, and ends it.
    """

    def __init__(self, run_dir: pathlib.Path, step: int, action):
        super().__init__(daemon=True)
        self._folder, self._step, self._action = run_dir / "checkpoints", step, action
        self.done = False
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.start()

    def end(self):
        """Called once the run has ended: from here on nothing is done."""
        with self._lock:
            self._over.set()

    def run(self):
        def steps():
            return [int(path.stem.split("-")[1]) for path in self._folder.glob("ckpt-*.json")]

        while max(steps(), default=0) < self._step:
            if self._over.wait(0.02):
                return
        with self._lock:
            if not self._over.is_set():
                self._action()
                self.done = True


def test_stopped_and_a_node_killed_it_ends_as_if_nothing_had_been(cluster, data, tmp_path, capfd):
    undisturbed, run_dir = tmp_path / "undisturbed", tmp_path / "run"
    # Without Ray: its workers compute the same as others.
    worker_run.Job(CONFIG, data, undisturbed, 2, optimizer=None).said([0, 0])

    stop = When(run_dir, 10, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert train(cluster, data, run_dir, when=stop) == 130
    stopped_at = int(run_folder.find_checkpoint(str(run_dir)).rpartition("-")[2])
    assert stop.done and 10 <= stopped_at < LAST
    capfd.readouterr()

    kill = When(run_dir, stopped_at + 10, cluster.nodes[1].kill)
    assert train(cluster, data, run_dir, when=kill) == 0
    said = "".join(capfd.readouterr())
    assert kill.done
    _, record = run_folder.read_config(str(run_dir))
    assert len(record["sessions"]) == 3  # Stopped, killed, and the one that ended.
    assert f"from step {stopped_at}." in said and f"Done: {LAST} steps" in said
    found, wanted = (worker_run.tensors(folder, LAST) for folder in (run_dir, undisturbed))
    assert found.keys() == wanted.keys()
    assert not [name for name in wanted if not np.array_equal(found[name], wanted[name])]
    rows = [(folder / "metrics.csv").read_bytes() for folder in (run_dir, undisturbed)]
    assert rows[0] == rows[1]
    # Neither Ray nor a killed worker has left anything.
    assert {path.name for path in tmp_path.iterdir()} == {"undisturbed", "run", "log-0", "log-1"}
    names = [
        {path.relative_to(folder) for path in folder.rglob("*") if "tfevents" not in path.name}
        for folder in (run_dir, undisturbed)
    ]
    assert names[0] == names[1]


def test_a_mistake_is_one_line_and_not_tried_again(cluster, data, tmp_path, capfd):
    other = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, crop_size=64))
    with pytest.raises(errors.InputError) as caught:
        train(cluster, data, tmp_path / "run", config=other, num_workers=1, max_failures=5)
    assert "crop_size" in str(caught.value) and "\n" not in str(caught.value)
    assert " failed: " not in "".join(capfd.readouterr())
    assert not [*tmp_path.iterdir()]


def test_where_there_is_no_cluster(data, tmp_path):
    nowhere = on_ray.Cluster(num_workers=2, address="127.0.0.1:1")
    with pytest.raises(errors.InputError, match="No Ray cluster at --ray_address=127.0.0.1:1"):
        on_ray.train(CONFIG, data_dir=data, run_dir=str(tmp_path / "run"), cluster=nowhere)
    assert not [*tmp_path.iterdir()]


def test_a_cluster_of_this_machine_that_is_too_small(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    here = types.SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})
    with pytest.raises(errors.InputError, match="3 workers need 6 CPUs of 2 and 3 GPUs of 0"):
        on_ray._check_room(here, on_ray.Cluster(num_workers=3, cpus_per_worker=2, use_gpu=True))
    on_ray._check_room(here, on_ray.Cluster(num_workers=3, address="head:6379"))  # Waits for nodes.
    on_ray._check_room(here, on_ray.Cluster(num_workers=2))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num_workers=2"], "--num_workers count with --engine=ray alone"),
        (["--engine=ray", "--devices=cpu:0"], "leave --devices out"),
        (["--engine=ray", "--gpus_per_worker=8"], "--gpus_per_worker counts with --use_gpu alone"),
    ],
)
def test_flags_of_the_other_engine_are_refused(flags, words):
    command = [sys.executable, fixtures.ROOT / "scripts" / "train.py", "--data=a", "--run_dir=b"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


def test_a_stop_is_heard_where_nodes_are_lost_and_there_is_no_room(cluster, data, tmp_path, caplog):
    """The last test of the cluster: none of its nodes is left."""
    run_dir = tmp_path / "run"
    cluster.nodes[1].kill()  # If it is there.

    def lose_and_stop():
        cluster.nodes[0].kill()
        os.kill(os.getpid(), signal.SIGINT)

    lost = When(run_dir, 5, lose_and_stop)
    assert train(cluster, data, run_dir, when=lost, num_workers=1, cpus_per_worker=2) == 130
    assert lost.done and "Stopped while there were no workers" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert run_folder.find_checkpoint(str(run_dir))
