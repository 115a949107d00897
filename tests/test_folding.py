"""serving/folding.py: a generator without batch normalization that does the same."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config, errors
from srgan_tf.models import generators, upsampling
from srgan_tf.serving import folding


def trained_like(settings: config.GeneratorConfig, scale: int, seed: int = 1) -> tf.keras.Model:
    """Builds a generator with random weights and statistics: nothing is at 0 or 1 any more."""
    tf.keras.utils.set_random_seed(seed)
    model = generators.build(settings, scale)
    random = np.random.RandomState(seed)
    for weight in model.weights:
        values = weight.numpy()
        shift = np.abs(random.normal(0, 0.3, values.shape))  # Variances stay positive.
        weight.assign(values + shift if values.ndim == 1 else values * 1.2)
    return model


def _pairs():
    pairs = []
    for row, name in enumerate(sorted(generators.GENERATORS)):
        try:
            settings = config.GeneratorConfig(name=name, filters=2, blocks=1, norm="batch")
            generators.build(settings, 2)
        except errors.InputError:
            continue
        for column, kind in enumerate(sorted(upsampling.UPSAMPLINGS)):
            pairs.append((name, kind, (2, 3, 4)[(row + column) % 3]))
    return pairs


@pytest.mark.parametrize(("name", "kind", "scale"), _pairs())
def test_folded_equals_unfolded(name, kind, scale):
    settings = config.GeneratorConfig(name=name, filters=4, blocks=2, norm="batch", upsampling=kind)
    generator = trained_like(settings, scale)
    folded = folding.fold(generator, settings, scale)
    kinds = [type(layer).__name__ for layer in folded.layers]
    assert "BatchNorm" in {type(layer).__name__ for layer in generator.layers}
    assert "BatchNorm" not in kinds
    lr = tf.constant(fixtures.photo_like(11, 14)[None] / np.float32(255))
    expected = generator(lr, training=False)
    assert expected.numpy().std() > 0.05
    np.testing.assert_allclose(folded(lr, training=False), expected, rtol=0, atol=1e-5)


def test_what_has_none_is_returned_as_it_is():
    for name in ("lite", "srresnet"):
        settings = config.GeneratorConfig(name=name, filters=4, blocks=1, norm="none")
        generator = generators.build(settings, 2)
        assert folding.fold(generator, settings, 2) is generator


def test_what_cannot_be_folded_is_returned_as_it_is():
    inputs = tf.keras.Input((None, None, 3))
    features = tf.keras.layers.ReLU()(inputs)
    generator = tf.keras.Model(inputs, tf.keras.layers.BatchNormalization()(features))
    assert folding.fold(generator, config.GeneratorConfig(), 2) is generator


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(("scale", "kinds"), [(2, "Stacked Stacked"), (3, "Stacked Conv2D")])
def test_the_order_of_layers_is_that_of_inference(monkeypatch, norm, scale, kinds):
    monkeypatch.setattr(upsampling.machine, "uses_onednn", lambda: False)
    settings = config.GeneratorConfig(filters=2, blocks=1, norm=norm)
    generator = trained_like(settings, scale)
    folded = folding.fold(generator, settings, scale)
    found = [type(model.get_layer("tail_conv")).__name__ for model in (generator, folded)]
    assert found == kinds.replace("Stacked", "StackedConv2D").split()
    lr = tf.constant(fixtures.photo_like(9, 7)[None] / np.float32(255))
    expected = generator(lr, training=False)
    np.testing.assert_allclose(folded(lr, training=False), expected, rtol=0, atol=2e-5)
    monkeypatch.setattr(upsampling.machine, "uses_onednn", lambda: True)
    slow_too = type(generators.build(settings, scale).get_layer("tail_conv")).__name__
    assert slow_too == found[1]  # With oneDNN training has the order of inference.
