"""`from srgan_tf import Upscaler`: arrays, Pillow's pictures and paths, each as it came."""

import subprocess
import sys

import fixtures
import numpy as np
import pytest
import test_export
from PIL import Image, ImageCms

import srgan_tf
from srgan_tf import errors
from srgan_tf.serving import batch, pictures


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory):
    run_dir = test_export.make_run(tmp_path_factory.mktemp("memory") / "run", steps=(1,))
    with srgan_tf.Upscaler.load(run_dir, tile_size=64) as loaded:
        yield loaded


def picture(mode):
    """Returns a picture of 14 x 11 in `mode`, alpha from 0 to 255."""
    colour = fixtures.photo_like(11, 14)
    alpha = np.linspace(0, 255, 11 * 14).reshape(11, 14).astype(np.uint8)
    found = Image.fromarray(np.dstack([colour, alpha]))
    return found.convert(mode)


@pytest.mark.parametrize(
    "mode, expected",
    [
        *((mode, mode) for mode in ("L", "LA", "RGB", "RGBA")),
        *(("1", "L"), ("P", "RGBA"), ("CMYK", "RGB"), ("YCbCr", "RGB")),
    ],
)
def test_a_picture_of_pillows_is_that_of_the_files(upscaler, mode, expected, tmp_path):
    source = picture(mode)
    made = upscaler.upscale(source)
    assert (made.mode, made.size) == (expected, (28, 22))
    assert source.mode == mode and source.size == (14, 11)
    if mode == expected:
        path = tmp_path / "a.png"
        source.save(path)
        batch.run(pictures.plan([str(path)], str(tmp_path), scale=2), upscaler)
        for other in (Image.open(tmp_path / "a_x2.png"), upscaler.upscale(path)):
            assert other.mode == expected
            np.testing.assert_array_equal(other, made)


def test_arrays_keep_their_axes_and_channels(upscaler):
    lr = np.array(picture("RGBA"))
    rgb = upscaler.upscale(lr[..., :3])
    assert rgb.dtype == np.uint8 and rgb.shape == (22, 28, 3)
    np.testing.assert_array_equal(rgb, np.concatenate(list(upscaler.strips(lr[..., :3]))))
    np.testing.assert_array_equal(upscaler.upscale(lr), upscaler.upscale(picture("RGBA")))
    for count in (1, 2):
        assert upscaler.upscale(lr[..., :count]).shape == (22, 28, count)
    grey = upscaler.upscale(lr[..., 0])
    assert grey.shape == (22, 28)
    np.testing.assert_array_equal(grey, upscaler.upscale(Image.fromarray(lr[..., 0])))


def test_orientation_and_profile(upscaler):
    source = picture("RGB")
    upright = upscaler.upscale(source.transpose(Image.Transpose.ROTATE_90))
    source.getexif()[0x0112] = 8  # To be turned by 90 degrees, counter-clockwise.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source.info["icc_profile"] = profile
    made = upscaler.upscale(source)
    np.testing.assert_array_equal(made, upright)
    assert made.info["icc_profile"] == profile


@pytest.mark.parametrize(
    "wrong",
    [
        *(np.zeros(shape, np.uint8) for shape in ((4,), (4, 4, 5), (1, 4, 4, 3), (0, 4, 3))),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 3), np.float32),
        [[1, 2], [3, 4]],
        None,
    ],
)
def test_what_is_no_picture(upscaler, wrong):
    with pytest.raises(ValueError, match="image (must be|holds no pixels).*(shape|builtins)"):
        upscaler.upscale(wrong)


def test_files_that_are_no_picture(upscaler, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(errors.InputError, match="missing.png: unreadable"):
        upscaler.upscale(tmp_path / "missing.png")
    with pytest.raises(errors.InputError, match="text.png: not an image"):
        upscaler.upscale(str(tmp_path / "text.png"))
    with pytest.raises(errors.InputError, match="unsupported: pixels of type 'F'"):
        upscaler.upscale(Image.fromarray(np.zeros((4, 4), np.float32)))


def test_the_import_is_light():
    text = (
        "import sys, srgan_tf; assert 'numpy' not in sys.modules; srgan_tf.Upscaler; "
        "assert 'tensorflow' not in sys.modules; assert 'Upscaler' in dir(srgan_tf); "
        "assert not hasattr(srgan_tf, 'Upscalers')"
    )
    subprocess.run([sys.executable, "-c", text], check=True, cwd=fixtures.ROOT)
