"""Whether a long run grows: memory, open files, traces, event files, while it does everything.

600 steps of all stages here; SRGAN_LONG_TESTS=1 makes them 10,000.
"""

import os
import pathlib
import sys

import fixtures
import pytest

from srgan_tf import run_folder
from srgan_tf.config import (
    DataConfig,
    DiscriminatorConfig,
    DiscriminatorStage,
    GanStage,
    GeneratorConfig,
    PretrainStage,
    RunConfig,
    StagesConfig,
    TrainConfig,
)
from srgan_tf.training import loop, steps
from srgan_tf.training import run as run_lib

LONG = bool(os.environ.get("SRGAN_LONG_TESTS"))
STEPS = int(os.environ.get("SRGAN_SOAK_STEPS", 10_000 if LONG else 600))
BEFORE = STEPS // 10  # Of each of the two stages before the GAN stage.
EVERY = 100 if LONG else 25
# After the GAN stage's trace and some of its validations and checkpoints.
WARM = 2 * STEPS // 5 // EVERY * EVERY
# Of the memory after the warm-up. The short form sees less of a leak, and more of the allocator's
# first fragments in relation.
GROWTH = 0.02

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="needs Linux' /proc to look at a process"
)


def config():
    return TrainConfig(
        ema_decay=0.99,
        data=DataConfig(crop_size=24, batch_size=2),
        generator=GeneratorConfig(filters=2, blocks=1),
        discriminator=DiscriminatorConfig(name="srgan_small", filters=2, dense_units=2),
        stages=StagesConfig(
            pretrain=PretrainStage(steps=BEFORE),
            discriminator=DiscriminatorStage(steps=BEFORE),
            gan=GanStage(steps=STEPS - 2 * BEFORE, content=(("mse", 1.0),)),
        ),
        run=RunConfig(
            log_every=EVERY // 5,
            validate_every=EVERY,
            validation_images=1,
            checkpoint_every=EVERY,
            doctor=False,
        ),
    )


def _measured():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return {
        "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }


def _soak(data, run_dir, connection):
    """Trains in a process of its own and sends what it measured."""
    made, seen = {}, {}
    real_step, real_after = steps.distributed_step, run_lib.Run._after_step

    def distributed_step(strategy, state):
        made[state.stage_name] = real_step(strategy, state)
        return made[state.stage_name]

    def after_step(self, step, *arguments):
        real_after(self, step, *arguments)
        if step % EVERY == 0:
            seen[step] = _measured()
            made["validation"] = self._validator._forward

    run_lib.steps.distributed_step, run_lib.Run._after_step = distributed_step, after_step
    code = loop.train(config(), data_dir=data, run_dir=run_dir, devices=("cpu:0",))
    traces = {name: one.experimental_get_tracing_count() for name, one in made.items()}
    connection.send((code, traces, seen))


@pytest.fixture(scope="module")
def soaked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak")
    data = fixtures.prepared(folder, photos=4, size=(96, 120), crop=48)
    server = fixtures.fork_server()
    ours, theirs = server.Pipe(duplex=False)
    process = server.Process(target=_soak, args=(data, str(folder / "run"), theirs))
    process.start()
    theirs.close()
    code, traces, seen = ours.recv()
    process.join()
    assert code == 0
    warm, end = seen[WARM], seen[STEPS]
    for step in range(STEPS // 4, STEPS, STEPS // 4):
        sys.stdout.write(f"\nstep {step}: {seen[step // EVERY * EVERY]}")
    sys.stdout.write(f"\n{STEPS} steps, traces {traces}; step {WARM}: {warm}; end: {end}\n")
    return folder / "run", traces, seen


def test_every_function_is_traced_once(soaked):
    _, traces, _ = soaked
    # Validation: one trace for pictures of all sizes.
    assert traces == {"pretrain": 1, "discriminator": 1, "gan": 1, "validation": 1}


def test_memory_and_open_files_stay_as_they_are(soaked):
    _, _, seen = soaked
    warm, end = seen[WARM], seen[STEPS]
    assert end["bytes"] < (1 + GROWTH) * warm["bytes"]
    # Shards are open for a while, in the one measurement or in the other.
    shards = 3
    for step, measured in seen.items():
        if step >= WARM:
            assert abs(measured["files"] - warm["files"]) <= shards, step
            assert measured["threads"] <= warm["threads"] + 2, step


def test_event_files_are_two_and_grow_by_rows_alone(soaked):
    run_dir, _, _ = soaked
    rows = run_folder.read_metrics(str(run_dir))
    assert len(rows) >= 5 * STEPS // EVERY
    sizes = {}
    for kind in ("train", "eval"):
        (events,) = (run_dir / "summaries" / kind).iterdir()
        sizes[kind] = events.stat().st_size
    scalars = sum(len([value for value in row.values() if value]) for row in rows)
    # An event is a float, a step, a time, a tag and checksums: less than 120 bytes.
    assert sizes["train"] < 1000 + 120 * scalars
    # A validation adds one picture, whose PNG is in samples/ too, and a score for each column.
    pictures = sum(path.stat().st_size for path in (run_dir / "samples").iterdir())
    assert sizes["eval"] < 1000 + 2 * pictures + 120 * scalars


def test_checkpoints_do_not_pile_up(soaked):
    run_dir, _, _ = soaked
    # Three recent ones and a best for each stage that trains the generator, of a few files each.
    assert len([path for path in (run_dir / "checkpoints").rglob("*") if path.is_file()]) < 40
