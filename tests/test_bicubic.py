"""bicubic.py: the published LR pictures bit for bit, and golden arrays that a reader can recompute.

Where the golden weights come from: shrinking by 2, output pixel 0 has its centre between source
pixels 0 and 1, so its eight taps lie at distances 0.25, 0.75, 1.25, 1.75 of the stretched kernel.
Keys' kernel (a = -0.5) is there 111/128, 29/128, -9/128 and -3/128; normalised: the same / 256.
Enlarging by 2 meets the same four distances, on alternating sides, with weights / 128.
"""

import pathlib
from fractions import Fraction

import fixtures
import numpy as np
import pytest
from PIL import Image

from srgan_tf import bicubic

_KEYS = (-3, -9, 29, 111, 111, 29, -9, -3)


def _line(values):
    """A float picture one pixel wide; its columns are resized too, and stay constant."""
    return np.array(values, np.float64)[:, None]


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_published_lr_pictures_bit_for_bit(name):
    paths = sorted(pathlib.Path(fixtures.shared(f"data/{name}/HR")).glob("*.png"))
    assert len(paths) == int(name.removeprefix("Set"))
    for path in paths:
        hr = bicubic.modulo_crop(np.asarray(Image.open(path)), 4)
        lr = np.asarray(Image.open(path.parent.parent / "LRbicx4" / path.name))
        np.testing.assert_array_equal(bicubic.imresize(hr, Fraction(1, 4)), lr, err_msg=path.name)


def test_shrinking_an_impulse_gives_the_kernel():
    impulse = np.zeros(16)
    impulse[8] = 256
    small = bicubic.imresize(_line(impulse), Fraction(1, 2))[:, 0]
    np.testing.assert_allclose(small, [0, 0, -3, 29, 111, -9, 0, 0], atol=1e-12)


def test_enlarging_an_impulse_gives_the_kernel():
    impulse = np.zeros(8)
    impulse[3] = 128
    large = bicubic.imresize(_line(impulse), 2)[:, 0]
    np.testing.assert_allclose(large[3:11], _KEYS, atol=1e-12)
    assert not large[:3].any()
    assert not large[11:].any()


def test_borders_differ_only_near_the_edge():
    ramp = _line(256.0 * np.arange(32))
    clamp = bicubic.imresize(ramp, 0.5)[:, 0]
    mirror = bicubic.imresize(ramp, 0.5, border="mirror")[:, 0]
    # Taps at -3..4 meet the values 0, 0, 0, 0, 1, 2, 3, 4 (clamp) or 2, 1, 0, 0, 1, 2, 3, 4.
    assert clamp[0] == pytest.approx(111 + 2 * 29 - 3 * 9 - 4 * 3)
    assert mirror[0] == pytest.approx(clamp[0] - 2 * 3 - 1 * 9)
    np.testing.assert_allclose(clamp[2:-2], 256 * (2 * np.arange(2, 14) + 0.5))
    np.testing.assert_allclose(mirror[2:-2], clamp[2:-2])


def test_uint8_is_rounded_and_clipped_between_the_passes():
    edge = np.zeros((8, 8), np.uint8)
    edge[4:, 4:] = 255
    large = bicubic.imresize(edge, 2)
    # Output pixels 5..10 of one axis: the weight, out of 128, that falls on the bright side.
    bright = np.array([-3, -9, 29 - 3, 128 - 26, 128 + 9, 128 + 3])
    once = np.clip(np.floor(bright * 255 / 128 + 0.5), 0, 255)
    # Without that rounding the overshoot 137 / 128 would be taken twice.
    twice = np.clip(np.floor(np.outer(once, bright) / 128 + 0.5), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(large[5:11, 5:11], twice)


def test_float_is_neither_rounded_nor_clipped():
    edge = _line([0.0] * 8 + [1.0] * 8).astype(np.float32)
    large = bicubic.imresize(edge, 2)
    assert large.dtype == np.float32
    assert large.max() == pytest.approx(1 + 9 / 128)
    assert large.min() == pytest.approx(-9 / 128)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_down_and_up_keep_a_smooth_picture(scale):
    rows, columns = np.mgrid[: 24 * scale, : 16 * scale] / scale
    smooth = 0.5 + 0.2 * np.sin(rows / 5) + 0.2 * np.cos(columns / 4)
    small = bicubic.imresize(smooth, Fraction(1, scale))
    assert small.shape == (24, 16)
    again = bicubic.imresize(small, scale)
    inner = (slice(3 * scale, -3 * scale),) * 2
    np.testing.assert_allclose(again[inner], smooth[inner], atol=0.01)


@pytest.mark.parametrize("border", bicubic.BORDERS)
@pytest.mark.parametrize("scale", [Fraction(1, 3), 1 / 3, Fraction(1, 8), 3, 8, 1, Fraction(3, 4)])
def test_constant_stays_constant_and_sizes_round_up(scale, border):
    grey = np.full((9, 25, 3), 77, np.uint8)
    resized = bicubic.imresize(grey, scale, border=border)
    exact = Fraction(scale).limit_denominator(1000)
    assert resized.shape == (-(-9 * exact // 1), -(-25 * exact // 1), 3)
    assert np.all(resized == 77)


def test_tiny_pictures_and_channels():
    image = fixtures.photo_like(7, 5)
    for border in bicubic.BORDERS:
        small = bicubic.imresize(image, Fraction(1, 8), border=border)
        assert small.shape == (1, 1, 3)
        red = bicubic.imresize(image[..., 0], 4, border=border)
        np.testing.assert_array_equal(bicubic.imresize(image, 4, border=border)[..., 0], red)


def test_strips_do_not_show(monkeypatch):
    image = fixtures.photo_like(40, 30)
    whole = bicubic.imresize(image, 4)
    monkeypatch.setattr(bicubic, "_STRIP", 7)
    np.testing.assert_array_equal(bicubic.imresize(image, 4), whole)


@pytest.mark.parametrize(
    ("image", "scale", "border", "message"),
    [
        (np.zeros((4, 4), np.int32), 2, "clamp", "uint8 or float"),
        (np.zeros((4, 4), np.uint8), 0, "clamp", "positive"),
        (np.zeros((4, 4), np.uint8), 2, "wrap", "border"),
        (np.zeros((0, 4), np.uint8), 2, "clamp", "non-empty"),
    ],
)
def test_wrong_arguments(image, scale, border, message):
    with pytest.raises(ValueError, match=message):
        bicubic.imresize(image, scale, border=border)


def test_modulo_crop():
    assert bicubic.modulo_crop(np.zeros((11, 8, 3)), 4).shape == (8, 8, 3)
