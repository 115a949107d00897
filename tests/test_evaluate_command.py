"""scripts/evaluate.py: all outputs of one command, and what it refuses before it works."""

import json
import sys

import fixtures
import pytest
from absl.testing import flagsaver
from PIL import Image

from scripts import evaluate
from srgan_tf import errors


@pytest.fixture
def hr(tmp_path):
    (tmp_path / "hr").mkdir()
    for seed, name in enumerate(("a", "b")):
        Image.fromarray(fixtures.photo_like(56, 48, seed)).save(tmp_path / "hr" / f"{name}.png")
    return tmp_path / "hr"


@pytest.fixture
def command(monkeypatch):
    """Runs srgan-evaluate in this process with flags by name."""

    def run(**values):
        monkeypatch.setattr(sys, "argv", ["/somewhere/srgan-evaluate", "--as-given"])
        with flagsaver.as_parsed(**{name: str(value) for name, value in values.items()}):
            evaluate.main(["srgan-evaluate"])

    if not evaluate.flags.FLAGS.is_parsed():
        evaluate.flags.FLAGS(["srgan-evaluate"])
    return run


def test_all_outputs_of_one_command(hr, tmp_path, command, capsys):
    out = tmp_path / "new" / "out"
    command(
        model="bicubic",
        hr=hr,
        json=f"{out}.json",
        csv=f"{out}.csv",
        report=f"{out}.html",
        save=tmp_path / "sr",
        explain="true",
    )
    record = json.loads((tmp_path / "new" / "out.json").read_text())
    assert record["mean"]["psnr_y"] == record["explain"][0]["psnr"]
    assert (tmp_path / "new" / "out.csv").read_text().startswith("upscaler,image,psnr_y")
    page = (tmp_path / "new" / "out.html").read_text()
    assert "srgan-evaluate --as-given" in page and "/somewhere" not in page
    assert "Under other conventions" in page and "no antialias" in page
    assert Image.open(tmp_path / "sr" / "a.png").size == (48, 56)
    shown = capsys.readouterr().out
    assert f"{record['mean']['psnr_y']:.2f}" in shown and "no antialias" in shown


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"report": "{tmp}"}, r"--report: .* is a folder, name a file"),
        ({"json": "{tmp}/hr/a.png/x.json"}, r"--json: .* cannot be written: "),
        ({"save": "{tmp}/hr"}, r"lie in one another"),
        ({"save": "{tmp}/hr/a.png"}, r"lie in one another"),
        ({"vgg_layer": "block1_conv1"}, "--vgg_layer needs --vgg_weights"),
        ({"checkpoint": "best"}, "--checkpoint and --weights are for run folders, not bicubic"),
        ({"border": "23"}, r"too small.*57x57 are needed.*smaller --border"),
        ({"hr": ""}, "--hr is needed"),
        ({"hr": "{tmp}/nope"}, "nope does not exist"),
    ],
)
def test_what_is_refused_before_anything_is_scored(hr, tmp_path, command, capsys, values, words):
    given = {name: value.format(tmp=tmp_path) for name, value in values.items()}
    with pytest.raises(errors.InputError, match=words):
        command(**{"model": "bicubic", "hr": hr, **given})
    assert not capsys.readouterr().out
    assert sorted(path.name for path in hr.iterdir()) == ["a.png", "b.png"]
