"""diagnostics.py: colour drift, checkerboard score and VGG distance on planted faults."""

import fixtures
import numpy as np
import pytest
from PIL import Image

from srgan_tf import bicubic, config, diagnostics, errors
from srgan_tf.models import vgg


def _grid(height, width, period, amplitude):
    pattern = np.zeros([period, period])
    pattern[0, 0] = amplitude
    tiled = np.tile(pattern, (height // period + 1, width // period + 1))
    return tiled[:height, :width, None]


def _uint8(image):
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def test_colour_drift_is_the_offset_of_each_channel():
    hr = np.clip(fixtures.photo_like(48, 64), 20, 230)  # Room for the offsets.
    lr = bicubic.imresize(hr, 1 / 4)
    drift = diagnostics.colour_drift(_uint8(hr + np.array([3.0, 0.0, -5.0])), lr)
    # LR was rounded, twice: half a level at most, on average far less.
    assert drift["colour_drift_r"] == pytest.approx(3, abs=0.05)
    assert drift["colour_drift_g"] == pytest.approx(0, abs=0.05)
    assert drift["colour_drift_b"] == pytest.approx(-5, abs=0.05)
    assert drift["colour_drift"] == pytest.approx(8 / 3, abs=0.05)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_checkerboard_is_about_one_without_a_grid(scale):
    hr = fixtures.photo_like(168, 180)
    darker, random = np.clip(hr, 0, 200), np.random.RandomState(1)
    smooth = bicubic.imresize(bicubic.imresize(hr, 1 / scale), scale)
    noisy = _uint8(hr + random.normal(0, 20, hr.shape))
    for sr, target in ((smooth, hr), (noisy, hr), (darker + 20, darker)):
        score = diagnostics.checkerboard(sr, target, scale=scale, border=scale)
        assert 0.1 < score < 2
    assert diagnostics.checkerboard(hr, hr, scale=scale, border=scale) == 1


@pytest.mark.parametrize("period", [2, 4])
def test_checkerboard_rises_with_a_grid(period):
    hr = fixtures.photo_like(96, 120)
    smooth = bicubic.imresize(bicubic.imresize(hr, 1 / 4), 4)
    grids = [_uint8(smooth + _grid(96, 120, period, amplitude)) for amplitude in (0, 8, 16, 32)]
    scores = [diagnostics.checkerboard(grid, hr, scale=4, border=4) for grid in grids]
    assert scores == sorted(scores)
    assert scores[-1] > 10 * scores[0]


def test_checkerboard_of_a_grid_by_hand():
    # On a flat picture only the floor of rounding, 1/12 * sum(window**2), is there: all ratios are
    # 1. A point of 16 every 4 x 4 pixels has at each of the 15 frequencies the amplitude 16 / 16,
    # so it adds the power |sum(window)|**2 to the floor, and beside them (the window's spectrum is
    # 0 from 2 bins on) nothing.
    hr = np.full([64, 64, 3], 100, np.uint8)
    line = np.hanning(33)[:-1]
    window = np.outer(line, line)
    expected = 1 + window.sum() ** 2 / ((window**2).sum() / 12)
    score = diagnostics.checkerboard(_uint8(hr + _grid(64, 64, 4, 16)), hr, scale=4, border=0)
    assert score == pytest.approx(expected, rel=1e-6)
    # A period of 3 has no line at multiples of 1/4.
    other = diagnostics.checkerboard(_uint8(hr + _grid(64, 64, 3, 16)), hr, scale=4, border=0)
    assert other < 2


def test_pictures_smaller_than_a_window_have_no_checkerboard_score():
    hr = fixtures.photo_like(39, 80)
    assert np.isnan(diagnostics.checkerboard(hr, hr, scale=4, border=4))


def test_blockiness_is_that_of_repeated_pixels_and_of_nothing_else():
    hr = np.asarray(Image.open(fixtures.ROOT / "docs" / "photos" / "heldout" / "dogs.jpg"))
    hr = hr[:320, :400]
    half = bicubic.imresize(hr, 1 / 2)
    noise = np.random.RandomState(1).randint(0, 256, hr.shape).astype(np.uint8)
    scores = [
        diagnostics.blockiness(picture, scale=4, border=4)
        for picture in (half.repeat(2, 0).repeat(2, 1), half.repeat(2, 1), hr, noise)
    ]
    assert scores[:2] == [1, 1]  # Every second step is 0, along rows and columns, or rows alone.
    assert max(scores[2:]) < 0.1
    # No peak in the spectrum, which is why it has a score of its own.
    doubled = half.repeat(2, 0).repeat(2, 1)
    assert diagnostics.checkerboard(doubled, hr, scale=4, border=4) < 2


def test_blockiness_by_hand():
    # Steps along rows: 1, 2, 1, 4 and so on from a border of 4, of which 0 to 3 are the places.
    # Rows are alike, so along columns there is no step at all.
    row = np.cumsum([0, *[1, 2, 1, 4] * 6]).astype(np.uint8)
    picture = np.repeat(np.tile(row, (25, 1))[..., None], 3, axis=2)
    assert diagnostics.blockiness(picture, scale=4, border=4) == pytest.approx(1 - 1 / 4)
    assert diagnostics.blockiness(picture, scale=2, border=4) == pytest.approx(1 - 1 / 3)
    assert np.isnan(diagnostics.blockiness(np.zeros([25, 25, 3], np.uint8), scale=4, border=4))
    assert np.isnan(diagnostics.blockiness(picture[:10, :10], scale=4, border=4))


def test_vgg_distance_is_zero_for_equal_pictures_and_grows_with_blur():
    weights = fixtures.shared("weights/vgg19_block1-3.npz")
    distance = diagnostics.VggDistance(weights)
    hr = fixtures.photo_like(64, 64)
    blurred = [bicubic.imresize(bicubic.imresize(hr, 1 / s), s) for s in (2, 4)]
    scores = [distance(picture, hr, 4) for picture in (hr, *blurred)]
    assert scores[0] == 0
    assert 0 < scores[1] < scores[2]
    assert "block2_conv2" in distance.description


def test_vgg_distance_is_equation_5_over_the_channels():
    weights = fixtures.shared("weights/vgg19_block1-3.npz")
    unscaled = config.VggConfig(weights=weights, feature_scale=1.0)
    model = vgg.feature_model(unscaled, ["block2_conv2"])
    hr, sr = fixtures.photo_like(40, 48), fixtures.photo_like(40, 48, 1)
    inner = [image[None, 4:-4, 4:-4] / np.float32(127.5) - 1 for image in (hr, sr)]
    a, b = (model(image, training=False)["block2_conv2"].numpy() for image in inner)
    expected = np.mean((a - b) ** 2) / 12.75**2
    assert diagnostics.VggDistance(weights)(sr, hr, 4) == pytest.approx(expected, rel=1e-4)


def test_random_features_are_refused():
    with pytest.raises(errors.InputError, match="means nothing"):
        diagnostics.VggDistance("random")


def test_vgg_layers_that_the_file_lacks_are_named():
    weights = fixtures.shared("weights/vgg19_block1-3.npz")
    with pytest.raises(errors.InputError, match="block5_conv4"):
        diagnostics.VggDistance(weights, layer="block5_conv4")
