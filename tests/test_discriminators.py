"""Each discriminator's parameters, crop sizes, logits and refusals."""

import fixtures  # noqa: F401
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config, errors
from srgan_tf.models import discriminators, layers, spectral


def test_parameters_of_the_papers_discriminator():
    model = discriminators.build(config.DiscriminatorConfig(), crop_size=96)
    widths = [3, 64, 64, 128, 128, 256, 256, 512, 512]
    convolutions = sum(9 * i * o + o for i, o in zip(widths, widths[1:], strict=False))
    normalization = sum(4 * width for width in widths[2:])  # All but the first convolution.
    side = 96 // 16
    dense = side * side * 512 * 1024 + 1024 + 1024 + 1
    assert model.count_params() == convolutions + normalization + dense
    assert [s.strides[0] for s in model.layers if "conv" in s.name and hasattr(s, "strides")] == [
        *(1, 2, 1, 2, 1, 2, 1, 2)
    ]


def test_first_convolution_has_no_batch_normalization_and_slopes_are_a_fifth():
    model = discriminators.srgan(crop_size=16, filters=2, dense_units=4)
    normalized = [x.name for x in model.layers if isinstance(x, layers.BatchNorm)]
    assert normalized == [f"conv{n}_bn" for n in range(2, 9)]
    leaky = [x for x in model.layers if isinstance(x, tf.keras.layers.LeakyReLU)]
    assert len(leaky) == 9
    np.testing.assert_allclose([float(x(tf.constant(-1.0))) for x in leaky], -0.2)


# Sides after four strides of 2, each rounded up: 16 -> 1, 17 -> 9, 5, 3, 2; 50 -> 25, 13, 7, 4.
@pytest.mark.parametrize(("crop_size", "side"), [(16, 1), (17, 2), (50, 4)])
def test_any_crop_size_from_16(crop_size, side):
    model = discriminators.srgan(crop_size=crop_size, filters=1, dense_units=2)
    assert tuple(model.get_layer("conv8").output.shape) == (None, side, side, 8)
    image = tf.random.stateless_uniform([3, crop_size, crop_size, 3], [1, 2], -1, 1)
    assert model(image, training=True).shape == (3, 1)


def test_too_small_crop_names_the_limit():
    with pytest.raises(errors.InputError, match="at least 16 pixels, not 12: raise crop_size"):
        discriminators.build(config.DiscriminatorConfig(), crop_size=12)


def test_outputs_are_logits():
    model = discriminators.srgan(crop_size=16, filters=2, dense_units=4)
    model.get_layer("logit").bias.assign([5.0])
    # A sigmoid would end at 1. A grey image has zero features: the bias is all that remains.
    np.testing.assert_allclose(model(tf.zeros([1, 16, 16, 3]), training=False), [[5.0]])


def _trainable(model: tf.keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def test_unet_has_the_published_number_of_parameters():
    settings = config.DiscriminatorConfig(name="unet")
    model = discriminators.build(settings, crop_size=16)
    # conv0 3 -> 64 and logit 64 -> 1 have biases. Between them: down to 512 by 4x4, up and on by
    # 3x3, none with a bias.
    down = 16 * (64 * 128 + 128 * 256 + 256 * 512)
    up = 9 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 64 + 64 * 64)
    assert _trainable(model) == (27 * 64 + 64) + down + up + (9 * 64 + 1) == 4_376_897
    # One u for each of the eight, one element per channel.
    lengths = [int(np.prod(variable.shape)) for variable in model.non_trainable_variables]
    assert lengths == [128, 256, 512, 256, 128, 64, 64, 64]


def test_unet_joins_levels_of_one_size():
    model = discriminators.unet(crop_size=24, filters=2, dense_units=1)
    sides = {n: model.get_layer(f"conv{n}_skip").output.shape[1] for n in (4, 5, 6)}
    assert sides == {4: 6, 5: 12, 6: 24}
    assert tuple(model.outputs[0].shape) == (None, 24, 24, 1)


def test_patch_has_the_published_number_of_parameters():
    settings = config.DiscriminatorConfig(name="patch", norm="none")
    widths = [3, 64, 128, 256, 512, 1]
    expected = sum(16 * i * o + o for i, o in zip(widths, widths[1:], strict=False))
    assert _trainable(discriminators.build(settings, 16)) == expected == 2_764_737


def test_a_logit_of_patch_sees_70_pixels():
    # Positive kernels: nothing that a logit sees can cancel.
    model = discriminators.patch(crop_size=128, filters=1, dense_units=1, norm="none")
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(tf.fill(layer.kernel.shape, 0.01))
    image = tf.ones([1, 128, 128, 3])
    with tf.GradientTape() as tape:
        tape.watch(image)
        logit = model(image, training=False)[0, 8, 8, 0]
    seen = np.argwhere(tape.gradient(logit, image).numpy()[0].max(axis=-1))
    assert np.ptp(seen, axis=0).tolist() == [69, 69]


def test_small_one_at_the_papers_figures_is_the_original():
    model = discriminators.build(config.DiscriminatorConfig(name="srgan_small"), crop_size=24)
    shapes = [tuple(x.kernel.shape) for x in model.layers if hasattr(x, "kernel")]
    # Two strides of 2: 24 -> 6.
    flat = 6 * 6 * 256
    assert shapes == [(3, 3, 3, 128), (3, 3, 128, 256), (flat, 128), (128, 1)]
    leaky = [x for x in model.layers if isinstance(x, tf.keras.layers.LeakyReLU)]
    np.testing.assert_allclose([float(x(tf.constant(-1.0))) for x in leaky], -0.3)


# What is normalized, of srgan's eight convolutions and two dense layers.
@pytest.mark.parametrize(
    ("norm", "kind", "count"),
    [
        ("batch", layers.BatchNorm, 7),
        ("instance", layers.InstanceNorm, 7),
        ("spectral", (spectral.SpectralConv2D, spectral.SpectralDense), 10),
    ],
)
def test_norms_of_the_papers_discriminator(norm, kind, count):
    settings = config.DiscriminatorConfig(filters=1, dense_units=2, norm=norm)
    model = discriminators.build(settings, crop_size=24)
    assert sum(isinstance(layer, kind) for layer in model.layers) == count
    normal = (layers.BatchNorm, layers.InstanceNorm, spectral.SpectralConv2D)
    plain = discriminators.srgan(crop_size=24, filters=1, dense_units=2, norm="none")
    assert not any(isinstance(layer, normal) for layer in plain.layers)


@pytest.mark.parametrize(
    ("name", "norm"),
    [("srgan", "batch"), ("srgan_small", "batch"), ("patch", "batch"), ("unet", "spectral")],
)
def test_auto_is_the_architectures_own(name, norm):
    settings = config.DiscriminatorConfig(name=name)
    assert discriminators.resolve(settings).norm == norm
    assert discriminators.resolve(config.DiscriminatorConfig(norm="none")).norm == "none"


@pytest.mark.parametrize(
    ("name", "norm", "crop_size", "message"),
    [
        ("unet", "auto", 36, "8 divides, not 36: set crop_size to 32 or 40"),
        ("unet", "auto", 8, "at least 16 pixels, not 8"),
        ("patch", "auto", 15, "at least 16 pixels, not 15"),
        ("srgan_small", "auto", 6, "at least 8 pixels, not 6"),
        # One position normalized by itself is always zero.
        ("srgan", "instance", 16, "srgan with discriminator_norm=instance.*at least 17 pixels"),
    ],
)
def test_crops_that_do_not_fit(name, norm, crop_size, message):
    settings = config.DiscriminatorConfig(name=name, norm=norm, filters=1)
    with pytest.raises(errors.InputError, match=message):
        discriminators.build(settings, crop_size)


def test_unknown_discriminator_lists_the_choices():
    with pytest.raises(errors.InputError, match=r"discriminator 'vit'; choose from \['patch'"):
        discriminators.build(config.DiscriminatorConfig(name="vit"), crop_size=96)
    with pytest.raises(errors.InputError, match="discriminator_norm 'layer'; choose from"):
        discriminators.build(config.DiscriminatorConfig(norm="layer"), crop_size=96)
