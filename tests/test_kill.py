"""A run that is killed at random moments ends, to the bit, as one that was never stopped.

The processes and the SIGKILLs are real; the import of TensorFlow is all that the processes share
(fixtures.fork_server). The run has every stage and what else must be kept to go on: averages,
slots, counts, rates, labels, spectral vectors, several crops of an image, several epochs.

SRGAN_LONG_TESTS=1 kills 100 times instead of 10; SRGAN_KILL_SEED=N chooses other moments.
"""

import collections
import concurrent.futures
import importlib.util
import itertools
import os
import pathlib
import random
import signal
import sys
import time

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import run_folder
from srgan_tf.config import (
    DataConfig,
    DiscriminatorConfig,
    DiscriminatorStage,
    GanStage,
    GeneratorConfig,
    OptimizerConfig,
    PretrainStage,
    RunConfig,
    StagesConfig,
    TrainConfig,
)
from srgan_tf.training import checkpoints, environment, loop, reporting, validation
from srgan_tf.training import run as run_lib

KILLS = 100 if os.environ.get("SRGAN_LONG_TESTS") else 10
STOPS = KILLS // 10
SEED = int(os.environ.get("SRGAN_KILL_SEED", "5"))
# Seconds after the event that a kill waits for: a step and its checkpoint take about a tenth.
SPREAD = 0.25
# Kills before the process' first step: while it opens the folder, restores, traces.
EARLY_SHARE = 0.25
LIMIT = 300.0  # Seconds without a sign of life after which the test fails.

LABELS = {"real_labels": (0.7, 1.2), "fake_labels": (0.0, 0.3), "flip_labels": 0.3}
# Slots of slots, and a count of their own, where there are addons.
OPTIMIZER = "lookahead" if importlib.util.find_spec("tensorflow_addons") else "adam"
CONFIG = TrainConfig(
    ema_decay=0.9,
    data=DataConfig(crop_size=16, batch_size=2, crops_per_image=2, shuffle_window=4),
    generator=GeneratorConfig(filters=2, blocks=1),
    discriminator=DiscriminatorConfig(
        name="srgan_small", filters=2, dense_units=2, norm="spectral"
    ),
    optimizer=OptimizerConfig(name=OPTIMIZER, clip_norm=0.5),
    stages=StagesConfig(
        pretrain=PretrainStage(steps=14, learning_rate=0.01, schedule="cosine", warmup_steps=3),
        discriminator=DiscriminatorStage(steps=6, learning_rate=0.01, **LABELS),
        gan=GanStage(
            steps=14,
            learning_rate=0.01,
            adversarial_weight=0.1,
            adversarial_ramp=6,
            discriminator_updates=2,
            **LABELS,
        ),
    ),
    run=RunConfig(
        log_every=1,
        validate_every=3,
        validation_images=1,
        checkpoint_every=2,
        keep_checkpoints=2,
        deterministic=True,
    ),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """About a dozen records of 48 px and a validation image: the run is several epochs."""
    return fixtures.prepared(tmp_path_factory.mktemp("data"), photos=4, size=(96, 120), crop=48)


@pytest.fixture(scope="module")
def server():
    return fixtures.fork_server()


def _train(config, data, run_dir, connection):
    """What the process does: trains, and says through `connection` what it is doing."""
    for owner, name in (
        (environment, "make_deterministic"),
        (loop.state, "build"),
        (loop.opening, "open_run_folder"),
        (checkpoints.Checkpoints, "restore"),
        (checkpoints.Checkpoints, "save"),
        (checkpoints.Checkpoints, "save_if_best"),
        (validation.Validator, "evaluate"),
        (validation, "write_png"),
        (reporting.MetricsFile, "append"),
        (run_lib.curves, "write_curves"),
    ):
        setattr(owner, name, _told(getattr(owner, name), name, connection))
    # Graphs are small and run a few times: to optimize them takes a quarter of a process' time.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    real = run_lib.Run._after_step

    def after_step(self, step, *arguments):
        connection.send(step)
        real(self, step, *arguments)
        connection.send("step")

    run_lib.Run._after_step = after_step
    connection.send("start")
    sys.exit(loop.train(config, data_dir=data, run_dir=run_dir, devices=("cpu:0",)))


def _told(function, name, connection):
    def wrapper(*arguments, **options):
        connection.send(name)
        result = function(*arguments, **options)
        connection.send(f"after {name}")
        return result

    return wrapper


class Life:
    """One process of a run."""

    def __init__(self, server, data, run_dir, target=_train):
        self._connection, theirs = server.Pipe(duplex=False)
        self.process = server.Process(target=target, args=(CONFIG, data, str(run_dir), theirs))
        self.process.start()
        theirs.close()
        self.said = ["start"]

    @property
    def doing(self):
        """What it did last, that is known of."""
        return self.said[-1]

    def wait(self, event):
        """Reads what the process says until `event` (a step: or later); False if it ended."""
        while self._connection.poll(LIMIT):
            try:
                said = self._connection.recv()
            except EOFError:
                return False
            self.said.append(said if isinstance(said, str) else "logging")
            if said == event or isinstance(said, int) and isinstance(event, int) and said >= event:
                return True
        raise AssertionError(f"silent for {LIMIT} s; the last it said: {self.doing}")

    def send(self, number, delay=0.0):
        """Sends a signal after `delay` seconds, if the process is still there."""
        time.sleep(delay)
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def end(self):
        """Returns the exit code, once there is one."""
        self.wait("never")
        self.process.join(LIMIT)
        return self.process.exitcode


def contents(run_dir):
    """Returns everything that a run computes: tensors of all kept checkpoints, rows, pictures."""
    run_dir, found = pathlib.Path(run_dir), {}
    folder = run_dir / run_folder.CHECKPOINTS
    last = run_folder.find_checkpoint(str(run_dir))
    best = [tf.train.latest_checkpoint(str(path)) for path in sorted(folder.glob("best-*"))]
    for prefix in (last, *best):
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            # The counter is of the saves of one process; the other describes the format.
            if not name.startswith(("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter")):
                key = f"{pathlib.Path(prefix).relative_to(folder)}: {name}"
                found[key] = np.asarray(reader.get_tensor(name)).tobytes()
    for path in (run_dir / run_folder.METRICS, *sorted((run_dir / "samples").glob("*.png"))):
        found[path.name] = path.read_bytes()
    return found


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    different = [name for name, value in expected.items() if got[name] != value]
    assert not different, f"{len(different)} of {len(expected)} differ: {different[:20]}"


@pytest.fixture(scope="module")
def whole(server, data, tmp_path_factory):
    """What a run leaves that was never stopped."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    life = Life(server, data, run_dir)
    assert life.end() == 0
    assert life.said.index("make_deterministic") < life.said.index("build")
    found = contents(run_dir)
    for part in ("averaged_generator", "generator_optimizer", "discriminator_optimizer", "best"):
        assert any(part in name for name in found), part
    assert len(run_folder.read_metrics(str(run_dir))) == CONFIG.total_steps
    return found


def _killed_run(server, data, run_dir, targets, chance):
    """Kills the run once for each of `targets` (steps; 0: before the first); says during what."""
    during = []
    for target in targets:
        life = Life(server, data, run_dir)
        if target and not life.wait(target):  # The run was done before its last kills.
            assert life.end() == 0
            break
        # Opening takes a tenth of a second, the first trace seconds.
        delay = chance.uniform(0, SPREAD if target else chance.choice((0.3, 3.0)))
        life.send(signal.SIGKILL, delay)
        code = life.end()
        assert code in (-signal.SIGKILL, 0)  # 0: it was quicker than the kill.
        if code:
            during.append(life.doing)
    assert Life(server, data, run_dir).end() == 0
    return during


def _targets(chance, kills):
    """Returns at which steps to kill (0: before the first), at random.

    Their order is that of the run: so each process comes to its target, whatever was lost before.
    """
    early = round(EARLY_SHARE * kills)
    targets = sorted(chance.randint(1, CONFIG.total_steps - 2) for _ in range(kills - early))
    for _ in range(early):
        targets.insert(chance.randint(0, len(targets)), 0)
    return targets


def test_a_run_that_is_killed_at_random_moments_ends_to_the_bit_the_same(
    server, data, whole, tmp_path
):
    def run(number, kills):
        chance, run_dir = random.Random(SEED + number), tmp_path / f"run{number}"
        during = _killed_run(server, data, run_dir, _targets(chance, kills), chance)
        assert_same(contents(run_dir), whole)
        return during

    during, number = [], 0
    with concurrent.futures.ThreadPoolExecutor(2) as lanes:
        while len(during) < KILLS:  # More than once if a process was quicker than its kill.
            missing = KILLS - len(during)
            sizes = [min(10, missing - first) for first in range(0, missing, 10)]
            for killed in lanes.map(run, range(number, number + len(sizes)), sizes):
                during += killed
            number += len(sizes)
    kinds = dict(collections.Counter(during).most_common())
    sys.stdout.write(f"\n{len(during)} kills in {number} runs, during: {kinds}\n")


def test_a_run_that_is_asked_to_stop_ends_to_the_bit_the_same(server, data, whole, tmp_path):
    chance, run_dir = random.Random(SEED), tmp_path / "run"
    targets = sorted(chance.sample(range(1, CONFIG.total_steps - 4), STOPS))
    signals = ((signal.SIGTERM, 143), (signal.SIGINT, 130))
    for target, (number, code) in zip(targets, itertools.cycle(signals), strict=False):
        life = Life(server, data, run_dir)
        assert life.wait(target)
        life.send(number, chance.uniform(0, SPREAD / 4))
        assert life.end() == code
    assert Life(server, data, run_dir).end() == 0
    assert_same(contents(run_dir), whole)


def _slow(config, data, run_dir, connection):
    """A process whose validation takes half a minute of Python."""
    real = validation.Validator.evaluate

    def evaluate(self, *arguments, **options):
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            time.sleep(0.01)
        return real(self, *arguments, **options)

    validation.Validator.evaluate = evaluate
    _train(config, data, run_dir, connection)


def test_a_second_ctrl_c_exits_at_once(server, data, tmp_path):
    life = Life(server, data, tmp_path / "run", target=_slow)
    assert life.wait("evaluate")
    for _ in range(2):
        assert life.process.is_alive()
        life.send(signal.SIGINT, 0.1)
    begin = time.monotonic()
    assert life.end() == 130
    assert time.monotonic() - begin < 2.0
