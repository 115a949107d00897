"""srgan-prepare and srgan-upscale with --engine=ray: a cluster of real processes, nodes killed.

The tests share the cluster and run in the order of this file: what one kills the next one replaces.
"""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import fixtures
import numpy as np
import pytest
import ray_cluster
import test_export
from PIL import Image
from test_data_prep import contents

from data_prep import convert, sources
from data_prep.settings import Settings
from srgan_tf import clusters, errors
from srgan_tf.serving import batch_ray
from srgan_tf.serving import pictures as pictures_lib

pytestmark = pytest.mark.skipif(
    ray_cluster.why_not() is not None, reason=str(ray_cluster.why_not())
)
PREPARE = fixtures.ROOT / "data_prep" / "prepare.py"
UPSCALE = fixtures.ROOT / "scripts" / "upscale.py"
SETTINGS = Settings(crop_size=24, shards=24, validation_percent=20.0, seed=7, encoding="png")
FLAGS = [
    f"--{name}={getattr(SETTINGS, name)}"
    for name in ("crop_size", "shards", "validation_percent", "seed", "encoding")
]
PHOTOS = 32
PICTURES = 90
WRITTEN = "**/*_x2.png"
LIMIT = 500.0
# The local engine with as many threads as an actor has: oneDNN divides sums among them, and rounds
# otherwise with others.
UPSCALE_LOCALLY = """
import sys
import tensorflow as tf
from srgan_tf.serving import batch, pictures
from srgan_tf.serving.upscaler import Upscaler

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
source, output, model = sys.argv[1:]
batch.run(pictures.plan([source], output, scale=2), Upscaler.load(model, tile_size=64))
"""


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster.Cluster(nodes=2, cpus=1) as started:
        yield started


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos that take about a tenth of a second each to cut, and one that is broken."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(PHOTOS):
        Image.fromarray(fixtures.photo_like(360, 480, seed=index)).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    return folder


@pytest.fixture(scope="module")
def expected(photos, tmp_path_factory):
    """What one worker of the local engine makes of them."""
    output = tmp_path_factory.mktemp("expected") / "out"
    wanted = sources.from_files([str(photos)], str(output))
    convert.convert(SETTINGS, wanted, str(output), workers=1, overwrite=False)
    return contents(output)


def start(cluster, script, *flags, folder):
    """Starts a command as users do, from another folder than the package's."""
    command = [sys.executable, str(script), "--engine=ray", f"--ray_address={cluster.address}"]
    return subprocess.Popen(
        [*command, *flags],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    out, err = process.communicate(timeout=LIMIT)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def wait_until(condition, process):
    end = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None, f"it ended too soon: {process.communicate()}"
        assert time.monotonic() < end
        time.sleep(0.002)


def count(folder, pattern):
    return len(list(pathlib.Path(folder).glob(pattern)))


def spooled(output):
    return count(output, ".spool/" + "?" * 32)


def shards(output):
    return count(output, "*.tfrecord-*")


def test_prepare_with_a_node_killed_writes_the_same_bytes(cluster, photos, expected, tmp_path):
    process = start(cluster, PREPARE, f"--input={photos}", "--output=out", *FLAGS, folder=tmp_path)
    output = tmp_path / "out"
    wait_until(lambda: spooled(output) >= PHOTOS // 4, process)
    cluster.nodes[0].kill()
    assert spooled(output) < PHOTOS, "killed too late"
    code, out, err = finish(process)
    assert code == 0, err
    assert contents(output) == expected
    assert f"{PHOTOS + 1} found, {PHOTOS} used, 1 skipped: 1 corrupt (broken.png)" in out
    assert "1 node of the Ray cluster left; others did the work." in err


def test_prepare_on_one_node_stopped_by_ctrl_c_continues(cluster, photos, expected, tmp_path):
    flags = (f"--input={photos}", "--output=out", *FLAGS)
    output = tmp_path / "out"
    process = start(cluster, PREPARE, *flags, folder=tmp_path)
    wait_until(lambda: shards(output) >= 4, process)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "the same command continues" in err
    assert not (output / "manifest.json").exists()
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord-*")}
    assert before

    code, _, err = finish(start(cluster, PREPARE, *flags, folder=tmp_path))
    assert code == 0, err
    assert contents(output) == expected
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return test_export.make_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures in two folders, a broken one, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "sub").mkdir()
    for index in range(PICTURES):
        name = f"sub/{index}.jpg" if index % 2 else f"{index}.png"
        Image.fromarray(fixtures.photo_like(150, 200, seed=index)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_upscale_with_a_node_killed_gives_the_same_pixels(cluster, run_dir, pictures, tmp_path):
    here, output = tmp_path / "here", tmp_path / "out"
    # Tiles by the memory that is left would be others in other processes, and round otherwise, too.
    code = [sys.executable, "-c", UPSCALE_LOCALLY, str(pictures), str(here), str(run_dir)]
    subprocess.run(code, cwd=fixtures.ROOT, check=True, timeout=LIMIT)
    cluster.add_node()

    flags = (f"--model={run_dir}", f"--input={pictures}", "--output=out", "--tile_size=64")
    process = start(cluster, UPSCALE, *flags, folder=tmp_path)
    wait_until(lambda: count(output, WRITTEN) >= 4, process)
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, ""), err
    there = count(output, WRITTEN)  # Or some more: actors end a little later.

    process = start(cluster, UPSCALE, *flags, folder=tmp_path)
    wait_until(lambda: count(output, WRITTEN) >= there + PICTURES // 4, process)
    cluster.nodes[-1].kill()
    assert count(output, WRITTEN) < PICTURES, "killed too late"
    code, out, err = finish(process)
    assert code == 1, err
    kept = int(re.search(r"there already: (\d+), no pictures: 1$", out, re.MULTILINE)[1])
    assert there <= kept < there + PICTURES // 4
    assert out.splitlines()[:3] == [
        f"done     {PICTURES - kept:>13}",
        f"skipped  {kept + 1:>13}  there already: {kept}, no pictures: 1",
        "failed               1  corrupt: 1",
    ]
    assert f"{pictures}/broken.jpg: corrupt: " in out.splitlines()[-1]
    assert "1 node of the Ray cluster left" in err
    names = [path.relative_to(here) for path in here.rglob("*") if path.is_file()]
    assert len(names) == PICTURES
    assert set(names) == {p.relative_to(output) for p in output.rglob("*") if p.is_file()}
    for name in names:
        np.testing.assert_array_equal(Image.open(output / name), Image.open(here / name))


def on_the_cluster(cluster, pictures, model, output, actors=None):
    """Runs what the command does, in this process; returns the summary."""
    summary = pictures_lib.Summary()
    output.mkdir()
    with clusters.connected(cluster.address):
        batch_ray.run(
            pictures_lib.plan([str(pictures)], str(output), scale=2),
            model,
            actors=actors or batch_ray.Actors(most=1),
            output=str(output),
            overwrite=False,
            quality=90,
            summary=summary,
            grows=True,
        )
    return summary


def test_a_picture_that_kills_its_process_is_named_and_all_others_are_done(
    cluster, run_dir, tmp_path, monkeypatch
):
    """With half a GPU for the actor; TensorFlow finds none and computes without."""
    folder, output = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    names = [f"{index}.png" for index in range(16)] + ["deadly.png"]
    for index, name in enumerate(names):
        Image.fromarray(fixtures.photo_like(20, 24, seed=index)).save(folder / name)

    class Dies(batch_ray._Upscaling):
        def __call__(self, table):
            if any(b"deadly" in source for source in table["source"].to_pylist()):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(table)

    monkeypatch.setattr(batch_ray, "_Upscaling", Dies)
    monkeypatch.setattr(clusters, "RETRIES", 1)
    node = cluster.add_node(gpus=1)
    model, _ = batch_ray.look_at(str(run_dir), {})
    actors = batch_ray.Actors(most=1, gpus=0.5)
    summary = on_the_cluster(cluster, folder, model, output, actors)
    node.kill()
    assert summary.done == len(names) - 1 == count(output, WRITTEN)
    (failed,) = summary.failed
    assert failed.startswith(f"{folder}/deadly.png: the process that worked at it was killed")
    assert summary.reasons == {"killed": 1}


def test_a_node_with_another_model_is_one_line(cluster, run_dir, pictures, tmp_path):
    model, _ = batch_ray.look_at(str(run_dir), {})
    other = dataclasses.replace(model, fingerprint="another")
    with pytest.raises(errors.InputError, match="has another model in .* than this machine$"):
        on_the_cluster(cluster, pictures, other, tmp_path / "out")
    assert not [*(tmp_path / "out").iterdir()]


def test_what_a_node_lacks_is_said_of_it(cluster, tmp_path, monkeypatch):
    with clusters.connected(cluster.address):
        clusters.require_fit(str(tmp_path), [str(tmp_path)])
        for path in (tmp_path / "nowhere", "nosuch://bucket/photos"):
            with pytest.raises(
                errors.InputError, match=rf"node 127\.0\.0\.\d+ of .* does not see {path} "
            ):
                clusters.require_fit(str(tmp_path), [str(path)])
        monkeypatch.setattr(clusters, "_NEEDED", ("numpy", "no_such_library"))
        with pytest.raises(errors.InputError, match="cannot import no_such_library"):
            clusters.require_fit(str(tmp_path), [])
    assert not [*tmp_path.iterdir()]


def test_a_machine_that_has_no_room_is_refused_where_none_can_join():
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0, "memory": 1e9}}]
    actors = batch_ray.Actors(cpus=2, memory_mb=500)
    assert batch_ray._fit(nodes, actors, grows=False) == 2
    large = dataclasses.replace(actors, memory_mb=1500)
    assert batch_ray._fit(nodes, large, grows=True) == 0
    with pytest.raises(errors.InputError, match="no room for an actor .2 cores, 0 GPUs, 1500 MB"):
        batch_ray._fit(nodes, large, grows=False)


@pytest.mark.parametrize(
    ("script", "flags", "message"),
    [
        (PREPARE, ("--ray_address=127.0.0.1:1",), "No Ray cluster at --ray_address=127.0.0.1:1: "),
        (PREPARE, ("--workers=2",), "--workers is for --engine=local"),
        (PREPARE, ("--make_lr",), "--engine is for records"),
        (UPSCALE, ("--server=grpc://x:1",), "--engine=ray has the model in its own processes"),
        (UPSCALE, ("--model=m", "--ray_gpus=1.5"), "--ray_gpus=1.5: give a part of one GPU, or"),
        (UPSCALE, ("--engine=local", "--model=m"), "--ray_address is for --engine=ray"),
    ],
)
def test_mistakes_are_one_line(cluster, photos, tmp_path, script, flags, message):
    flags = (f"--input={photos}", "--output=out", *flags)
    code, out, err = finish(start(cluster, script, *flags, folder=tmp_path))
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"{script.name}: error: {message}")
