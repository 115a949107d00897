"""The command itself, as a process: exit codes, workers, kill -9 at any moment, Ctrl-C."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import fixtures
import pytest
from PIL import Image
from test_data_prep import contents

SCRIPT = fixtures.ROOT / "data_prep" / "prepare.py"
# Many small shards, so that a run can be caught while it writes them.
FLAGS = ("--crop_size=24", "--shards=60", "--validation_percent=20", "--seed=7")


def start(photos, output, *flags):
    command = [sys.executable, str(SCRIPT), f"--input={photos}", f"--output={output}", *flags]
    return subprocess.Popen(
        command,
        cwd=os.path.dirname(output),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Thirty photos that take some time to cut."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(30):
        Image.fromarray(fixtures.photo_like(300, 380, seed=index)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def expected(photos, tmp_path_factory):
    """What one worker makes of them without interruption."""
    output = tmp_path_factory.mktemp("expected") / "out"
    code, out, err = finish(start(photos, output, *FLAGS, "--workers=1"))
    assert code == 0, err
    assert "30 found, 30 used, none skipped" in out
    assert f"srgan-train --data={output}" in out
    assert "cuda" not in err.lower()
    assert "absl::InitializeLog" not in err
    return contents(output)


def wait_until(condition, process):
    while not condition():
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.002)


def spooled(output, count):
    """Returns a condition: `count` photos are cut."""
    return lambda: len(list(pathlib.Path(output, ".spool").glob("?" * 32))) >= count


def shards(output, count):
    """Returns a condition: `count` shards are written."""
    return lambda: len(list(pathlib.Path(output).glob("*.tfrecord-*"))) >= count


def children(process):
    path = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not path.exists():
        pytest.skip("needs /proc to find the worker processes")
    return [int(pid) for pid in path.read_text().split()]


def is_running(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def is_worker(pid):
    return b"spawn_main" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def wait_for_the_end_of(workers):
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, "the workers go on without their parent"
        time.sleep(0.02)


def test_killed_at_several_moments_it_ends_with_equal_bytes(photos, expected, tmp_path):
    output = tmp_path / "out"
    for moment in (spooled(output, 2), spooled(output, 17), shards(output, 20)):
        process = start(photos, output, *FLAGS, "--workers=2")
        wait_until(moment, process)
        workers = [pid for pid in children(process) if is_worker(pid)]
        process.kill()
        process.communicate()
        wait_for_the_end_of(workers)
        assert not (output / "manifest.json").exists()
    code, _, err = finish(start(photos, output, *FLAGS, "--workers=3"))
    assert code == 0, err
    assert contents(output) == expected


def test_a_killed_worker_is_one_line_and_ctrl_c_is_prompt(photos, expected, tmp_path):
    output = tmp_path / "out"
    process = start(photos, output, *FLAGS, "--workers=2")
    wait_until(spooled(output, 2), process)
    os.kill(next(pid for pid in children(process) if is_worker(pid)), signal.SIGKILL)
    code, out, err = finish(process)
    assert code == 2
    assert not out
    assert "error: a worker process was killed (out of memory?) while at one of: " in err

    process = start(photos, output, *FLAGS, "--workers=2")
    wait_until(spooled(output, 15), process)
    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: the workers get it too.
    stopped = time.monotonic()
    code, _, err = finish(process)
    assert code == 130
    assert time.monotonic() - stopped < 10
    assert "the same command continues" in err

    code, _, err = finish(start(photos, output, *FLAGS, "--workers=1"))
    assert code == 0, err
    assert contents(output) == expected


def test_strict_fails_when_a_photo_was_skipped(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(fixtures.photo_like(48, 48)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_bytes(b"")
    flags = ("--crop_size=24", "--workers=1", "--strict")
    code, out, _ = finish(start(tmp_path / "photos", tmp_path / "out", *flags))
    assert code == 1
    assert "1 skipped: 1 empty (b.png)" in out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--input=nothing", "input nothing does not exist; give a file, a folder or a glob"),
        ("--tfds=div2k", "give either --input (photos) or --tfds (a TFDS data set)"),
        ("--crop_size=100", "crop_size must be a positive multiple of 24"),
        ("nothing", "unexpected 'nothing'; give photos as --input=nothing"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(tmp_path, flag, message):
    (tmp_path / "photos").mkdir()
    code, out, err = finish(start(tmp_path / "photos", tmp_path / "out", flag))
    assert (code, out) == (2, "")
    assert err.startswith(f"prepare.py: error: {message}")
    assert err.count("\n") == 1


def test_help_is_quick_and_lists_every_flag():
    began = time.monotonic()
    found = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=False
    )
    assert time.monotonic() - began < 5  # 0.5 s on an idle machine; TensorFlow alone takes 3.
    assert found.returncode == 0
    for flag in ("input", "tfds", "crop_size", "stride", "min_detail", "encoding", "[no]strict"):
        assert f"--{flag}\n" in found.stdout
