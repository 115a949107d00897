"""scripts/keep_results.py: what a training came to, as files in a folder."""

import csv
import subprocess
import sys
from unittest import mock

import fixtures
import numpy as np
import pytest
import test_export
from absl import flags
from PIL import Image

SCRIPT = str(fixtures.ROOT / "scripts" / "keep_results.py")


def _keep(*options):
    command = [sys.executable, SCRIPT, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def keep_results():
    """The script as a module. Flags of other scripts have names that its own have: they stay."""
    with mock.patch.dict(flags.FLAGS._flags(), clear=True):
        from scripts import keep_results
    return keep_results


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "run"
    made = test_export.make_run(path, steps=(3, 7), name="lite", scale=4)
    (path / "metrics.csv").write_text("stage,step\npretrain,7\n")
    return made


def test_scores_of_every_checkpoint_and_pictures_are_kept(run_dir, tmp_path):
    options = ("--name=small", "--beside=lite", "--published=SRResNet-MSE")
    done = _keep(f"--run_dir={run_dir}", f"--output={tmp_path}", *options)
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
    assert "--published=SRResNet-MSE: not known of these sets" in done.stderr
    again = _keep(f"--run_dir={run_dir}", f"--output={tmp_path}", *options)
    assert again.returncode == 2 and "give --overwrite" in again.stderr
    # Four columns of details, twice as large as they are, and three rows.
    assert Image.open(folder / "pictures.webp").size == (4 * 356 - 4, 22 + 3 * 356 - 4)


def test_published_scores_are_found_by_the_names_of_the_pictures(keep_results):
    set5, methods = ["baby", "bird", "butterfly", "head", "woman"], ["SRResNet-MSE", "SRGAN-VGG22"]
    # Table 1 of the paper.
    expected = {"SRResNet-MSE": 32.05, "SRGAN-VGG22": 29.84}
    assert keep_results._published(set5, 4, methods) == expected
    assert keep_results._published(set5, 2, methods) == {}
    assert keep_results._published(set5[1:], 4, methods) == {}


def test_the_chart_has_the_run_and_a_line_of_its_own_for_every_other(keep_results):
    def row(model, step, one, psnr, vgg):
        return {"model": model, "step": step, "set": one, "psnr_y": psnr, "vgg_distance": vgg}

    others = ["bicubic", "a$b$", "_c", *(f"m{number}" for number in range(8))]
    rows = [
        row(model, "", one, f"{20 + number}.0", "7.0")
        for one in ("Set5", "Set14")
        for number, model in enumerate(others)
    ]
    rows += [row("run", step, one, "31.5", "9.0") for one in ("Set5", "Set14") for step in "37"]
    published = {"Set5": {"SRResNet-MSE": 32.05}, "Set14": {}}
    figure = keep_results._chart(rows, "run", published, "block3_conv4")
    keep_results._drawn(figure)  # What matplotlib refuses, it refuses here.
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:4] == ["run", "bicubic, measured", r"a\$b\$, measured", "_c, measured"]
    assert texts[-1] == "SRResNet-MSE, published" and len(texts) == 1 + len(others) + 1
    assert len({str(line.get_color()) for line in legend.get_lines()}) == len(texts)
    of_set5, of_set14, *of_vgg = figure.axes
    levels = [line.get_ydata()[0] for line in of_set5.get_lines()]
    assert levels == [31.5, *(20 + number for number in range(len(others))), 32.05]
    assert list(of_set5.get_lines()[0].get_xdata()) == [3, 7]
    assert len(of_set14.get_lines()) == len(levels) - 1
    assert [axes.get_lines()[0].get_ydata()[0] for axes in of_vgg] == [9.0, 9.0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--name=a/b"], "is not a name of a folder"),
        (["--name=lite", "--beside=lite"], "names must differ"),
        (["--name=small", "--set=held-out=x"], "names must differ"),
        (["--name=small", "--set=Set5"], "is not NAME=HR"),
        (["--name=small", "--set=a=nowhere"], "nowhere"),
        (["--name=small", "--run_dir=nowhere"], "nowhere"),
        (["--name=small", "--beside=srgan2"], "no folder srgan2"),
        (["--name=small", "--published=SRResNet"], "there are bicubic, SRResNet-MSE"),
        ([], "--name is needed"),
    ],
)
def test_what_cannot_be_kept_is_one_line(options, words, run_dir, tmp_path):
    refused = _keep(f"--run_dir={run_dir}", f"--output={tmp_path}", *options)
    assert refused.returncode == 2, refused.stderr
    assert words in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr and not list(tmp_path.iterdir())
    assert "evaluate:" not in refused.stderr  # Nothing was scored before.
