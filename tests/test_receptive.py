"""The receptive radius holds, is tight, and is refused where it is not known."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config
from srgan_tf.models import generators, receptive, resampling, upsampling


@pytest.mark.parametrize(
    ("scale", "radius"),
    [
        # At x4 with 16 blocks: 4 (conv9) + 16 * 2 + 1 + 1 (first upsampling) at LR resolution, 1/2
        # (second), 4/4 (conv9 at x4): 39.5.
        (4, 40),
        (2, 40),  # 4 + 32 + 1 + 1 + 4/2
        (3, 40),  # 4 + 32 + 1 + 1 + 4/3 = 39.33
        (8, 40),  # 4 + 32 + 1 + 1 + 1/2 + 1/4 + 4/8 = 39.25
    ],
)
def test_radius_of_the_papers_generator(scale, radius):
    model = generators.srresnet(scale=scale, filters=1, blocks=16)
    assert receptive.radius(model, scale) == radius
    assert receptive.alignment(model) == 1


def test_radius_of_the_autoencoder():
    model = generators.autoencoder(scale=4, filters=1, blocks=2)
    # 1 (conv); 1 and 2 (strided convs of size 3: one cell beyond their own two, of 1 and 2 pixels);
    # 2 * 2 * 4 (blocks, cells of 4). Decoder: conv 4, shuffle 4 - 2 (the far pixel of a cell), conv
    # 2; conv 2, shuffle 2 - 1, conv 1. Upsampling 1 + 1/2, conv5 2/4: 34.
    assert receptive.radius(model, 4) == 34
    assert receptive.alignment(model) == 4


# Every generator, every upsampling, every scale but the costly 8 at least once.
_PAIRS = [
    (name, kind, (2, 3, 4)[(row + column) % 3])
    for row, name in enumerate(sorted(generators.GENERATORS))
    for column, kind in enumerate(sorted(set(upsampling.UPSAMPLINGS) - {"subpixel_plain"}))
]


def _make_positive(model: tf.keras.Model) -> None:
    """Gives convolutions positive kernels, so that no dependence cancels or meets a dead ReLU."""
    random = np.random.RandomState(0)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            kernel = random.uniform(0.5, 1.0, layer.kernel.shape)
            layer.kernel.assign(kernel / kernel.sum() * 2)


@pytest.mark.parametrize(("name", "kind", "scale"), _PAIRS)
def test_radius_bounds_what_a_pixel_depends_on_and_is_tight(name, kind, scale):
    settings = config.GeneratorConfig(name=name, filters=4, blocks=1, upsampling=kind)
    model = fixtures.awaken(generators.build(settings, scale))
    _make_positive(model)
    radius, alignment = receptive.radius(model, scale), receptive.alignment(model)
    lr = tf.random.stateless_uniform([1, 2 * radius + 8, 2 * radius + 11, 3], [1, 2])
    reach = 0
    for place in range(radius + 3, radius + 3 + alignment):  # Every place within a block.
        square = slice(place * scale, (place + 1) * scale)
        with tf.GradientTape() as tape:
            tape.watch(lr)
            sr = tf.reduce_sum(model(lr, training=False)[:, square, square])
        # However small: a gradient has no 1 beside it that would swallow it.
        seen = np.argwhere(tape.gradient(sr, lr).numpy()[0].max(axis=-1))
        reach = max(reach, np.abs(seen - place).max())
    # Strided convolutions of size 3 reach to the right alone, transposed ones to the left alone;
    # that is added up as if it were the same side (2 + 4 cells in the decoder).
    slack = 6 if (name, kind) == ("autoencoder", "deconv") else 1
    assert radius - slack <= reach <= radius


def test_radius_counts_the_longest_path():
    inputs = tf.keras.Input((None, None, 1))
    near = tf.keras.layers.Conv2D(1, 3, padding="same")(inputs)
    far = tf.keras.layers.Conv2D(1, 5, padding="same", dilation_rate=2)(inputs)
    model = tf.keras.Model(inputs, tf.keras.layers.Add()([near, far, inputs]))
    assert receptive.radius(model, 1) == 4  # 5 taps, 2 apart: 2 * 2 to each side.


def test_what_is_not_known_is_refused():
    inputs = tf.keras.Input((None, None, 1))
    pooled = tf.keras.Model(inputs, tf.keras.layers.MaxPooling2D(2, name="pool")(inputs))
    with pytest.raises(ValueError, match="reach of pool"):
        receptive.radius(pooled, 1)
    with pytest.raises(ValueError, match="enlarges by 2, not by scale=4"):
        receptive.radius(generators.srresnet(scale=2, filters=1, blocks=1), 4)


def _down_and_up(padding: int) -> tf.keras.Model:
    inputs = tf.keras.Input((None, None, 1))
    features = resampling.PadToMultiple(padding)(inputs)
    features = tf.keras.layers.Conv2D(4, 3, strides=2, padding="same", name="down")(features)
    return tf.keras.Model(inputs, resampling.PixelShuffle(2)(features))


def test_a_stride_needs_sides_that_it_divides():
    # One cell beyond its own two; then the far one of the two.
    assert receptive.radius(_down_and_up(padding=2), 1) == 2
    with pytest.raises(ValueError, match="reach of down"):
        receptive.radius(_down_and_up(padding=3), 1)
