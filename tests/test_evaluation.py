"""evaluation.py and report.py: scores, their forms, and folders that do not match."""

import csv
import io
import json
import math

import fixtures
import numpy as np
import pytest
import test_export
from PIL import Image

from srgan_tf import bicubic, errors, evaluation, photos, report


@pytest.fixture
def hr(tmp_path):
    """Three originals: an odd size, another, and a grey one in a subfolder."""
    folder = tmp_path / "hr"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(fixtures.photo_like(43, 50)).save(folder / "odd.png")
    Image.fromarray(fixtures.photo_like(40, 32, 1)).save(folder / "even.png")
    Image.fromarray(fixtures.photo_like(32, 32, 2)[..., 1]).save(folder / "sub" / "grey.png")
    (folder / "README.txt").write_text("no picture")
    return folder


def _make_lr(hr, folder, scale, suffix=""):
    for path in hr.rglob("*.png"):
        lr = bicubic.imresize(bicubic.modulo_crop(np.asarray(Image.open(path)), scale), 1 / scale)
        target = folder / path.relative_to(hr).with_name(f"{path.stem}{suffix}.png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(lr).save(target)
    return folder


def test_scores_of_a_uniform_offset():
    black = np.zeros((20, 24, 3), np.uint8)
    scores = evaluation.score(black + 51, black, border=4)
    assert scores["psnr_rgb"] == pytest.approx(20 * math.log10(5), abs=1e-3)  # 255 / 51 = 5
    # Luma spans 16 to 235: the same offset is 219 / 255 as large.
    assert scores["psnr_y"] == pytest.approx(20 * math.log10(5 * 255 / 219), abs=1e-3)


def test_the_border_is_left_out():
    hr = fixtures.photo_like(32, 32)
    sr = 255 - hr
    sr[4:-4, 4:-4] = hr[4:-4, 4:-4]
    assert evaluation.score(sr, hr, border=4)["psnr_rgb"] == math.inf
    assert evaluation.score(sr, hr, border=3)["psnr_rgb"] < 20


def test_bicubic_is_scored_beside_the_model(hr):
    saved = {}
    originals = [str(path) for path in hr.rglob("*.png")]
    rows = evaluation.evaluate(
        lambda lr: lr.repeat(4, axis=0).repeat(4, axis=1),
        originals,
        None,
        4,
        on_image=lambda name, sr: saved.update({name: sr}),
    )
    assert [row.name for row in rows] == ["even", "odd", "sub/grey"]
    assert [(row.height, row.width) for row in rows] == [(40, 32), (40, 48), (32, 32)]
    assert saved["odd"].shape == (40, 48, 3)
    for row in rows:
        assert row.bicubic["psnr_y"] > row.model["psnr_y"]
    original = fixtures.photo_like(40, 32, 1)
    upscaled = bicubic.imresize(bicubic.imresize(original, 1 / 4), 4)
    assert rows[0].bicubic == evaluation.score(upscaled, original, 4)


@pytest.mark.parametrize("suffix", ["", "x4"])
def test_lr_pictures_are_found_by_name(hr, tmp_path, suffix):
    lr = _make_lr(hr, tmp_path / "lr", 4, suffix)
    made = evaluation.run("bicubic", hr=str(hr))
    given = evaluation.run("bicubic", hr=str(hr), lr=str(lr))
    assert given.rows == made.rows


def test_run_folder_in_every_form(hr, tmp_path):
    model = test_export.make_run(tmp_path / "run", steps=(7,))
    result = evaluation.run(model, hr=str(hr), save=str(tmp_path / "sr"))
    assert (result.scale, result.border) == (2, 2)
    assert Image.open(tmp_path / "sr" / "sub" / "grey.png").size == (32, 32)

    record = json.loads(report.to_json(result))
    assert record["mean"] == result.mean()
    assert record["bicubic"]["mean"] == result.mean("bicubic")
    expected = np.mean([image["psnr_y"] for image in record["images"]])
    assert record["mean"]["psnr_y"] == pytest.approx(expected)
    assert set(record["mean"]) >= {"psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"}
    assert record["protocol"]["origin"]["step"] == 7
    assert "imresize" in record["protocol"]["lr"]

    lines = list(csv.DictReader(io.StringIO(report.to_csv(result))))
    assert [(line["upscaler"], line["image"]) for line in lines[:4]] == [
        *(("model", name) for name in ("even", "odd", "sub/grey")),
        ("model", "mean"),
    ]
    assert float(lines[3]["psnr_y"]) == result.mean()["psnr_y"]

    table = report.to_table(result).splitlines()
    assert table[-1].split()[:2] == ["mean", f"{result.mean()['psnr_y']:.2f}"]
    assert len(table) == 3 + 1 + len(result.rows) + 1 + 1
    assert max(map(len, table[1:])) <= 100

    with pytest.raises(errors.InputError, match="enlarges by 2"):
        evaluation.run(model, hr=str(hr), scale=4)


def test_equal_pictures_give_valid_json(tmp_path):
    Image.new("RGB", (32, 32), "teal").save(tmp_path / "flat.png")
    result = evaluation.run("bicubic", hr=str(tmp_path))
    assert json.loads(report.to_json(result))["mean"]["psnr_y"] is None
    assert "inf" in report.to_table(result)


def test_transparent_pictures_are_put_on_white(tmp_path):
    image = np.dstack([fixtures.photo_like(32, 32), np.full([32, 32], 255, np.uint8)])
    image[:20, :, 3] = 0
    for name, picture in (("a", image), ("b", photos.flatten(image[..., :3], image[..., 3]))):
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "x.png")
    transparent, flat = (evaluation.run("bicubic", hr=str(tmp_path / name)) for name in "ab")
    assert transparent.rows == flat.rows


def test_reports_are_written_with_their_folder(tmp_path):
    target = tmp_path / "new" / "out.csv"
    report.write(str(target), "a,b\n")
    assert target.read_text() == "a,b\n"


def test_folders_that_do_not_match(hr, tmp_path):
    lr = _make_lr(hr, tmp_path / "lr", 4)
    (lr / "odd.png").rename(lr / "other.png")
    with pytest.raises(errors.InputError, match="no LR picture for odd; no HR picture for other"):
        evaluation.run("bicubic", hr=str(hr), lr=str(lr))
    (lr / "other.png").rename(lr / "odd.png")
    with pytest.raises(errors.InputError, match=r"even.png is 8x10, but .* scale 2 needs 16x20"):
        evaluation.run("bicubic", hr=str(hr), lr=str(lr), scale=2)
    Image.open(hr / "odd.png").save(hr / "odd.bmp")
    with pytest.raises(errors.InputError, match="Two pictures have the name odd"):
        evaluation.run("bicubic", hr=str(hr))


def test_pictures_that_cannot_be_scored(tmp_path):
    with pytest.raises(errors.InputError, match="no pictures in"):
        evaluation.run("bicubic", hr=str(tmp_path))
    path = tmp_path / "small.png"
    Image.new("RGB", (18, 40)).save(path)
    with pytest.raises(errors.InputError, match=r"small.png: .* too small"):
        evaluation.run("bicubic", hr=str(tmp_path))
    Image.new("RGB", (3, 40)).save(path)
    with pytest.raises(errors.InputError, match="smaller than one LR pixel"):
        evaluation.run("bicubic", hr=str(tmp_path))
    path.write_bytes(b"\x89PNG broken")
    with pytest.raises(errors.InputError, match="small.png: corrupt"):
        evaluation.run("bicubic", hr=str(tmp_path))


@pytest.mark.parametrize(("name", "psnr", "ssim"), [("Set5", 28.43, 0.8111)])
def test_bicubic_on_the_published_set(name, psnr, ssim):
    data = fixtures.shared(f"data/{name}")
    result = evaluation.run("bicubic", hr=f"{data}/HR", lr=f"{data}/LRbicx4")
    assert result.mean()["psnr_y"] == pytest.approx(psnr, abs=0.01)
    assert result.mean()["ssim_y"] == pytest.approx(ssim, abs=0.001)
