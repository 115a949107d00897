"""The paper's discriminator: parameters, crop sizes, logits."""

import fixtures  # noqa: F401
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config, errors
from srgan_tf.models import discriminators, layers


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


def test_unknown_discriminator_lists_the_choices():
    with pytest.raises(errors.InputError, match=r"discriminator 'vit'; choose from \['srgan'\]"):
        discriminators.build(config.DiscriminatorConfig(name="vit"), crop_size=96)
