"""explain.py and references.py: what each convention does to a score."""

import json
import math

import fixtures
import numpy as np
import pytest
from PIL import Image

from srgan_tf import bicubic, evaluation, evaluation_model, explain, references, report


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hr").mkdir()
    for seed, name in enumerate(("a", "b")):
        Image.fromarray(fixtures.photo_like(48, 56, seed)).save(tmp_path / "hr" / f"{name}.png")
    return tmp_path


def _explain(folder, lr=None):
    model = evaluation_model.load("bicubic", scale=4)
    pairs = evaluation.find_pairs(str(folder / "hr"), lr, 4, 4)
    return explain.explain(model, pairs, 4)


def _cell(explanation, lr, colour, border):
    (found,) = [
        cell
        for cell in explanation.cells
        if (cell.lr, cell.colour, cell.border) == (lr, colour, border)
    ]
    return found


def test_the_first_cell_is_the_protocol(folder):
    explanation = _explain(folder)
    model = evaluation_model.load("bicubic", scale=4)
    hr = str(folder / "hr")
    result = evaluation.run(model, evaluation.find_pairs(hr, None, 4, 4), hr=hr)
    mean = result.mean()
    for colour, name in (("Y", "y"), ("RGB", "rgb")):
        cell = _cell(explanation, explain.EXACT, colour, 4)
        assert (cell.psnr, cell.ssim) == pytest.approx(
            (mean[f"psnr_{name}"], mean[f"ssim_{name}"]), abs=1e-5
        )
    assert explanation.cells[0] == _cell(explanation, explain.EXACT, "Y", 4)
    # Every LR maker x 3 colours x 2 borders, each once.
    keys = {(cell.lr, cell.colour, cell.border) for cell in explanation.cells}
    assert len(keys) == len(explanation.cells) == len(explain.LR_MAKERS) * 3 * 2
    record = json.loads(report.to_json(result, explanation))
    assert record["explain"][0]["psnr"] == explanation.cells[0].psnr


def test_full_range_luma_costs_a_known_amount(folder):
    explanation = _explain(folder)
    difference = (
        _cell(explanation, explain.EXACT, "Y", 4).psnr
        - _cell(explanation, explain.EXACT, "Y 0-255", 4).psnr
    )
    # Y of BT.601 spans 219 levels: the same error is 219 / 255 as large.
    assert difference == pytest.approx(20 * math.log10(255 / 219), abs=0.01)


def test_lr_makers_differ_as_they_should():
    hr = fixtures.photo_like(64, 80)
    made = {name: maker(hr, 4).astype(int) for name, maker in explain.LR_MAKERS.items()}
    exact = made[explain.EXACT]
    inner = (slice(2, -2), slice(2, -2))
    # The same kernel without the rounding between the passes, and with a border of its own.
    antialiased = made["tf.image.resize, antialias"]
    assert np.abs(antialiased[inner] - exact[inner]).max() <= 1
    assert np.abs(made["Pillow BICUBIC"][inner] - exact[inner]).max() <= 2
    assert np.abs(made["tf.image.resize, no antialias"] - exact).max() > 10
    assert all(lr.shape == (16, 20, 3) for lr in made.values())


def _given(folder, offset):
    (folder / "lr").mkdir(exist_ok=True)
    for path in (folder / "hr").iterdir():
        small = bicubic.imresize(np.asarray(Image.open(path)), 1 / 4)
        made = np.clip(small.astype(int) + offset, 0, 255).astype(np.uint8)
        Image.fromarray(made).save(folder / "lr" / path.name)
    return str(folder / "lr")


def test_given_lr_pictures_are_a_row_and_never_the_base(folder):
    right, wrong = (_explain(folder, _given(folder, offset)) for offset in (0, 9))
    without = _explain(folder)
    assert right.base == wrong.base == without.base == _cell(without, explain.EXACT, "Y", 4)
    assert without.given is None
    assert "bit for bit" in right.given
    assert "by up to 9 levels" in wrong.given
    # They are too bright, so the score is below that of the right ones.
    assert _cell(wrong, explain.GIVEN, "Y", 4).psnr < wrong.base.psnr - 1
    assert _cell(right, explain.GIVEN, "Y", 4).psnr == right.base.psnr
    text = explain.to_text(wrong)
    assert f"{wrong.base.psnr:.2f} dB" in text and wrong.given in text
    assert all(maker in text for maker in explain.LR_MAKERS)
    assert max(map(len, text.splitlines())) <= 100


def test_another_border_is_a_column_of_its_own(folder):
    model = evaluation_model.load("bicubic", scale=4)
    pairs = evaluation.find_pairs(str(folder / "hr"), None, 4, 6)
    explanation = explain.explain(model, pairs, 6)
    assert explanation.base.border == 4
    assert {cell.border for cell in explanation.cells} == {4, 6, 0}


def test_a_model_runs_once_for_equal_lr_pictures(folder):
    calls = []

    def upscale(lr):
        calls.append(lr)
        return lr.repeat(4, axis=0).repeat(4, axis=1)

    model = evaluation_model.Model("nearest", upscale, 4, {})
    pairs = evaluation.find_pairs(str(folder / "hr"), _given(folder, 0), 4, 4)
    explain.explain(model, pairs[:1], 4)
    # Exact and given are the same; the other three makers' pictures differ.
    assert len(calls) == 4


def test_published_scores_are_found_by_the_pictures_names():
    five = ["baby", "bird", "butterfly", "head", "woman"]
    found = references.find([f"HR/{name}" for name in five], 4)
    assert found.dataset == "Set5"
    assert ("SRResNet-MSE", 32.05) in [(row.method, row.psnr_y) for row in found.rows]
    assert references.find(five, 2) is None
    assert references.find(five[:4], 4) is None
    fourteen = (
        "baboon barbara bridge coastguard comic face flowers foreman lena man monarch peppers "
        "ppt3 zebra"
    )
    assert references.find(fourteen.split(), 4).dataset == "Set14"
    # Numbers alone do not make it: DIV2K's validation pictures have four digits, too.
    assert references.find([f"{number:04}" for number in range(801, 901)], 4) is None
    assert references.find(five * 2, 4) is None
    (hundred,) = [text.split() for text in references._NAMES.values() if "101085" in text]
    assert len(set(hundred)) == 100
    assert references.find(hundred, 4).dataset == "BSD100"


def test_published_scores_name_their_border():
    reference = references.find(["baby", "bird", "butterfly", "head", "woman"], 4)
    assert "border 4 px)" in references.to_lines(reference, 4)[0]
    assert "border 4 px, not the 0 px here" in references.to_lines(reference, 0)[0]
