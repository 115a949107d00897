"""scripts/keep_results.py: what a training came to, as files in a folder."""

import csv
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import test_export
from PIL import Image

SCRIPT = str(fixtures.ROOT / "scripts" / "keep_results.py")


def _keep(*flags):
    command = [sys.executable, SCRIPT, *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "run"
    made = test_export.make_run(path, steps=(3, 7), name="lite", scale=4)
    (path / "metrics.csv").write_text("stage,step\npretrain,7\n")
    return made


def test_scores_of_every_checkpoint_and_pictures_are_kept(run_dir, tmp_path):
    flags = ("--name=small", "--beside=lite", "--published=SRResNet-MSE")
    done = _keep(f"--run_dir={run_dir}", f"--output={tmp_path}", *flags)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "small"
    assert (folder / "metrics.csv").read_text() == "stage,step\npretrain,7\n"
    with open(folder / "scores.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["step"]) for row in rows] == [
        ("bicubic", ""),
        ("lite", ""),
        ("small", "3"),
        ("small", "7"),
    ]
    # docs/MODELS.md: 30.90 dB on these photos; `lite` is better.
    assert float(rows[0]["psnr_y"]) == pytest.approx(30.90, abs=0.01)
    assert float(rows[1]["psnr_y"]) > 31.7
    chart = Image.open(folder / "scores.webp")
    assert chart.width == pytest.approx(4.6 * 110, abs=1) and np.unique(chart).size > 100
    # Four columns of details, twice as large as they are, and three rows.
    assert Image.open(folder / "pictures.webp").size == (4 * 356 - 4, 22 + 3 * 356 - 4)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--name=a/b"], "is not a name of a folder"),
        (["--name=lite", "--beside=lite"], "names must differ"),
        (["--name=small", "--set=held-out=x"], "names must differ"),
        (["--name=small", "--set=Set5"], "is not NAME=HR"),
        (["--name=small", "--run_dir=nowhere"], "nowhere"),
        (["--name=small", "--beside=srgan2"], "no folder srgan2"),
        (["--name=small", "--published=SRResNet"], "there are bicubic, SRResNet-MSE"),
        ([], "--name is needed"),
    ],
)
def test_what_cannot_be_kept_is_one_line(flags, words, run_dir, tmp_path):
    refused = _keep(f"--run_dir={run_dir}", f"--output={tmp_path}", *flags)
    assert refused.returncode == 2, refused.stderr
    assert words in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr and not list(tmp_path.iterdir())
