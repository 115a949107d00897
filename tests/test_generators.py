"""The paper's generator: parameters group by group, ranges, names."""

import fixtures  # noqa: F401
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config, errors
from srgan_tf.models import generators, layers


def _parameters(model: tf.keras.Model, prefix: str) -> int:
    return sum(layer.count_params() for layer in model.layers if layer.name.startswith(prefix))


def test_parameters_of_the_papers_generator():
    model = generators.build(config.GeneratorConfig(), scale=4)
    # A convolution has k * k * in * out + out, batch normalization 4 and PReLU 1 per channel.
    conv64 = 3 * 3 * 64 * 64 + 64
    groups = {
        "head_": 9 * 9 * 3 * 64 + 64 + 64,
        "block": 16 * (2 * conv64 + 2 * 4 * 64 + 64),
        "trunk_": conv64 + 4 * 64,
        "upsample": 2 * (3 * 3 * 64 * 256 + 256 + 64),
        "tail_": 9 * 9 * 64 * 3 + 3,
    }
    assert {prefix: _parameters(model, prefix) for prefix in groups} == groups
    assert model.count_params() == sum(groups.values()) == 1_554_883


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        # With 2 filters, one stage of factor f: 3 * 3 * 2 * (2 f^2) + 2 f^2 + 2 for PReLU.
        (2, 154),
        (3, 344),
        (4, 2 * 154),
        (8, 3 * 154),
    ],
)
def test_upsampling_parameters_by_scale(scale, expected):
    model = generators.srresnet(scale=scale, filters=2, blocks=1)
    assert _parameters(model, "upsample") == expected


def test_layer_names_are_stable():
    model = generators.srresnet(scale=4, filters=2, blocks=1)
    block = [f"block01_{part}" for part in ("conv1", "bn1", "prelu", "conv2", "bn2", "add")]
    assert [layer.name for layer in model.layers] == [
        *("lr", "head_conv", "head_prelu", *block, "trunk_conv", "trunk_bn", "trunk_add"),
        *(f"upsample{n}_{part}" for n in (1, 2) for part in ("conv", "shuffle", "prelu")),
        *("tail_conv", "tail_tanh"),
    ]


def test_slopes_start_at_a_quarter_and_are_shared_over_positions():
    model = generators.srresnet(scale=2, filters=2, blocks=1)
    slopes = [x for x in model.layers if isinstance(x, tf.keras.layers.PReLU)]
    assert len(slopes) == 3
    for layer in slopes:
        np.testing.assert_array_equal(layer.get_weights()[0], np.full([1, 1, 2], 0.25))


def test_output_stays_within_the_signed_range():
    model = generators.srresnet(scale=2, filters=4, blocks=1)
    sr = model(100.0 * tf.random.stateless_normal([1, 8, 8, 3], [1, 2]), training=False)
    # Inputs this far out drive tanh to both ends.
    assert float(tf.reduce_min(sr)) == -1.0
    assert float(tf.reduce_max(sr)) == 1.0


def test_long_skip_reaches_over_the_blocks():
    model = generators.srresnet(scale=2, filters=4, blocks=2)
    # Without what trunk_bn gives, the trunk contributes nothing: the head alone remains.
    model.get_layer("trunk_bn").gamma.assign(tf.zeros([4]))
    skip = tf.keras.Model(
        model.inputs,
        [model.get_layer("head_prelu").output, model.get_layer("trunk_add").output],
    )
    head, trunk = skip(tf.random.stateless_uniform([1, 6, 5, 3], [3, 4]), training=False)
    np.testing.assert_array_equal(head, trunk)


def test_same_seed_same_weights():
    made = []
    for _ in range(2):
        tf.keras.utils.set_random_seed(7)
        made.append(generators.srresnet(scale=2, filters=2, blocks=1).get_weights())
    for first, second in zip(*made, strict=True):
        np.testing.assert_array_equal(first, second)


def test_batch_normalization_is_the_packages_own():
    # frozen_statistics would pass over any other.
    model = generators.srresnet(scale=2, filters=2, blocks=1)
    found = [x for x in model.layers if isinstance(x, tf.keras.layers.BatchNormalization)]
    assert len(found) == 3
    assert all(isinstance(layer, layers.BatchNorm) for layer in found)


def test_unknown_generator_lists_the_choices():
    with pytest.raises(errors.InputError, match="generator 'srresnt'.*did you mean 'srresnet'"):
        generators.build(config.GeneratorConfig(name="srresnt"), scale=4)


def test_lite_has_the_documented_number_of_parameters():
    model = generators.lite(scale=4, filters=48, blocks=6)
    conv48 = 48 * 48 * 9 + 48
    # Head, two a block, trunk, and 48 -> 3 * 4**2 = 48 at the end.
    assert model.count_params() == (3 * 48 * 9 + 48) + 6 * 2 * conv48 + conv48 + conv48 == 292_320


def test_lite_without_detail_is_nearest_neighbour():
    model = generators.lite(scale=3, filters=4, blocks=1)
    tail = model.get_layer("tail_conv")
    tail.set_weights([np.zeros_like(weight) for weight in tail.get_weights()])
    lr = np.random.RandomState(1).uniform(size=[1, 4, 5, 3]).astype(np.float32)
    expected = lr.repeat(3, axis=1).repeat(3, axis=2) * 2 - 1
    np.testing.assert_allclose(model(lr, training=False), expected, atol=1e-6)
