"""What every generator and every discriminator must do, run over the tables themselves."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config
from srgan_tf.models import discriminators, generators, layers, receptive, upsampling

SCALES = pytest.mark.parametrize("scale", config.SCALES)
GENERATORS = pytest.mark.parametrize("name", sorted(generators.GENERATORS))
DISCRIMINATORS = pytest.mark.parametrize("name", sorted(discriminators.DISCRIMINATORS))

# (name, norm): every network as it is by itself, and each other norm on a cheap one that has it.
GENERATOR_NORMS = [
    *((name, "auto") for name in sorted(generators.GENERATORS)),
    ("srresnet", "none"),
]
DISCRIMINATOR_NORMS = [
    *((name, "auto") for name in sorted(discriminators.DISCRIMINATORS)),
    *(("srgan_small", norm) for norm in ("instance", "spectral", "none")),
]
CROP = 24
# Not square, odd; the second shares no side with the first.
SIZES = ((5, 9), (8, 7))


def _generator(
    name: str, scale: int = 2, seed: int = 1, precision: str = "float32", **options
) -> tf.keras.Model:
    tf.keras.utils.set_random_seed(seed)
    settings = config.GeneratorConfig(name=name, filters=4, blocks=1, **options)
    return fixtures.awaken(generators.build(settings, scale, precision), seed)


def _discriminator(
    name: str, seed: int = 1, precision: str = "float32", **options
) -> tf.keras.Model:
    tf.keras.utils.set_random_seed(seed)
    settings = config.DiscriminatorConfig(name=name, filters=2, dense_units=16, **options)
    return discriminators.build(settings, CROP, precision)


def _lr(height: int = 5, width: int = 9, batch: int = 2) -> tf.Tensor:
    return tf.random.stateless_uniform([batch, height, width, 3], [1, 2])


def _image(batch: int = 2) -> tf.Tensor:
    return tf.random.stateless_uniform([batch, CROP, CROP, 3], [3, 4], -1, 1)


def _cases() -> list:
    """Returns (factory, input factory) for the networks of both tables."""
    kinds = ((GENERATOR_NORMS, _generator, _lr), (DISCRIMINATOR_NORMS, _discriminator, _image))
    return [
        pytest.param(
            lambda make=make, name=name, norm=norm, **options: make(name, norm=norm, **options),
            inputs,
            id=name if norm == "auto" else f"{name}-{norm}",
        )
        for networks, make, inputs in kinds
        for name, norm in networks
    ]


NETWORKS = pytest.mark.parametrize(("make", "inputs"), _cases())


@GENERATORS
@SCALES
def test_generator_enlarges_any_size_in_the_signed_range_with_one_trace(name, scale):
    model = _generator(name, scale)
    assert tuple(model.inputs[0].shape) == (None, None, None, 3)
    assert tuple(model.outputs[0].shape) == (None, None, None, 3)
    spec = tf.TensorSpec([None, None, None, 3])
    upscale = tf.function(lambda lr: model(lr, training=False), input_signature=[spec])
    for height, width in SIZES:
        lr = _lr(height, width)
        sr = upscale(lr)
        assert sr.shape == (2, height * scale, width * scale, 3)
        assert sr.dtype == tf.float32
        # A tanh keeps the range; others may overshoot it and are clipped when encoded.
        bound = 1 if model.layers[-1].name == "tail_tanh" else 10
        assert float(tf.reduce_max(tf.abs(sr))) <= bound
        np.testing.assert_allclose(sr, model(lr, training=False), atol=1e-5)
    assert upscale.experimental_get_tracing_count() == 1


@GENERATORS
@pytest.mark.parametrize("kind", sorted(upsampling.UPSAMPLINGS))
def test_generator_has_every_upsampling(name, kind):
    scale = 3  # The others are made of stages of 2, which the tests at 4 pass through.
    model = _generator(name, scale, upsampling=kind)
    assert receptive.radius(model, scale) >= 1
    assert model(_lr(), training=False).shape == (2, 5 * scale, 9 * scale, 3)
    names = [layer.name for layer in model.layers]
    marks = {"nearest_conv": "_nearest", "deconv": "_deconv"}
    assert any(marks.get(kind, "_shuffle") in name for name in names)


@DISCRIMINATORS
@pytest.mark.parametrize("norm", sorted(discriminators.NORMS))
def test_discriminator_gives_logits_with_every_norm(name, norm):
    logits = _discriminator(name, norm=norm)(_image(3), training=True)
    # One for the image, one for each 8 x 8 pixels, one for each pixel.
    assert logits.shape == {"patch": (3, 3, 3, 1), "unet": (3, CROP, CROP, 1)}.get(name, (3, 1))
    assert logits.dtype == tf.float32
    assert float(tf.math.reduce_std(logits)) > 0


@pytest.mark.parametrize(("name", "norm"), DISCRIMINATOR_NORMS)
def test_discriminator_has_gradients_of_gradients(name, norm):
    # A gradient penalty (R1) asks for them; TensorFlow lacks some, such as bilinear resizing's.
    model, image = _discriminator(name, norm=norm), _image()
    with tf.GradientTape() as tape:
        with tf.GradientTape() as inner:
            inner.watch(image)
            logits = tf.reduce_sum(tf.square(model(image, training=True)))
        penalty = tf.reduce_sum(tf.square(inner.gradient(logits, image)))
    kernels = [v for v in model.trainable_variables if "kernel" in v.name]
    for variable, gradient in zip(kernels, tape.gradient(penalty, kernels), strict=True):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.name


@NETWORKS
@pytest.mark.parametrize("short", config.PRECISIONS[1:])
def test_mixed_precision_keeps_variables_and_outputs_in_float32(make, inputs, short):
    model, mixed = make(), make(precision=short)
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    assert mixed.layers[-2].compute_dtype == short or mixed.name == "lite"
    mixed.set_weights(model.get_weights())
    for training in (False, True):
        with layers.frozen_statistics(mixed), layers.frozen_statistics(model):
            expected = model(inputs(), training=training)
            outputs = mixed(inputs(), training=training)
        assert outputs.dtype == tf.float32
        assert float(tf.reduce_max(tf.abs(outputs - expected))) > 0
        # bfloat16 has 8 bits: 0.4 % a rounding, of values that stand for the whole range.
        error = tf.abs(outputs - expected) / (1e-3 + tf.reduce_max(tf.abs(expected)))
        assert float(tf.reduce_max(error)) < 0.05
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(mixed(inputs(), training=True)))
    gradients = tape.gradient(loss, mixed.trainable_variables)
    assert all(variable.dtype == tf.float32 for variable in mixed.variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@NETWORKS
def test_names_of_layers_do_not_depend_on_what_was_built_before(make, inputs):
    first, second = make(), make()
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]


@NETWORKS
def test_every_weight_gets_a_gradient(make, inputs):
    model = make()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(inputs(), training=True) - 0.3))
    for variable, gradient in zip(
        model.trainable_variables,
        tape.gradient(loss, model.trainable_variables),
        strict=True,
    ):
        assert gradient is not None, variable.name
        assert np.isfinite(gradient).all(), variable.name
        if variable.name.split("/")[-1].startswith("kernel"):
            assert np.abs(gradient).max() > 0, variable.name


@NETWORKS
def test_training_moves_the_statistics_and_freezing_them_does_not(make, inputs):
    model = make()
    batch = inputs()
    before = [variable.numpy() for variable in model.non_trainable_variables]
    with layers.frozen_statistics(model):
        frozen = model(batch, training=True)
    for old, variable in zip(before, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    np.testing.assert_array_equal(frozen, model(batch, training=True))
    for old, variable in zip(before, model.non_trainable_variables, strict=True):
        assert not np.array_equal(old, variable.numpy()), variable.name
    # Inference moves nothing.
    moved = [variable.numpy() for variable in model.non_trainable_variables]
    model(batch, training=False)
    for old, variable in zip(moved, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


@NETWORKS
def test_checkpoint_round_trip_into_a_fresh_network(make, inputs, tmp_path):
    model, fresh = make(seed=1), make(seed=2)
    model(inputs(), training=True)  # Statistics that differ from the initial ones.
    expected = model(inputs(), training=False)
    assert not np.allclose(expected, fresh(inputs(), training=False))
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    restored = tf.train.Checkpoint(model=fresh).restore(path)
    restored.assert_existing_objects_matched()
    np.testing.assert_array_equal(fresh(inputs(), training=False), expected)


@GENERATORS
def test_generator_survives_a_saved_model(name, tmp_path):
    class Module(tf.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
        def upscale(self, lr):
            return {"sr": self.model(lr, training=False)}

    model = _generator(name, scale=3)
    tf.saved_model.save(Module(model), str(tmp_path / "saved_model"))
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    for height, width in SIZES:
        lr = _lr(height, width, batch=1)
        expected = model(lr, training=False)
        np.testing.assert_allclose(loaded.upscale(lr)["sr"], expected, atol=1e-5)


@NETWORKS
def test_two_replicas_equal_one(make, inputs):
    strategy = fixtures.strategy()
    with strategy.scope():
        mirrored = make()
    single = make()
    batch = inputs(batch=4)
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tf.split(batch, 2)[context.replica_id_in_sync_group]
    )

    def step(model, part):
        with tf.GradientTape() as tape:
            outputs = model(part, training=True)
            loss = tf.reduce_sum(tf.square(outputs - 0.3)) / 4
        return outputs, tape.gradient(loss, model.trainable_variables)

    @tf.function
    def run(values):
        outputs, gradients = strategy.run(step, args=(mirrored, values))
        return outputs, [strategy.reduce("SUM", value, axis=None) for value in gradients]

    outputs, gradients = run(halves)
    outputs = tf.concat(strategy.experimental_local_results(outputs), axis=0)
    expected, expected_gradients = step(single, batch)
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    size = max(float(tf.norm(gradient)) for gradient in expected_gradients)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, other, atol=1e-4 * size)
    # Moving statistics come from the whole batch, not from one half.
    for one, other in zip(
        mirrored.non_trainable_variables, single.non_trainable_variables, strict=True
    ):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)
