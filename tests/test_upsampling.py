"""ICNR, and what each way of enlarging does to a picture before any training."""

import fixtures  # noqa: F401
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config
from srgan_tf.models import generators, resampling, upsampling


def _stage(kind: str, factor: int, filters: int = 5) -> tf.keras.Model:
    inputs = tf.keras.Input((None, None, 3))
    return tf.keras.Model(inputs, upsampling.UPSAMPLINGS[kind](inputs, filters, factor, "up"))


def _spread_in_squares(sr: np.ndarray, factor: int) -> float:
    """Returns the largest difference within any square of factor x factor pixels."""
    batch, height, width, channels = sr.shape
    shape = (batch, height // factor, factor, width // factor, factor, channels)
    return float(np.ptp(sr.reshape(shape), axis=(2, 4)).max())


@pytest.mark.parametrize("factor", [2, 3])
def test_subpixel_starts_as_nearest_neighbour_of_a_convolution(factor):
    lr = tf.random.stateless_normal([1, 6, 5, 3], [1, 2])
    model = _stage("subpixel", factor)
    sr = model(lr).numpy()
    assert _spread_in_squares(sr, factor) < 1e-5  # Rounding: channels are summed in lanes.
    # Channels of the first kernel make the upper left pixel of every square.
    kernel = model.get_layer("up_conv").get_weights()[0][..., :5]
    small = tf.nn.conv2d(lr, kernel, 1, "SAME")
    np.testing.assert_allclose(resampling.Nearest(factor)(small), sr, atol=1e-6)
    assert sr.std() > 0.1
    assert _spread_in_squares(_stage("subpixel_plain", factor)(lr).numpy(), factor) > 0.1


@pytest.mark.parametrize("factor", [2, 3])
def test_nearest_conv_starts_as_bilinear_enlargement_of_a_1x1_convolution(factor):
    lr = tf.random.stateless_normal([1, 6, 5, 3], [1, 2])
    model = _stage("nearest_conv", factor)
    # The smoothing kernels add up to 1, so a sum over the kernel is the weight of two channels.
    weights = model.get_layer("up_conv").get_weights()[0].sum(axis=(0, 1), keepdims=True)
    small = tf.nn.conv2d(lr, weights, 1, "SAME")
    expected = tf.image.resize(small, [6 * factor, 5 * factor])
    inner = (slice(None), slice(factor, -factor), slice(factor, -factor))  # Not padded with zeros.
    np.testing.assert_allclose(model(lr)[inner], expected[inner], atol=1e-5)
    assert np.std(expected) > 0.1


@pytest.mark.parametrize("scale", config.SCALES)
def test_lite_starts_near_nearest_neighbour_with_kernels_that_differ(scale):
    tf.keras.utils.set_random_seed(1)
    lr = tf.random.stateless_uniform([1, 9, 8, 3], [1, 2])
    nearest = resampling.Nearest(scale)(lr) * 2 - 1
    for kind, near in (("subpixel", True), ("subpixel_plain", False)):
        settings = config.GeneratorConfig(name="lite", filters=48, blocks=6, upsampling=kind)
        model = generators.build(settings, scale)
        off = np.sqrt(np.mean(np.square(model(lr, training=False) - nearest)))
        assert off < 0.1 if near else off > 0.2
        # Equal ones, as ICNR's, would give the trunk a gradient of three directions for 48.
        kernel = model.get_layer("tail_conv").get_weights()[0].reshape(-1, 3 * scale**2)
        assert np.linalg.matrix_rank(kernel) == min(kernel.shape)


def _grid(kind: str) -> float:
    """Returns the spread that a stage puts into a uniform picture, away from its border."""
    sr = _stage(kind, 2)(tf.ones([1, 8, 8, 3])).numpy()[:, 4:-4, 4:-4]
    return float(np.ptp(sr, axis=(1, 2)).max())


def test_deconvolution_leaves_a_grid_on_a_uniform_picture_and_the_default_ones_do_not():
    # Every output of nearest + conv sees the same; a 3x3 deconvolution of stride 2 adds up one
    # kernel element on even rows and two on odd ones.
    assert _grid("nearest_conv") < 1e-5
    assert _grid("subpixel") < 1e-5
    assert _grid("deconv") > 0.1
    assert _grid("subpixel_plain") > 0.1


def test_icnr_is_seeded():
    first, again, other = (upsampling.ICNR(2, seed)((3, 3, 2, 8)).numpy() for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert upsampling.ICNR.from_config(upsampling.ICNR(2, 7).get_config()).factor == 2
    made = []
    for _ in range(2):
        tf.keras.utils.set_random_seed(3)
        made.append(_stage("subpixel", 2).get_weights()[0])
    np.testing.assert_array_equal(*made)


def test_icnr_has_the_range_of_the_convolution_that_it_stands_for():
    kernel = upsampling.ICNR(2, 1)((3, 3, 4, 4 * 8), dtype="float32")
    assert kernel.dtype == tf.float32
    # Glorot's limit for 3 x 3 x 4 inputs and 3 x 3 x 8 outputs.
    limit = np.sqrt(6 / (9 * 4 + 9 * 8))
    assert 0.9 * limit < np.abs(kernel).max() <= limit
