"""srgan-prepare --make_lr: the published LR pictures, continuing, files that cannot be used."""

import os
import pathlib
import shutil
import signal
import time
from fractions import Fraction

import fixtures
import numpy as np
import pytest
from PIL import Image
from test_prepare import finish, start, wait_until

from data_prep import lr_pictures, lr_plan
from srgan_tf import bicubic, errors


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def read(path):
    return np.asarray(Image.open(path))


def make(hr, lr, *, overwrite=False, **settings):
    """Runs the library in this process; returns what became of each file."""
    chosen = lr_plan.LrSettings(**settings)
    jobs = lr_plan.plan([str(hr)], str(lr), chosen, max_pixels=10**6, overwrite=overwrite)
    return lr_pictures.run(jobs, workers=1)


def shrunk(pixels, scale, border="clamp"):
    return bicubic.imresize(bicubic.modulo_crop(pixels, scale), Fraction(1, scale), border=border)


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_the_command_reproduces_the_published_pictures(name, tmp_path):
    hr = pathlib.Path(fixtures.shared(f"data/{name}/HR"))
    code, out, err = finish(start(hr, tmp_path / "lr", "--make_lr", "--scale=4", "--workers=2"))
    assert code == 0, err
    count = int(name.removeprefix("Set"))
    assert out.startswith(f"{count} LR pictures made in ")
    published = sorted((hr.parent / "LRbicx4").glob("*.png"))
    assert [path.name for path in published] == sorted(os.listdir(tmp_path / "lr"))
    assert len(published) == count
    for path in published:
        ours, theirs = Image.open(tmp_path / "lr" / path.name), Image.open(path)
        assert (ours.format, ours.mode) == ("PNG", theirs.mode)  # bridge is grey, "L".
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=path.name)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("border", bicubic.BORDERS)
def test_every_scale_below_the_same_folders(scale, border, tmp_path):
    one, two = fixtures.photo_like(37, 50), fixtures.photo_like(24, 29, seed=1)
    write(tmp_path / "hr" / "a.b.png", one)
    write(tmp_path / "hr" / "sub" / "two.bmp", two)
    outcomes = make(
        tmp_path / "hr", tmp_path / "lr", scale=scale, border=border, suffix=f"x{scale}"
    )
    assert [outcome.name for outcome in outcomes] == ["a.b.png", "sub/two.bmp"]
    expected = {f"a.bx{scale}.png": one, f"sub/twox{scale}.png": two}
    for name, pixels in expected.items():
        np.testing.assert_array_equal(
            read(tmp_path / "lr" / name), shrunk(pixels, scale, border), err_msg=name
        )


def test_grey_deep_transparent_and_turned_pictures(tmp_path):
    rgb = fixtures.photo_like(24, 33)
    grey = rgb[..., 0]
    hr = tmp_path / "hr"
    write(hr / "grey.png", grey)
    write(hr / "grey_in_colour.png", np.dstack([grey] * 3))
    write(hr / "deep.png", grey.astype(np.uint16) * 257)  # 65535 / 255: exactly `grey` in 8 bits.
    write(hr / "clear.png", np.dstack([rgb, np.zeros_like(grey)]))
    turned = Image.Exif()
    turned[0x0112] = 6  # To be shown turned to the right by a quarter.
    write(hr / "turned.png", rgb, exif=turned)
    outcomes = make(hr, tmp_path / "lr", scale=3)
    assert all(outcome.made for outcome in outcomes)
    lr = {path.stem: read(path) for path in (tmp_path / "lr").iterdir()}
    np.testing.assert_array_equal(lr["grey"], shrunk(grey, 3))
    np.testing.assert_array_equal(lr["grey_in_colour"], np.dstack([lr["grey"]] * 3))
    np.testing.assert_array_equal(lr["deep"], lr["grey"])
    assert lr["clear"].shape == (8, 11, 3)
    assert np.all(lr["clear"] == 255)
    np.testing.assert_array_equal(lr["turned"], shrunk(np.rot90(rgb, -1), 3))


def test_what_is_there_and_whole_stays_and_the_rest_is_made(tmp_path):
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    for index in range(4):
        write(hr / f"{index}.png", fixtures.photo_like(24, 24, seed=index))
    make(hr, lr, scale=2)
    whole = {path.name: path.read_bytes() for path in lr.iterdir()}
    (lr / "1.png").unlink()
    (lr / "2.png").write_bytes(whole["2.png"][:-40])
    write(hr / "3.png", fixtures.photo_like(26, 24, seed=9))  # Another picture by the same name.
    stamp = os.stat(lr / "0.png").st_mtime_ns
    outcomes = make(hr, lr, scale=2)
    assert [outcome.made for outcome in outcomes] == [False, True, True, True]
    assert os.stat(lr / "0.png").st_mtime_ns == stamp
    assert (lr / "1.png").read_bytes() == whole["1.png"]
    assert (lr / "2.png").read_bytes() == whole["2.png"]
    assert read(lr / "3.png").shape == (13, 12, 3)
    text = lr_pictures.describe(outcomes, "lr", "the rule", 1.0)
    assert text == "3 LR pictures made in lr (the rule) in 1.0 s; 1 there already."


def test_pictures_made_otherwise_are_replaced_only_when_asked_for(tmp_path):
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    write(hr / "a.png", fixtures.photo_like(24, 24))
    write(lr / "a.png", fixtures.photo_like(12, 12))
    with pytest.raises(errors.InputError, match="there already, made by something else; --over"):
        make(hr, lr, scale=2)
    assert make(hr, lr, scale=2, overwrite=True)[0].made
    for other in ({"scale": 4}, {"scale": 2, "border": "mirror"}):
        with pytest.raises(errors.InputError, match="made by MATLAB imresize bicubic 1/2, border "):
            make(hr, lr, **other)
    assert read(lr / "a.png").shape == (12, 12, 3)
    assert make(hr, lr, scale=4, overwrite=True)[0].made
    assert read(lr / "a.png").shape == (6, 6, 3)


def test_files_that_cannot_be_used_are_named_and_the_others_done(tmp_path):
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    write(hr / "broken.png", fixtures.photo_like(24, 24))
    whole = (hr / "broken.png").read_bytes()
    (hr / "broken.png").write_bytes(whole[: len(whole) // 2])
    write(hr / "low.png", fixtures.photo_like(3, 24))
    write(hr / "sub" / "fine.png", fixtures.photo_like(4, 4))
    (hr / "sub" / "fine.txt").write_text("A caption: no picture, so no second `fine`.")
    code, out, err = finish(start(hr, lr, "--make_lr", "--workers=2"))
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("1 LR picture made in ")
    assert lines[1] == "3 files not used:"
    assert lines[2].startswith("  broken.png: truncated: ")
    assert lines[3] == "  low.png: too small: 24x3; an LR pixel is 4x4"
    assert lines[4].startswith("  sub/fine.txt: not an image: ")
    assert os.listdir(lr) == ["sub"]
    assert finish(start(hr, lr, "--make_lr", "--workers=1", "--strict"))[0] == 1
    (hr / "sub" / "fine.png").unlink()
    with pytest.raises(errors.InputError, match="none of 3 files can be used.* first is broken"):
        make(hr, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_two_pictures_of_one_name_are_an_error_before_anything_is_written(tmp_path):
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    write(hr / "0.png", fixtures.photo_like(24, 24))
    for name in ("a.png", "a.jpg"):
        write(hr / name, fixtures.photo_like(24, 24))
    with pytest.raises(errors.InputError) as caught:
        make(hr, lr)
    assert str(caught.value) == (
        f"{hr}/a.jpg and {hr}/a.png would both become {lr}/a.png; rename one"
    )
    assert not lr.exists()


@pytest.mark.parametrize(
    ("given", "output", "message"),
    [
        ("hr", "hr", "output hr lies in the input hr; put it beside it"),
        ("hr", "hr/lr", "output hr/lr lies in the input hr; put it beside it"),
        ("hr/../hr", "link", "output link lies in the input hr/../hr"),
        ("hr/*.png", "hr", "the input hr lies in the output hr; choose another --output"),
        ("hr/a.png", ".", "the input hr lies in the output ."),
        ("empty", "lr", "no files in empty"),
        ("nothing", "lr", "input nothing does not exist"),
    ],
)
def test_input_and_output_lie_apart(given, output, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "hr" / "a.png", fixtures.photo_like(24, 24))
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("hr")
    with pytest.raises(errors.InputError) as caught:
        make(given, output)
    assert str(caught.value).startswith(message)
    assert os.listdir("hr") == ["a.png"]


def test_a_folder_whose_name_begins_alike_is_another_one(tmp_path):
    write(tmp_path / "hr" / "a.png", fixtures.photo_like(24, 24))
    assert make(tmp_path / "hr", tmp_path / "hr_lr")[0].made


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--make_lr", "--crop_size=192"), "--crop_size is for records; leave it out of --make_lr"),
        (("--make_lr", "--tfds=div2k"), "--tfds is for records; leave it out of --make_lr"),
        (("--scale=4",), "--scale is for LR pictures (--make_lr); records serve every scale"),
        (("--make_lr", "--scale=1"), "scale must be 2 or more: scale=1."),
        (("--make_lr", "--suffix=a/b"), "suffix is part of a name, not of a path: 'a/b'."),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(flags, message, tmp_path):
    write(tmp_path / "hr" / "a.png", fixtures.photo_like(24, 24))
    code, out, err = finish(start(tmp_path / "hr", tmp_path / "lr", *flags))
    assert (code, out, err) == (2, "", f"prepare.py: error: {message}\n")
    assert not (tmp_path / "lr").exists()


def test_ctrl_c_leaves_whole_pictures_and_the_same_command_continues(tmp_path):
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    pixels = fixtures.photo_like(400, 500)
    write(hr / "00.png", pixels)
    for index in range(1, 40):
        shutil.copy(hr / "00.png", hr / f"{index:02}.png")
    flags = ("--make_lr", "--workers=2", "--strict")
    process = start(hr, lr, *flags)
    wait_until(lambda: lr.exists() and len(list(lr.glob("*.png"))) >= 4, process)
    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: the workers get it too.
    stopped = time.monotonic()
    code, _, err = finish(process)
    assert code == 130, err
    assert time.monotonic() - stopped < 10
    assert "the same command continues" in err
    stamps = {path: path.stat().st_mtime_ns for path in lr.iterdir()}
    assert 4 <= len(stamps) < 40
    expected = shrunk(pixels, 4)
    for path in stamps:  # A temporary file would be no picture.
        np.testing.assert_array_equal(read(path), expected)
    code, out, err = finish(start(hr, lr, *flags))
    assert code == 0, err
    assert f"; {len(stamps)} there already." in out
    assert len(os.listdir(lr)) == 40
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
