"""Batch statistics, frozen or not (one and two replicas), and the other shared layers."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf.models import layers


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


def test_instance_norm_normalizes_each_channel_of_each_image():
    layer = layers.InstanceNorm()
    image = np.random.RandomState(0).normal(3, 2, (2, 5, 4, 3)).astype(np.float32)
    mean = image.mean(axis=(1, 2), keepdims=True)
    expected = (image - mean) / np.sqrt(image.var(axis=(1, 2), keepdims=True) + 1e-5)
    for training in (False, True):
        np.testing.assert_allclose(layer(image, training=training), expected, atol=1e-5)
    layer.gamma.assign([1.0, 2.0, 3.0])
    layer.beta.assign([0.0, 0.0, 5.0])
    np.testing.assert_allclose(layer(image)[..., 2], 3 * expected[..., 2] + 5, atol=1e-4)


def test_instance_norm_survives_a_large_offset_in_bfloat16():
    # The mean of 1000 pixels near 300 is beyond bfloat16's 8 bits; statistics are in float32.
    layer = layers.InstanceNorm(dtype="mixed_bfloat16")
    image = 300 + 4 * np.random.RandomState(0).normal(size=(1, 40, 25, 1)).astype(np.float32)
    outputs = layer(image)
    assert outputs.dtype == tf.bfloat16
    np.testing.assert_allclose(np.std(tf.cast(outputs, tf.float32)), 1.0, atol=0.02)
    assert abs(float(tf.reduce_mean(tf.cast(outputs, tf.float32)))) < 0.02


def test_scaled_add_and_its_config():
    layer = layers.ScaledAdd(0.2, name="add")
    np.testing.assert_allclose(layer([tf.constant([10.0]), tf.constant([1.0])]), [3.0])
    again = layers.ScaledAdd.from_config(layer.get_config())
    assert (again.scale, again.name) == (0.2, "add")


def test_small_init_is_a_tenth_of_he_normal():
    kernel = layers.small_init()((3, 3, 64, 64)).numpy()
    np.testing.assert_allclose(kernel.std(), 0.1 * np.sqrt(2 / (9 * 64)), rtol=0.02)


def _run(layer, inputs, upstream):
    """Returns a training call's output, gradients of everything, and the layer's statistics."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    variables = layer.trainable_variables
    gradients = tape.gradient(outputs, [inputs, *variables], output_gradients=upstream)
    return [outputs, *gradients, *(v.numpy() for v in layer.non_trainable_variables)]


def _like(layer, kind, **arguments):
    """Returns a layer of Keras' own with random weights, and `layer` with the same."""
    own = kind(**arguments)
    random = np.random.RandomState(1)
    for made in (own, layer):
        made.build((None, None, None, 8))
    own.set_weights([random.uniform(0.5, 1.5, w.shape) for w in own.get_weights()])
    layer.set_weights(own.get_weights())
    return own, layer


# 2 * 3 * 3 positions: the smaller the sample, the larger the difference between the two variances.
_FEATURES = tf.random.stateless_normal([2, 3, 3, 8], [1, 2], mean=0.5)
_UPSTREAM = tf.random.stateless_normal([2, 3, 3, 8], [3, 4])


def test_batch_norm_equals_keras_own_on_one_replica():
    arguments = {"momentum": 0.9, "epsilon": 1e-3, "synchronized": True}
    own, lean = _like(layers.batch_norm("bn"), tf.keras.layers.BatchNormalization, **arguments)
    names = [v.name.split("/")[-1] for v in own.variables]
    assert [v.name.split("/")[-1] for v in lean.variables] == names
    for one, other in zip(*(_run(x, _FEATURES, _UPSTREAM) for x in (own, lean)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for training in (False, None):
        one, other = (x(_FEATURES, training=training) for x in (own, lean))
        np.testing.assert_allclose(one, other, atol=1e-6)
    lean.trainable = False  # Inference, whatever the call says, as in Keras.
    np.testing.assert_allclose(lean(_FEATURES, training=True), one, atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_statistics_of_batch_norm_are_float32_under_any_precision(dtype):
    layer = layers.BatchNorm(momentum=0.0, dtype=dtype)
    # Near 300 bfloat16 has steps of 2: a mean that was rounded to it would be off by up to 1.
    features = tf.constant([298.0, 300.0, 302.0, 304.0, 300.0], shape=[1, 1, 5, 1])
    outputs = layer(features, training=True)
    assert outputs.dtype == layer.compute_dtype
    mean, variance = (float(x.numpy()[0]) for x in (layer.moving_mean, layer.moving_variance))
    assert mean == pytest.approx(300.8)
    assert variance == pytest.approx(np.var([298, 300, 302, 304, 300]), rel=1e-3)


@pytest.mark.parametrize("stack", [1, 4])
def test_prelu_equals_keras_own(stack):
    made = layers.prelu("prelu", stack)
    own = tf.keras.layers.PReLU(shared_axes=[1, 2])
    for layer in (own, made):
        layer.build((None, None, None, 8 if layer is own else 8 * stack))
    own.set_weights([np.linspace(-0.3, 1.4, 8).reshape(1, 1, 8)])
    made.set_weights(own.get_weights())
    # Keras' own on the places one by one; the slopes' gradients add up.
    parts = [
        _run(own, tf.roll(_FEATURES, place, axis=1), tf.roll(_UPSTREAM, place, axis=2))
        for place in range(stack)
    ]
    whole = [
        tf.concat([tf.roll(x, place, axis=axis) for place in range(stack)], axis=-1)
        for x, axis in ((_FEATURES, 1), (_UPSTREAM, 2))
    ]
    outputs, by_inputs, by_slopes = _run(made, *whole)
    np.testing.assert_allclose(outputs, tf.concat([part[0] for part in parts], -1), atol=1e-6)
    np.testing.assert_allclose(by_inputs, tf.concat([part[1] for part in parts], -1), atol=1e-6)
    np.testing.assert_allclose(by_slopes, sum(part[2] for part in parts), atol=1e-5)
    np.testing.assert_allclose(made(whole[0], training=False), outputs, atol=1e-6)
    again = layers.PReLU.from_config(made.get_config())
    assert (again.stack, list(again.shared_axes)) == (stack, [1, 2])


def test_conv_equals_keras_own():
    arguments = {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}
    made, own = layers.Conv2D(**arguments), tf.keras.layers.Conv2D(**arguments)
    own, made = _like(made, lambda: own)
    upstream = _UPSTREAM[:, :2, :2, :3]
    for one, other in zip(*(_run(x, _FEATURES, upstream) for x in (own, made)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
