"""The tail before the last pixel shuffle: the plain order's pictures, gradients and checkpoints."""

import functools

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config
from srgan_tf.models import generators, resampling, stacked, upsampling


@pytest.fixture
def builds(monkeypatch):
    """Returns functions that build a generator with its tail before the shuffle, and plain."""

    def build(put_off, *args):
        with monkeypatch.context() as patch:
            patch.setattr(upsampling, "puts_off_shuffle", lambda *_: put_off)
            return generators.build(*args)

    return functools.partial(build, True), functools.partial(build, False)


def test_kernel_by_hand():
    # A row of one channel, factor 2, taps a b c. The left large pixel of a small one sees the right
    # one of the small pixel before (a), itself (b) and its neighbour (c); the right one sees the
    # left (a), itself (b) and the left of the small pixel behind (c). Rows: small pixel and place.
    kernel = tf.reshape(tf.constant([0.0, 0, 0, 1, 2, 3, 0, 0, 0]), [3, 3, 1, 1])
    made = stacked.stack_kernel(kernel, 2)
    assert made.shape == (3, 3, 4, 4)
    row = made[1, :, :2, :2].numpy().reshape(6, 2)  # Upper places alone.
    np.testing.assert_array_equal(row, [[0, 0], [1, 0], [2, 1], [3, 2], [0, 3], [0, 0]])


# 9 and 5 as in the networks; 3 and 7 leave other remainders; 1 needs no neighbours.
@pytest.mark.parametrize(
    ("size", "reach"), [(9, {2: 2, 3: 2}), (7, {2: 2, 3: 1}), (1, {2: 0, 3: 0})]
)
@pytest.mark.parametrize("factor", [2, 3])
def test_convolution_before_the_shuffle_equals_the_one_behind_it(size, reach, factor):
    features = tf.random.stateless_normal([2, 5, 4, 3 * factor**2], [1, 2])
    layer = stacked.StackedConv2D(2, size, factor, bias_initializer="random_normal")
    outputs = layer(features)
    expected = tf.nn.conv2d(tf.nn.depth_to_space(features, factor), layer.kernel, 1, "SAME")
    np.testing.assert_allclose(outputs, expected + layer.bias, atol=1e-5)
    side = 2 * reach[factor] + 1
    kernel = stacked.stack_kernel(tf.convert_to_tensor(layer.kernel), factor)
    assert kernel.shape == (side, side, 3 * factor**2, 2 * factor**2)
    again = stacked.StackedConv2D.from_config(layer.get_config())
    assert (again.factor, again.kernel_size) == (factor, (size, size))
    assert again(features).shape == outputs.shape == layer.compute_output_shape(features.shape)


# (name, scale, filters): the tails are conv9 behind PReLU, conv5 behind LeakyReLU; the first has
# the paper's shapes, 64 -> 3.
_CASES = [
    ("srresnet", 4, 64),
    ("srresnet", 2, 4),
    ("srresnet", 3, 4),
    ("srresnet", 8, 4),
    ("srresnet_seed", 2, 4),
    ("srresnet_seed", 3, 4),
    ("autoencoder", 4, 4),
]


@pytest.mark.parametrize(("name", "scale", "filters"), _CASES)
def test_pictures_and_gradients_are_those_of_the_plain_order(builds, name, scale, filters):
    settings = config.GeneratorConfig(name=name, filters=filters, blocks=1, upsampling="subpixel")
    tf.keras.utils.set_random_seed(1)
    model = fixtures.awaken(builds[0](settings, scale))
    tf.keras.utils.set_random_seed(1)
    reference = fixtures.awaken(builds[1](settings, scale))
    for layer in model.layers:  # Slopes that differ between channels.
        if isinstance(layer, tf.keras.layers.PReLU):
            layer.alpha.assign(np.linspace(-0.3, 1.4, filters).reshape(1, 1, -1))
            reference.get_layer(layer.name).set_weights(layer.get_weights())
    kinds = [type(x.get_layer("tail_conv")).__name__ for x in (model, reference)]
    assert kinds == ["StackedConv2D", "Conv2D"]
    # Not square, odd, with all four borders near.
    lr = tf.random.stateless_uniform([2, 5, 7, 3], [1, 2])
    weights = tf.random.stateless_normal([2, 5 * scale, 7 * scale, 3], [3, 4])
    outputs, gradients = [], []
    for network in (model, reference):
        with tf.GradientTape() as tape:
            sr = network(lr, training=True)
            loss = tf.reduce_sum(weights * sr)
        outputs.append(sr)
        gradients.append(tape.gradient(loss, network.trainable_variables))
    np.testing.assert_allclose(*outputs, atol=2e-5)
    largest = max(float(tf.reduce_max(tf.abs(gradient))) for gradient in gradients[1])
    for variable, one, other in zip(model.trainable_variables, *gradients, strict=True):
        size = float(tf.reduce_max(tf.abs(other)))
        # A bias in front of batch normalization has no gradient, up to rounding.
        tolerance = 2e-4 * size + 1e-6 * largest
        np.testing.assert_allclose(one, other, atol=tolerance, err_msg=variable.name)


def test_checkpoints_of_both_orders_are_the_same(builds, tmp_path):
    settings = config.GeneratorConfig(filters=2, blocks=1)
    lr = tf.random.stateless_uniform([1, 4, 5, 3], [1, 2])
    builders = dict(zip(("stacked", "plain"), builds, strict=True))
    for (one, build_one), (other, build_other) in zip(
        builders.items(), reversed(builders.items()), strict=True
    ):
        tf.keras.utils.set_random_seed(1)
        saved = build_one(settings, 4)
        tf.keras.utils.set_random_seed(2)
        loaded = build_other(settings, 4)
        path = tf.train.Checkpoint(model=saved).save(str(tmp_path / one))
        tf.train.Checkpoint(model=loaded).restore(path).assert_consumed()
        for before, after in zip(saved.weights, loaded.weights, strict=True):
            np.testing.assert_array_equal(before, after)
        expected = saved(lr, training=False)
        np.testing.assert_allclose(loaded(lr, training=False), expected, atol=2e-5, err_msg=other)


def test_same_seed_same_weights_in_both_orders(builds):
    settings = config.GeneratorConfig(filters=2, blocks=1)
    made = []
    for build in builds:
        tf.keras.utils.set_random_seed(3)
        made.append(build(settings, 4).get_weights())
    for one, other in zip(*made, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_shuffle_that_is_put_off_leaves_its_inputs():
    layer = resampling.PixelShuffle(2, put_off=True)
    features = tf.random.stateless_normal([1, 2, 3, 8], [1, 2])
    np.testing.assert_array_equal(layer(features), features)
    assert layer.compute_output_shape(features.shape) == features.shape
    assert resampling.PixelShuffle.from_config(layer.get_config()).put_off


def test_radius_does_not_depend_on_the_order(builds):
    from srgan_tf.models import receptive

    settings = config.GeneratorConfig(
        name="srresnet_seed", filters=1, blocks=2, upsampling="subpixel"
    )
    for scale in config.SCALES:
        one, other = (build(settings, scale) for build in builds)
        assert receptive.radius(one, scale) == receptive.radius(other, scale)
