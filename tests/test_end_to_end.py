"""From a folder of pictures to an upscaled picture: all five commands as a user runs them."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import fixtures
import numpy as np
import tensorflow as tf
from PIL import Image

_NETWORKS = ["--generator_filters=8", "--generator_blocks=1", "--discriminator_filters=4"]
_STEPS = ["--pretrain_steps=30", "--discriminator_steps=2", "--gan_steps=3"]


def _line(name: str, *arguments: str) -> list[str]:
    script = fixtures.ROOT / ("data_prep" if name == "prepare" else "scripts") / f"{name}.py"
    return [sys.executable, str(script), *arguments]


def _command(name: str, *arguments: str) -> subprocess.CompletedProcess:
    done = subprocess.run(_line(name, *arguments), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "cuda" not in done.stderr.lower()
    return done


def _preempted(run_dir: str, *arguments: str) -> int:
    """Trains until the first row is logged, sends SIGTERM, and returns the exit code."""
    rows = pathlib.Path(run_dir) / "metrics.csv"
    with subprocess.Popen(_line("train", *arguments), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not rows.exists() or rows.read_text().count("\n") < 2:
            assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        text = process.communicate(timeout=300)[1]
    assert "saved; the same command continues." in text and "Traceback" not in text
    return process.returncode


def test_photos_to_upscaled_photos(tmp_path):
    folder = tmp_path / "my photos"
    folder.mkdir()
    for path in sorted((fixtures.ROOT / "docs" / "photos" / "train").glob("*.jpg"))[:3]:
        with Image.open(path) as photo:
            photo.resize((300, 260)).save(folder / path.name)
    (folder / "notes.txt").write_text("not a photo")
    data, run_dir, up = (str(tmp_path / name) for name in ("the data", "run", "up"))

    prepared = _command("prepare", f"--input={folder}", f"--output={data}", "--crop_size=120")
    assert "notes.txt" in prepared.stdout

    small = ["--crop_size=48", "--batch_size=4", "--log_every=5", "--validation_images=1"]
    flags = [f"--data={data}", f"--run_dir={run_dir}", *small, *_NETWORKS, *_STEPS]
    assert _preempted(run_dir, "--recipe=quick", *flags) == 143
    _command("train", "--recipe=quick", *flags)

    exported = _command("export", f"--run_dir={run_dir}")
    assert exported.stdout.strip().endswith("saved_model/35")

    photo = tmp_path / "small.png"
    Image.fromarray(fixtures.photo_like(40, 52)).save(photo)
    _command("upscale", f"--model={run_dir}", str(photo), f"--output={up}", "--compare")
    by_run = np.asarray(Image.open(pathlib.Path(up) / "small_x4.png"))
    assert by_run.shape == (160, 208, 3)
    assert (pathlib.Path(up) / "small_x4_compare.png").exists()

    # The artefact gives what the run gives; from TensorFlow alone, without this package.
    signature = tf.saved_model.load(f"{run_dir}/saved_model/35").signatures["serving_default"]
    by_artefact = signature(lr=fixtures.photo_like(40, 52)[np.newaxis])["sr"][0].numpy()
    assert np.abs(by_run.astype(int) - by_artefact).max() <= 1

    scores = tmp_path / "scores.json"
    _command("evaluate", f"--model={run_dir}", f"--hr={folder}", f"--json={scores}")
    mean = json.loads(scores.read_text())["mean"]
    # 30 steps from nearest-neighbour upscaling: far from good, and far from noise.
    assert 15 < mean["psnr_y"] < 60
