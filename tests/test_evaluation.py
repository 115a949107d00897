"""evaluation.py, image_pairs.py and report.py: scores, their forms, folders that do not match."""

import csv
import io
import json
import math

import fixtures
import numpy as np
import pytest
import test_export
from PIL import Image

from srgan_tf import bicubic, errors, evaluation, evaluation_model, image_pairs, photos, report


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


def run(model, *, scale=None, checkpoint="last", **settings):
    loaded = evaluation_model.load(model, scale=scale, checkpoint=checkpoint)
    return run_loaded(loaded, **settings)


def run_loaded(model, *, hr, lr=None, save=None, **settings):
    pairs = evaluation.find_pairs(hr, lr, model.scale, model.scale)
    if save:
        settings["on_image"] = [evaluation.saver(save, pairs)]
    return evaluation.run(model, pairs, hr=hr, lr=lr, **settings)


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
    nearest = evaluation_model.Model(
        "nearest", lambda lr: lr.repeat(4, axis=0).repeat(4, axis=1), 4, {}
    )
    result = run_loaded(
        nearest, hr=str(hr), on_image=[lambda row, pictures: saved.update({row.name: pictures})]
    )
    assert [row.name for row in result.rows] == ["even", "odd", "sub/grey"]
    assert [row.is_grey for row in result.rows] == [False, False, True]
    assert [(row.height, row.width) for row in result.rows] == [(40, 32), (40, 48), (32, 32)]
    assert saved["odd"].sr.shape == saved["odd"].hr.shape == (40, 48, 3)
    assert saved["odd"].lr.shape == (10, 12, 3)
    for row in result.rows:
        assert row.bicubic["psnr_y"] > row.model["psnr_y"]
        assert row.bicubic["colour_drift"] == pytest.approx(0, abs=0.5)
    original = fixtures.photo_like(40, 32, 1)
    upscaled = bicubic.imresize(bicubic.imresize(original, 1 / 4), 4)
    expected = evaluation.score(upscaled, original, 4)
    assert {name: result.rows[0].bicubic[name] for name in expected} == expected


@pytest.mark.parametrize("suffix", ["", "x4"])
def test_lr_pictures_are_found_by_name(hr, tmp_path, suffix):
    lr = _make_lr(hr, tmp_path / "lr", 4, suffix)
    made = run("bicubic", hr=str(hr))
    given = run("bicubic", hr=str(hr), lr=str(lr))
    assert json.loads(report.to_json(given))["images"] == json.loads(report.to_json(made))["images"]


def test_run_folder_in_every_form(hr, tmp_path):
    model = test_export.make_run(tmp_path / "run", steps=(7,))
    result = run(model, hr=str(hr), save=str(tmp_path / "sr"))
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
    means = [line.split() for line in table if line.startswith("mean")]
    assert means[0][1] == f"{result.mean()['psnr_y']:.2f}"
    assert means[1][1] == f"{result.mean()['colour_drift']:.2f}"
    assert max(map(len, table[1:])) <= 100

    with pytest.raises(errors.InputError, match="enlarges by 2"):
        run(model, hr=str(hr), scale=4)


def test_equal_pictures_give_valid_json(tmp_path):
    Image.new("RGB", (32, 32), "teal").save(tmp_path / "flat.png")
    result = run("bicubic", hr=str(tmp_path))
    assert json.loads(report.to_json(result))["mean"]["psnr_y"] is None
    assert "Equal to the original, so that PSNR is infinite (and so the mean): flat" in (
        report.to_table(result)
    )


def test_transparent_pictures_are_put_on_white(tmp_path):
    image = np.dstack([fixtures.photo_like(32, 32), np.full([32, 32], 255, np.uint8)])
    image[:20, :, 3] = 0
    for name, picture in (("a", image), ("b", photos.flatten(image[..., :3], image[..., 3]))):
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "x.png")
    transparent, flat = (run("bicubic", hr=str(tmp_path / name)) for name in "ab")
    assert transparent.rows[0].model["psnr_y"] == flat.rows[0].model["psnr_y"]


def test_reports_are_written_with_their_folder(tmp_path):
    target = tmp_path / "new" / "out.csv"
    report.write(str(target), "a,b\n")
    assert target.read_text() == "a,b\n"


def test_folders_that_do_not_match(hr, tmp_path):
    lr = _make_lr(hr, tmp_path / "lr", 4)
    (lr / "odd.png").rename(lr / "other.png")
    with pytest.raises(errors.InputError, match="no LR picture for odd; no HR picture for other"):
        run("bicubic", hr=str(hr), lr=str(lr))
    (lr / "other.png").rename(lr / "odd.png")
    with pytest.raises(errors.InputError, match=r"even.png is 8x10, but .* scale 2 needs 16x20"):
        run("bicubic", hr=str(hr), lr=str(lr), scale=2)
    Image.open(hr / "odd.png").save(hr / "odd.bmp")
    with pytest.raises(errors.InputError, match="Two pictures have the name odd"):
        run("bicubic", hr=str(hr))


def test_pictures_that_cannot_be_scored(tmp_path):
    with pytest.raises(errors.InputError, match="no pictures in"):
        run("bicubic", hr=str(tmp_path))
    path = tmp_path / "small.png"
    Image.new("RGB", (18, 40)).save(path)
    with pytest.raises(errors.InputError, match=r"small.png is too small.*18x40.*19x19 are needed"):
        run("bicubic", hr=str(tmp_path))
    path.write_bytes(b"\x89PNG broken")
    with pytest.raises(errors.InputError, match="small.png: corrupt"):
        run("bicubic", hr=str(tmp_path))


def test_sizes_are_checked_before_anything_is_scored(hr, tmp_path):
    lr = _make_lr(hr, tmp_path / "lr", 4)
    Image.new("L", (9, 8)).save(lr / "sub" / "grey.png")  # The last by name.
    scored = []
    with pytest.raises(errors.InputError, match="grey.png is 9x8, but .* needs 8x8"):
        run("bicubic", hr=str(hr), lr=str(lr), on_image=[lambda *args: scored.append(args)])
    assert not scored


def test_a_grey_lr_of_a_coloured_hr_is_refused(hr, tmp_path):
    lr = _make_lr(hr, tmp_path / "lr", 4)
    Image.open(lr / "odd.png").convert("L").save(lr / "odd.png")
    with pytest.raises(
        errors.InputError, match=r"lr/odd.png is grey but .*hr/odd.png is in colour"
    ):
        run("bicubic", hr=str(hr), lr=str(lr))


def test_scores_that_pictures_are_too_small_for_are_null(tmp_path):
    Image.fromarray(fixtures.photo_like(24, 24)).save(tmp_path / "small.png")
    result = run("bicubic", hr=str(tmp_path))
    assert json.loads(report.to_json(result))["mean"]["checkerboard"] is None
    Image.fromarray(fixtures.photo_like(48, 48)).save(tmp_path / "large.png")
    both = run("bicubic", hr=str(tmp_path))
    assert both.mean()["checkerboard"] == both.rows[0].model["checkerboard"]


def test_pretrained_names_and_what_they_exclude():
    with pytest.raises(errors.InputError, match="--checkpoint and --weights are for run folders"):
        evaluation_model.load("srgan", checkpoint="best")
    there = r"no folder srgan2.*there are: lite, lite-gan, srresnet, srgan"
    with pytest.raises(errors.InputError, match=there):
        evaluation_model.load("srgan2")


@pytest.mark.parametrize(
    ("name", "psnr", "ssim"), [("Set5", 28.43, 0.8111), ("Set14", 26.09, 0.7048)]
)
def test_bicubic_on_the_published_set(name, psnr, ssim):
    data = fixtures.shared(f"data/{name}")
    result = run("bicubic", hr=f"{data}/HR", lr=f"{data}/LRbicx4")
    assert result.mean()["psnr_y"] == pytest.approx(psnr, abs=0.01)
    assert result.mean()["ssim_y"] == pytest.approx(ssim, abs=0.001)


def test_one_lr_picture_is_never_used_twice():
    hr = ["hr/a.png", "hr/ax4.png"]
    with pytest.raises(errors.InputError, match="share one LR picture"):
        image_pairs.match(hr, ["lr/ax4.png"], 4)


def test_results_never_replace_the_pictures(hr):
    model = evaluation_model.load("bicubic")
    pairs = evaluation.find_pairs(str(hr), None, 4, 4)
    for folder in (hr, hr / "sub" / "sr", hr.parent):
        with pytest.raises(errors.InputError, match=r"--save=.* lie in one another"):
            run_loaded(model, hr=str(hr), save=str(folder))
    assert len(pairs) == 3


def test_folders_that_are_exchanged(hr, tmp_path):
    lr = _make_lr(hr, tmp_path / "lr", 2)
    with pytest.raises(errors.InputError, match="larger .* are --hr and --lr swapped"):
        evaluation.find_pairs(str(lr), str(hr), 2, border=0)
