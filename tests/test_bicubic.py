"""bicubic.py: the published LR pictures bit for bit, and golden arrays that a reader can recompute.

Where the golden weights come from: Keys' kernel with a = -0.5 is, at a distance x,

    up to 1:  1.5 x^3 - 2.5 x^2 + 1        up to 2:  -0.5 x^3 + 2.5 x^2 - 4 x + 2        then 0

By 2, 4 and 8 the centre of a pixel lies between two of the finer ones, so the kernel is met at odd
quarters, eighths and sixteenths; by 3 centres coincide, and it is met at thirds. For example, at
1/8 it is 1.5 / 512 - 2.5 / 64 + 1 = 987 / 1024. Enlarging weighs with these values, and shrinking
with the same ones divided by the scale, because there are that many times as many (sum 1).

Besides, `resize_exactly` below computes pixel after pixel in fractions, straight from the rule.
"""

import math
import pathlib
from fractions import Fraction

import fixtures
import numpy as np
import pytest
from PIL import Image

from srgan_tf import bicubic

# By scale: the kernel's right half from its middle outward, and what it is counted in.
_HALVES = {
    2: ((111, 29, -9, -3), 128),  # At 1/4, 3/4, 5/4, 7/4.
    3: ((27, 21, 9, 0, -2, -1), 27),  # At 0, 1/3, ... 5/3.
    4: ((987, 745, 399, 93, -49, -75, -45, -7), 1024),  # At 1/8, 3/8, ... 15/8.
    8: (
        (8115, 7553, 6567, 5301, 3899, 2505, 1263, 317)
        + (-225, -507, -605, -567, -441, -275, -117, -15),
        8192,
    ),  # At 1/16, 3/16, ... 31/16.
}


def _kernel(scale):
    """The whole kernel of `_HALVES`: mirrored, at 3 without doubling the middle."""
    half, unit = _HALVES[scale]
    return np.array([*half[: 0 if scale == 3 else None : -1], *half]), unit


def _keys(x):
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    return Fraction(-1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x < 2 else Fraction(0)


def _resize_line_exactly(line, scale, border):
    """One output pixel after the other; taps, their weights and the sum are fractions."""
    size, stretch, resized = len(line), min(scale, Fraction(1)), []
    for index in range(math.ceil(size * scale)):
        centre = (index + Fraction(1, 2)) / scale - Fraction(1, 2)
        reach = 2 / stretch
        taps = range(math.floor(centre - reach), math.ceil(centre + reach) + 1)
        weights = [_keys(stretch * (centre - tap)) for tap in taps]
        if border == "clamp":
            places = [min(max(tap, 0), size - 1) for tap in taps]
        else:  # ... 1 0 | 0 1 2 ... size-1 | size-1 ... 1 0 | 0 1 ...
            places = [min(tap % (2 * size), (-1 - tap) % (2 * size)) for tap in taps]
        total = sum(weight * line[place] for weight, place in zip(weights, places, strict=True))
        resized.append(total / sum(weights))
    return resized


def resize_exactly(image, scale, border):
    """The whole rule for a uint8 `[H, W]`: each column, then each row, rounded after either."""
    rows = [[int(value) for value in row] for row in image]
    for _ in range(2):  # Each time the picture is transposed.
        lines = [_resize_line_exactly(line, scale, border) for line in zip(*rows, strict=True)]
        rows = [[min(max(math.floor(v + Fraction(1, 2)), 0), 255) for v in line] for line in lines]
    return np.array(rows, np.uint8)


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


@pytest.mark.parametrize("scale", sorted(_HALVES))
def test_enlarging_an_impulse_gives_the_kernel(scale):
    kernel, unit = _kernel(scale)
    impulse = np.zeros(9)
    impulse[4] = unit
    large = bicubic.imresize(_line(impulse), scale)[:, 0]
    rest = (9 * scale - len(kernel)) // 2  # The kernel lies in the middle.
    np.testing.assert_allclose(large, np.pad(kernel, rest), atol=1e-9)


@pytest.mark.parametrize("scale", sorted(_HALVES))
def test_shrinking_impulses_gives_the_kernel(scale):
    kernel, unit = _kernel(scale)
    size = 9 * scale
    # What each HR pixel in turn gives to the LR pixel in the middle.
    given = [
        bicubic.imresize(_line(one), Fraction(1, scale))[4, 0]
        for one in np.eye(size) * unit * scale
    ]
    np.testing.assert_allclose(given, np.pad(kernel, (size - len(kernel)) // 2), atol=1e-9)


def test_three_quarters_by_hand():
    """Centres 1/6, 3/2, 17/6, then the same 4 further; distances times 3/4 are odd eighths.

    From 4 + 3/2 they are 3/8, 9/8, 15/8 on each side: 745, -49, -7 of 1378 (their sum). From
    4 + 1/6 they are -13/8, -7/8, -1/8, 5/8, 11/8: -45, 93, 987, 399, -75 of 1359.
    """
    shrunk = np.array([bicubic.imresize(_line(one), Fraction(3, 4))[:, 0] for one in np.eye(12)]).T
    assert shrunk.shape == (9, 12)
    first = np.array([0, 0, -45, 93, 987, 399, -75, 0, 0, 0, 0, 0]) / 1359
    second = np.array([0, 0, 0, -7, -49, 745, 745, -49, -7, 0, 0, 0]) / 1378
    np.testing.assert_allclose(shrunk[3], first, atol=1e-12)
    np.testing.assert_allclose(shrunk[4], second, atol=1e-12)
    np.testing.assert_allclose(shrunk[5], first[::-1], atol=1e-12)  # Mirrored: 4 + 17/6.


@pytest.mark.parametrize("border", bicubic.BORDERS)
@pytest.mark.parametrize(
    "scale", [*(Fraction(1, s) for s in _HALVES), *_HALVES, Fraction(3, 4), Fraction(4, 3)], ids=str
)
def test_equals_exact_arithmetic(scale, border):
    size = (20, 17) if scale < 1 else (5, 4)
    # Extremes are clipped often. Neither picture meets a tie at 3/4, where floats might miss it.
    random = np.random.RandomState(11)
    for image in (random.randint(0, 256, size), random.choice([0, 254], size)):
        expected = resize_exactly(image, Fraction(scale), border)
        resized = bicubic.imresize(image.astype(np.uint8), scale, border=border)
        np.testing.assert_array_equal(resized, expected)


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


def test_only_floats_are_taken_for_a_fraction_nearby():
    line = np.full((4004, 1), 7, np.uint8)
    assert bicubic.imresize(line, Fraction(1, 2001)).shape == (3, 1)  # 2 at 1 / 2002.
    assert bicubic.imresize(line, Fraction(1, 2002)).shape == (2, 1)
    assert bicubic.imresize(line, 1 / 77).shape == (52, 1)
