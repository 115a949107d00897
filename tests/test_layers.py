"""Pixel shuffle, frozen batch statistics (one and two replicas), receptive radius."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf.models import generators, layers


def test_pixel_shuffle_lays_channels_out_row_by_row():
    inputs = tf.reshape(tf.range(4.0), [1, 1, 1, 4])
    # Equation 4 of Shi et al.: channel 0 is top left, 1 top right, 2 bottom left, 3 bottom right.
    outputs = layers.PixelShuffle(2)(inputs)
    np.testing.assert_array_equal(outputs[0, :, :, 0], [[0, 1], [2, 3]])


def test_pixel_shuffle_keeps_unknown_sides_unknown_and_its_config():
    layer = layers.PixelShuffle(3, name="shuffle")
    assert tuple(layer.compute_output_shape((None, None, 5, 18))) == (None, None, 15, 2)
    again = layers.PixelShuffle.from_config(layer.get_config())
    assert (again.scale, again.name) == (3, "shuffle")


def test_batch_norm_is_synchronized_and_keeps_its_config():
    layer = layers.batch_norm("bn")
    assert layer.synchronized
    assert (layer.momentum, layer.epsilon) == (0.9, 1e-3)
    assert layers.BatchNorm.from_config(layer.get_config()).momentum == 0.9


def _bn_model() -> tf.keras.Model:
    inputs = tf.keras.Input((None, None, 1))
    return tf.keras.Model(inputs, layers.batch_norm("bn")(inputs))


def _statistics(model: tf.keras.Model) -> list[float]:
    layer = model.get_layer("bn")
    return [float(layer.moving_mean.numpy()[0]), float(layer.moving_variance.numpy()[0])]


# Mean 6 and variance 26 over {0, 2, 10, 12}.
_BATCH = np.array([0.0, 2.0, 10.0, 12.0], np.float32).reshape(4, 1, 1, 1)
# (0 - 6) / sqrt(26 + 1e-3) and so on: normalized by the batch's own statistics.
_NORMALIZED = (_BATCH - 6) / np.sqrt(26.001)
# From 0 and 1 with momentum 0.9: 0.9 * 0 + 0.1 * 6, 0.9 * 1 + 0.1 * 26.
_MOVED = [0.6, 3.5]


@pytest.mark.parametrize("graph", [False, True])
def test_frozen_statistics_normalizes_by_the_batch_and_moves_nothing(graph):
    model = _bn_model()

    def frozen(batch):
        with layers.frozen_statistics(model):
            return model(batch, training=True)

    def live(batch):
        return model(batch, training=True)

    if graph:
        frozen, live = tf.function(frozen), tf.function(live)
    np.testing.assert_allclose(frozen(_BATCH), _NORMALIZED, rtol=1e-5)
    assert _statistics(model) == [0.0, 1.0]
    np.testing.assert_allclose(live(_BATCH), _NORMALIZED, rtol=1e-5)
    np.testing.assert_allclose(_statistics(model), _MOVED, rtol=1e-5)
    moved = _statistics(model)
    frozen(_BATCH)
    assert _statistics(model) == moved  # To the last bit.


def test_frozen_statistics_ends_with_an_exception_and_nests():
    model = _bn_model()
    layer = model.get_layer("bn")
    with pytest.raises(RuntimeError), layers.frozen_statistics(model):
        with layers.frozen_statistics(model):
            pass
        assert layer.momentum == 1.0
        raise RuntimeError
    assert layer.momentum == 0.9


def _per_replica(batch: np.ndarray):
    halves = np.split(batch, 2)
    return fixtures.strategy().experimental_distribute_values_from_function(
        lambda context: tf.constant(halves[context.replica_id_in_sync_group])
    )


def _on_two_replicas(step, batch: np.ndarray) -> np.ndarray:
    """Runs `step` on both halves within one tf.function; returns the outputs joined."""
    strategy = fixtures.strategy()

    @tf.function
    def run(halves):
        return strategy.run(step, args=(halves,))

    outputs = strategy.experimental_local_results(run(_per_replica(batch)))
    return np.concatenate([output.numpy() for output in outputs])


def test_two_replicas_share_statistics_and_a_frozen_call_between_live_ones_moves_nothing():
    with fixtures.strategy().scope():
        model = _bn_model()

    def step(half):
        first = model(half, training=True)
        with layers.frozen_statistics(model):
            model(half + 100.0, training=True)
            frozen = model(half, training=True)
        second = model(half, training=True)
        return first + frozen + second

    outputs = _on_two_replicas(step, _BATCH)
    np.testing.assert_allclose(outputs, 3 * _NORMALIZED, rtol=1e-4)
    # Two live updates: 0.9 * 0.6 + 0.6 and 0.9 * 3.5 + 2.6.
    np.testing.assert_allclose(_statistics(model), [1.14, 5.75], rtol=1e-5)
    assert model.get_layer("bn").momentum == 0.9


def test_frozen_statistics_entered_around_the_replicas_holds_in_all_of_them():
    with fixtures.strategy().scope():
        model = _bn_model()
    with layers.frozen_statistics(model):
        outputs = _on_two_replicas(lambda half: model(half, training=True), _BATCH)
    np.testing.assert_allclose(outputs, _NORMALIZED, rtol=1e-4)
    assert _statistics(model) == [0.0, 1.0]


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
def test_receptive_radius_of_the_papers_generator(scale, radius):
    model = generators.srresnet(scale=scale, filters=1, blocks=16)
    assert layers.receptive_radius(model, scale) == radius


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_receptive_radius_bounds_what_a_pixel_changes_and_is_tight(scale):
    model = fixtures.awaken(generators.srresnet(scale=scale, filters=4, blocks=1))
    # 4 + 2 + 1 + 1 + 2 = 10, 4 + 2 + 1 + 1 + 4/3 = 9.33, 4 + 2 + 1 + 1 + 1/2 + 1 = 9.5.
    radius = layers.receptive_radius(model, scale)
    assert radius == 10
    row, column = 14, 11
    lr = np.random.RandomState(0).uniform(size=(1, 28, 23, 3)).astype(np.float32)
    changed = lr.copy()
    changed[0, row, column] += 50.0
    difference = model(changed, training=False) - model(lr, training=False)
    rows, columns = np.nonzero(np.abs(difference.numpy()[0]).max(axis=-1))
    reach = max(np.abs(rows // scale - row).max(), np.abs(columns // scale - column).max())
    assert radius - 1 <= reach <= radius


def test_receptive_radius_counts_the_longest_path():
    inputs = tf.keras.Input((None, None, 1))
    near = tf.keras.layers.Conv2D(1, 3, padding="same")(inputs)
    far = tf.keras.layers.Conv2D(1, 5, padding="same", dilation_rate=2)(inputs)
    model = tf.keras.Model(inputs, tf.keras.layers.Add()([near, far, inputs]))
    assert layers.receptive_radius(model, 1) == 4  # 5 taps, 2 apart: 2 * 2 to each side.


def test_receptive_radius_refuses_what_it_does_not_know():
    inputs = tf.keras.Input((None, None, 1))
    pooled = tf.keras.Model(inputs, tf.keras.layers.MaxPooling2D(2, name="pool")(inputs))
    with pytest.raises(ValueError, match="reach of pool"):
        layers.receptive_radius(pooled, 1)
    with pytest.raises(ValueError, match="enlarges by 2, not by scale=4"):
        layers.receptive_radius(generators.srresnet(scale=2, filters=1, blocks=1), 4)
