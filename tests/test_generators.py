"""Each generator's parameters, names, start and refusals; `auto`."""

import dataclasses

import fixtures  # noqa: F401
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config, errors
from srgan_tf.models import generators, layers


def _parameters(model: tf.keras.Model, prefix: str) -> int:
    return sum(layer.count_params() for layer in model.layers if layer.name.startswith(prefix))


def _conv(size: int, inputs: int, outputs: int) -> int:
    return size**2 * inputs * outputs + outputs


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


# Checkpoints find weights by the order of layers: a change here loses every run so far.
def test_layers_of_srresnet_are_stable():
    model = generators.srresnet(scale=4, filters=2, blocks=1)
    block = [f"block01_{part}" for part in ("conv1", "bn1", "prelu", "conv2", "bn2", "add")]
    assert [layer.name for layer in model.layers] == [
        *("lr", "head_conv", "head_prelu", *block, "trunk_conv", "trunk_bn", "trunk_add"),
        *(f"upsample{n}_{part}" for n in (1, 2) for part in ("conv", "shuffle", "prelu")),
        *("tail_conv", "tail_tanh"),
    ]


def test_layers_of_lite_are_stable():
    model = generators.lite(scale=4, filters=2, blocks=1)
    assert [layer.name for layer in model.layers] == [
        *("lr", "head_conv", "block01_conv1", "block01_relu", "block01_conv2", "block01_add"),
        *("trunk_conv", "trunk_add", "tail_conv", "input_repeat", "tail_add", "tail_shuffle"),
        "tail_signed",
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


@pytest.mark.parametrize("name", ["srresnet", "srresnet_seed", "autoencoder"])
def test_norm_none_has_no_normalization_and_batch_has(name):
    counts = {}
    for norm in ("batch", "none"):
        model = generators.GENERATORS[name](scale=2, filters=2, blocks=1, norm=norm)
        counts[norm] = sum(isinstance(layer, layers.BatchNorm) for layer in model.layers)
    assert counts["none"] == 0
    assert counts["batch"] >= 3


@pytest.mark.parametrize(
    ("name", "limit"),
    # rrdb adds a fifth of itself in every block: 1.2**3 from the first to the fourth.
    [("srresnet", 1.2), ("srresnet_seed", 1.2), ("autoencoder", 1.2), ("rrdb", 1.2**3 * 1.1)],
)
def test_blocks_without_norm_start_near_the_identity(name, limit):
    # Branches that start at full size would double the variance with every block.
    tf.keras.utils.set_random_seed(1)
    settings = config.GeneratorConfig(name=name, filters=8, blocks=4, norm="none")
    model = generators.build(settings, scale=2)
    ends = [model.get_layer(f"block{index:02d}_add").output for index in (1, 4)]
    lr = tf.random.stateless_uniform([1, 12, 12, 3], [1, 2])
    first, last = tf.keras.Model(model.inputs, ends)(lr, training=False)
    assert float(tf.math.reduce_std(last) / tf.math.reduce_std(first)) < limit


def test_rrdb_has_the_published_number_of_parameters():
    one, two = (
        generators.rrdb(scale=4, filters=64, blocks=blocks).count_params() for blocks in (1, 2)
    )
    # Five convolutions from 64, 96, ... 192 channels; growth 32, back to 64 at the end.
    dense = sum(_conv(3, 64 + 32 * i, 32) for i in range(4)) + _conv(3, 64 + 32 * 4, 64)
    assert two - one == 3 * dense
    # Head, trunk, two stages of nearest + conv, conv, and the tail to RGB.
    rest = _conv(3, 3, 64) + 4 * _conv(3, 64, 64) + _conv(3, 64, 3)
    assert one == rest + 3 * dense
    # RRDBNet(num_block=23) of ESRGAN and Real-ESRGAN.
    assert rest + 23 * 3 * dense == 16_697_987


def test_rrdb_scales_its_residuals_by_a_fifth():
    model = generators.rrdb(scale=2, filters=2, blocks=1)
    added = [x for x in model.layers if isinstance(x, layers.ScaledAdd)]
    assert [x.scale for x in added] == [0.2] * 4
    # With zero kernels inside, dense blocks are the identity, and the block around them adds a
    # fifth of its own input (as in the published code).
    for layer in model.layers:
        if layer.name.startswith("block01_dense") and hasattr(layer, "kernel"):
            layer.kernel.assign(tf.zeros(layer.kernel.shape))
    ends = [model.get_layer(name).output for name in ("head_conv", "block01_add")]
    head, block = tf.keras.Model(model.inputs, ends)(tf.ones([1, 4, 5, 3]), training=False)
    np.testing.assert_allclose(block, 1.2 * head, rtol=1e-5)


def test_the_seeds_generator_is_the_original_one():
    settings = config.GeneratorConfig(name="srresnet_seed", blocks=15)
    model = generators.build(settings, scale=4)
    groups = {
        "head_": _conv(5, 3, 64) + 4 * 64,
        "block": 15 * 2 * (_conv(3, 64, 64) + 4 * 64),
        "upsample": _conv(3, 64, 128) + _conv(3, 128, 128),  # Nearest + conv3-128, twice.
        "tail_": _conv(5, 128, 3),
    }
    assert {prefix: _parameters(model, prefix) for prefix in groups} == groups
    assert model.count_params() == sum(groups.values())  # No convolution after the blocks.
    slopes = [x for x in model.layers if isinstance(x, tf.keras.layers.LeakyReLU)]
    np.testing.assert_allclose([float(x(tf.constant(-1.0))) for x in slopes], -0.25)


# From 1 x 1 on; 5 x 7 is padded to 8 x 8 inside.
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 4)])
def test_autoencoder_pads_and_crops_inside(size):
    model = generators.autoencoder(scale=3, filters=2, blocks=1)
    lr = tf.random.stateless_uniform([1, *size, 3], [1, 2])
    inner = tf.keras.Model(model.inputs, model.get_layer("block01_add").output)
    assert inner(lr).shape[1:3] == (-(-size[0] // 4), -(-size[1] // 4))
    assert model(lr, training=False).shape == (1, 3 * size[0], 3 * size[1], 3)


def test_unknown_generator_lists_the_choices():
    with pytest.raises(errors.InputError, match="generator 'srresnt'.*did you mean 'srresnet'"):
        generators.build(config.GeneratorConfig(name="srresnt"), scale=4)


def test_unknown_upsampling_lists_the_choices():
    settings = config.GeneratorConfig(upsampling="nearest")
    with pytest.raises(errors.InputError, match="generator_upsampling 'nearest'.*nearest_conv"):
        generators.build(settings, scale=4)


@pytest.mark.parametrize(
    ("name", "norm", "choices"),
    [
        ("rrdb", "batch", r"\['none'\]"),
        ("lite", "batch", r"\['none'\]"),
        # Its statistics would span the picture, and tiles would show.
        ("srresnet", "instance", r"\['batch', 'none'\]"),
        ("autoencoder", "btach", r"\['batch', 'none'\]"),
    ],
)
def test_a_norm_that_the_architecture_does_not_have(name, norm, choices):
    with pytest.raises(errors.InputError, match=f"{name} cannot have.*{norm}.*{choices}, or auto"):
        generators.build(config.GeneratorConfig(name=name, norm=norm), scale=4)


@pytest.mark.parametrize(
    ("name", "norm", "upsampling"),
    [
        ("srresnet", "batch", "subpixel"),
        ("srresnet_seed", "batch", "nearest_conv"),
        ("autoencoder", "none", "subpixel"),
        ("rrdb", "none", "nearest_conv"),
        ("lite", "none", "subpixel"),
    ],
)
def test_auto_is_the_architectures_own(name, norm, upsampling):
    settings = config.GeneratorConfig(name=name)
    resolved = generators.resolve(settings)
    assert resolved == dataclasses.replace(settings, norm=norm, upsampling=upsampling)
    assert generators.resolve(resolved) == resolved


def test_config_of_a_run_before_norm_and_upsampling_were_fields():
    older = {"name": "srresnet", "filters": 64, "blocks": 16}
    assert config.from_dict(config.GeneratorConfig, older) == config.GeneratorConfig()
    older = {"name": "srgan", "filters": 64, "dense_units": 1024}
    assert config.from_dict(config.DiscriminatorConfig, older) == config.DiscriminatorConfig()


def test_lite_has_the_documented_number_of_parameters():
    model = generators.lite(scale=4, filters=48, blocks=6)
    conv48 = 48 * 48 * 9 + 48
    # Head, two a block, trunk, and 48 -> 3 * 4**2 = 48 at the end.
    assert model.count_params() == (3 * 48 * 9 + 48) + 6 * 2 * conv48 + conv48 + conv48 == 292_320


@pytest.mark.parametrize("upsampling", ["subpixel", "nearest_conv", "deconv"])
def test_lite_without_detail_is_nearest_neighbour(upsampling):
    model = generators.lite(scale=3, filters=4, blocks=1, upsampling=upsampling)
    tail = [x for x in model.layers if x.name in ("tail_conv", "tail_deconv")][0]
    tail.set_weights([np.zeros_like(weight) for weight in tail.get_weights()])
    lr = np.random.RandomState(1).uniform(size=[1, 4, 5, 3]).astype(np.float32)
    expected = lr.repeat(3, axis=1).repeat(3, axis=2) * 2 - 1
    np.testing.assert_allclose(model(lr, training=False), expected, atol=1e-6)
