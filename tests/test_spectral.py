"""Spectral normalization: formula, gradient, and that only its own update changes anything."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config
from srgan_tf.models import discriminators, layers, spectral


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _conv(seed: int = 1, **options) -> spectral.SpectralConv2D:
    layer = spectral.SpectralConv2D(3, 2, padding="same", name="conv", **options)
    layer.build((None, None, None, 2))
    random = np.random.RandomState(seed)
    for weight in layer.weights:
        weight.assign(random.normal(size=weight.shape))
    return layer


def _iterate(kernel: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns v, the next u and sigma as torch.nn.utils.spectral_norm defines them.

    Its weight W is `[units, inputs]`: v = W^T u, u = W v, both normalized, sigma = u^T W v.
    """
    weight = kernel.reshape(-1, kernel.shape[-1]).T.astype(np.float64)
    v = _unit(weight.T @ u)
    u = _unit(weight @ v)
    return v, u, u @ weight @ v


_IMAGE = np.random.RandomState(5).normal(size=(2, 4, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("training", [False, True])
def test_output_is_that_of_the_kernel_divided_by_sigma(training):
    layer = _conv()
    kernel, u = layer.kernel.numpy(), layer.u.numpy()
    _, new_u, sigma = _iterate(kernel, u)
    expected = tf.nn.conv2d(_IMAGE, kernel / sigma, 1, "SAME") + layer.bias.numpy()
    np.testing.assert_allclose(layer(_IMAGE, training=training), expected, atol=1e-5)
    np.testing.assert_allclose(layer.u.numpy(), new_u if training else u, atol=1e-6)
    np.testing.assert_array_equal(layer.kernel.numpy(), kernel)


def test_dense_layer_is_divided_by_its_sigma_too():
    layer = spectral.SpectralDense(3, use_bias=False)
    inputs = _IMAGE.reshape(2, -1)
    before = layer(inputs, training=False).numpy()
    kernel = layer.kernel.numpy()
    _, _, sigma = _iterate(kernel, layer.u.numpy())
    np.testing.assert_allclose(before, inputs @ kernel / sigma, atol=1e-5)


def test_sigma_becomes_the_largest_singular_value():
    layer = _conv(use_bias=False)
    for _ in range(50):
        layer(_IMAGE, training=True)
    kernel = layer.kernel.numpy()
    largest = np.linalg.svd(kernel.reshape(-1, 3), compute_uv=False)[0]
    expected = tf.nn.conv2d(_IMAGE, kernel / largest, 1, "SAME")
    np.testing.assert_allclose(layer(_IMAGE, training=False), expected, atol=1e-5)


def _gradients(layer: spectral.SpectralConv2D) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gradients by the kernel and by the kernel that is applied, of one loss."""
    weights = np.random.RandomState(6).normal(size=(2, 4, 3, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(_IMAGE, training=False) * weights)
    by_kernel = tape.gradient(loss, layer.trainable_variables)[0].numpy()
    applied = tf.zeros(by_kernel.shape)
    with tf.GradientTape() as tape:
        tape.watch(applied)
        loss = tf.reduce_sum(tf.nn.conv2d(_IMAGE, applied, 1, "SAME") * weights)
    return by_kernel, tape.gradient(loss, applied).numpy()


def test_gradient_goes_through_sigma_by_the_formula_of_the_paper():
    layer = _conv(use_bias=False)
    kernel = layer.kernel.numpy()
    v, u, sigma = _iterate(kernel, layer.u.numpy())
    by_kernel, by_applied = _gradients(layer)
    # d(W / sigma) with u and v held: (G - <G, W> / sigma * v u^T) / sigma, equation 12 there.
    through = np.sum(by_applied * kernel) / sigma * np.outer(v, u).reshape(kernel.shape)
    np.testing.assert_allclose(by_kernel, (by_applied - through) / sigma, rtol=1e-4, atol=1e-5)
    assert np.abs(through).max() > 0.1  # What leaving sigma out would miss.


def test_gradient_is_the_numerical_one_once_u_has_settled():
    layer = _conv(use_bias=False)
    for _ in range(200):
        layer(_IMAGE, training=True)
    by_kernel, by_applied = _gradients(layer)
    kernel = layer.kernel.numpy().astype(np.float64)

    def loss(changed):  # Linear in the applied kernel.
        largest = np.linalg.svd(changed.reshape(-1, 3), compute_uv=False)[0]
        return np.sum(by_applied * changed) / largest

    numerical = np.zeros_like(kernel)
    for index in np.ndindex(*kernel.shape):
        step = np.zeros_like(kernel)
        step[index] = 1e-6
        numerical[index] = (loss(kernel + step) - loss(kernel - step)) / 2e-6
    np.testing.assert_allclose(by_kernel, numerical, rtol=1e-3, atol=1e-4)


def _unet() -> tf.keras.Model:
    settings = config.DiscriminatorConfig(name="unet", filters=2)
    return discriminators.build(settings, 16)


def _values(model: tf.keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables]


def test_a_generator_step_changes_nothing_to_the_last_bit():
    model = _unet()
    image = tf.random.stateless_uniform([2, 16, 16, 3], [1, 2], -1, 1)

    @tf.function
    def generator_step(sr):
        with tf.GradientTape() as tape:
            tape.watch(sr)
            with layers.frozen_statistics(model):
                loss = tf.reduce_sum(model(sr, training=True))
        return tape.gradient(loss, sr)

    before = _values(model)
    assert float(tf.norm(generator_step(image))) > 0
    generator_step(image)
    for old, new in zip(before, _values(model), strict=True):
        np.testing.assert_array_equal(old, new)
    # Its own update, before the optimizer: u moves in all eight, nothing else does.
    model(image, training=True)
    moved = [not np.array_equal(*pair) for pair in zip(before, _values(model), strict=True)]
    names = [v.name.split("/")[-1] for v, m in zip(model.variables, moved, strict=True) if m]
    assert len(names) == 8
    assert all(name.startswith("u") for name in names)


def _copies(variable) -> list[np.ndarray]:
    raw = variable if isinstance(variable, tf.Variable) else variable.value  # Keras 2, Keras 3
    return [copy.numpy() for copy in fixtures.strategy().experimental_local_results(raw)]


def test_replicas_keep_one_u():
    with fixtures.strategy().scope():
        inputs = tf.keras.Input((4, 3, 2))
        layer = spectral.SpectralConv2D(3, 2, padding="same")
        model = tf.keras.Model(inputs, layer(inputs))
    single = _conv(bias_initializer="zeros")
    for weight, other in zip(single.weights, layer.weights, strict=True):
        weight.assign(_copies(other)[0])

    @tf.function
    def run():
        def step():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            image = tf.constant(_IMAGE) + tf.cast(replica, tf.float32)
            model(image, training=True)
            with layers.frozen_statistics(model):
                model(image, training=True)

        fixtures.strategy().run(step)

    before = _copies(layer.u)
    for _ in range(3):
        run()
        single(_IMAGE, training=True)
    first, second = _copies(layer.u)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, single.u.numpy(), atol=1e-6)
    assert not np.allclose(first, before[0])
