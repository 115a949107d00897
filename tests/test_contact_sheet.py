"""data/contact_sheet.py and srgan-degrade: what stands where, LR pictures, mistakes."""

import pathlib
import subprocess
import sys

import fixtures
import numpy as np
import pytest
from PIL import Image

from srgan_tf import bicubic, errors
from srgan_tf.config import DataConfig
from srgan_tf.data import contact_sheet


def _photos(folder, sizes=((70, 90), (61, 50))):
    folder.mkdir()
    for number, size in enumerate(sizes):
        Image.fromarray(fixtures.photo_like(*size, seed=number)).save(folder / f"{number}.png")
    return [str(folder)]


def _cell(sheet, row, column, side=64):
    # 4 pixels between cells, 20 for each line of text.
    left, top = 4 + column * (side + 4), 24 + row * (side + 24) + 20
    return sheet[top : top + side, left : left + side]


def test_sheet_shows_hr_and_seeds_at_equal_zoom(tmp_path):
    paths = contact_sheet.find(_photos(tmp_path / "photos"))
    config = DataConfig(degradation="jpeg", scale=4, crop_size=64, jpeg_quality=(20.0, 60.0))
    sheet = contact_sheet.sheet(paths, config, rows=8, samples=2, seed=5)
    assert sheet.shape == (24 + 2 * 88, 4 + 3 * 68, 3)
    first = fixtures.photo_like(70, 90)
    # Of 68 x 88 pixels (whole LR pixels) the middle, from multiples of 4.
    crop = first[0:64, 12:76]
    np.testing.assert_array_equal(_cell(sheet, 0, 0), crop)
    for column in (1, 2):
        lr = contact_sheet.degrade(crop, config, seed=4 + column, number=0)
        np.testing.assert_array_equal(_cell(sheet, 0, column)[::4, ::4], lr)
        np.testing.assert_array_equal(_cell(sheet, 0, column)[3::4, 3::4], lr)
    assert not np.array_equal(_cell(sheet, 0, 1), _cell(sheet, 0, 2))
    # The second photo is smaller than a cell; the rest stays white.
    assert (_cell(sheet, 1, 0)[60:] == 255).all() and (_cell(sheet, 1, 0)[:, 48:] == 255).all()
    again = contact_sheet.sheet(paths, config, rows=1, samples=2, seed=5)
    np.testing.assert_array_equal(again, sheet[: len(again)])


def test_lr_pictures_have_the_names_and_sizes_that_evaluation_expects(tmp_path):
    paths = contact_sheet.find(_photos(tmp_path / "photos"))
    config = DataConfig(degradation="bicubic", scale=3)
    assert contact_sheet.save_lr(paths, config, str(tmp_path / "lr"), seed=1) == 2
    lr = np.asarray(Image.open(tmp_path / "lr" / "0x3.png"))
    expected = bicubic.imresize(fixtures.photo_like(70, 90)[:69], 1 / 3)
    assert lr.shape == (23, 30, 3) and (tmp_path / "lr" / "1x3.png").exists()
    # MATLAB rounds between its two passes.
    assert np.abs(lr.astype(int) - expected)[2:-2, 2:-2].max() <= 2


def test_mistakes_are_one_line(tmp_path):
    empty, words = tmp_path / "empty", tmp_path / "words"
    for folder in (empty, words):
        folder.mkdir()
    (words / "note.txt").write_text("no photo")
    with pytest.raises(errors.InputError, match="no files"):
        contact_sheet.find([str(empty)])
    with pytest.raises(errors.InputError, match="photo"):
        contact_sheet.sheet(
            contact_sheet.find([str(words)]), DataConfig(), rows=1, samples=1, seed=1
        )
    same = contact_sheet.find(_photos(tmp_path / "a") + _photos(tmp_path / "b"))
    with pytest.raises(errors.InputError, match="2 files are named"):
        contact_sheet.save_lr(same, DataConfig(), str(tmp_path / "lr"), seed=1)
    with pytest.raises(errors.InputError, match="sheet.png"):
        contact_sheet.write(str(tmp_path / "sheet"), np.zeros([4, 4, 3], np.uint8))


def _run(*arguments):
    command = [sys.executable, str(fixtures.ROOT / "scripts" / "degrade.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_command_takes_the_ranges_as_flags_and_names_its_files(tmp_path):
    (photos,) = _photos(tmp_path / "photos")
    output, lr = tmp_path / "new" / "sheet.png", tmp_path / "lr"
    result = _run(
        f"--input={photos}",
        "--degradation=blind",
        "--scale=2",
        "--samples=1",
        "--crop_size=48",
        "--blind_noise_sigma=0,5",
        "--photos=1",
        f"--output={output}",
        f"--save_lr={lr}",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [
        "Contact",
        "sheet:",
        str(output),
        *f"2 LR pictures: {lr}".split(),
    ]
    assert Image.open(output).size == (4 + 2 * 52, 24 + 72)
    assert sorted(path.name for path in pathlib.Path(lr).iterdir()) == ["0x2.png", "1x2.png"]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--degradation=blnd", "did you mean 'blind'"),
        ("--blind_blur_sigma=3,1", "blur_sigma"),
        ("--crop_size=50", "crop_size"),
        ("--output={photos}/0.png", "is one of the photos"),
        ("--output={photos}/../sheet.xyz", "choose one of the extensions"),
    ],
)
def test_command_explains_mistakes(tmp_path, flag, words):
    (photos,) = _photos(tmp_path / "photos", sizes=((64, 64),))
    before = (pathlib.Path(photos) / "0.png").read_bytes()
    given = flag.format(photos=photos)
    result = _run(f"--input={photos}", f"--output={tmp_path}/sheet.png", given)
    assert (pathlib.Path(photos) / "0.png").read_bytes() == before
    assert result.returncode == 2 and words in result.stderr
    assert len(result.stderr.splitlines()) == 1
