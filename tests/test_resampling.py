"""Layers that change the size: against NumPy, TensorFlow's own resize, and their configs."""

import fixtures  # noqa: F401
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf.models import resampling


def _features(height: int = 5, width: int = 3) -> np.ndarray:
    return np.random.RandomState(0).normal(size=(2, height, width, 4)).astype(np.float32)


def test_pixel_shuffle_lays_channels_out_row_by_row():
    inputs = tf.reshape(tf.range(4.0), [1, 1, 1, 4])
    # Equation 4 of Shi et al.: channel 0 is top left, 1 top right, 2 bottom left, 3 bottom right.
    outputs = resampling.PixelShuffle(2)(inputs)
    np.testing.assert_array_equal(outputs[0, :, :, 0], [[0, 1], [2, 3]])


@pytest.mark.parametrize("scale", [2, 3])
def test_nearest_repeats_every_pixel(scale):
    features = _features()
    expected = features.repeat(scale, axis=1).repeat(scale, axis=2)
    np.testing.assert_array_equal(resampling.Nearest(scale)(features), expected)


@pytest.mark.parametrize("size", [(5, 3), (1, 4)])
def test_bilinear_double_is_the_usual_bilinear_resize(size):
    features = _features(*size)
    expected = tf.image.resize(features, (2 * size[0], 2 * size[1]), "bilinear")
    np.testing.assert_allclose(resampling.BilinearDouble()(features), expected, atol=1e-6)


# 5 and 7 become 8; 1 becomes 4, which is more than mirroring could fill; 8 stays.
@pytest.mark.parametrize("size", [(5, 7), (1, 8), (9, 2)])
def test_padding_repeats_the_edge_and_is_cropped_again(size):
    features = _features(*size)
    padded = resampling.PadToMultiple(4)(features)
    expected = np.pad(features, [(0, 0), (0, -size[0] % 4), (0, -size[1] % 4), (0, 0)], "edge")
    np.testing.assert_array_equal(padded, expected)
    np.testing.assert_array_equal(resampling.CropLike()([padded, features]), features)


@pytest.mark.parametrize(
    ("layer", "before", "after"),
    [
        (resampling.PixelShuffle(3, name="a"), (None, None, 5, 18), (None, None, 15, 2)),
        (resampling.Nearest(3, name="a"), (None, None, 5, 2), (None, None, 15, 2)),
        (resampling.BilinearDouble(name="a"), (None, 3, None, 2), (None, 6, None, 2)),
        (resampling.PadToMultiple(4, name="a"), (None, None, 5, 2), (None, None, 8, 2)),
    ],
)
def test_unknown_sides_stay_unknown_and_configs_round_trip(layer, before, after):
    assert tuple(layer.compute_output_shape(before)) == after
    again = type(layer).from_config(layer.get_config())
    assert again.name == "a"
    assert tuple(again.compute_output_shape(before)) == after
