"""What every generator and every discriminator must do, run over the tables themselves."""

import contextlib

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config, errors, images
from srgan_tf.models import discriminators, generators, layers, receptive, upsampling
from srgan_tf.serving import servable

SCALES = pytest.mark.parametrize("scale", config.SCALES)

# (name, norm, upsampling): every generator as it is by itself; then each with the other norm that
# it has, and the upsamplings that are nobody's own on two of them.
GENERATOR_KINDS = [
    *((name, "auto", "auto") for name in sorted(generators.GENERATORS)),
    ("autoencoder", "batch", "deconv"),
    ("lite", "none", "deconv"),
    ("srresnet", "none", "subpixel_plain"),
    ("srresnet_seed", "none", "subpixel_plain"),
]
# Every discriminator with the norm that is its own; those that are built differently with all.
DISCRIMINATOR_KINDS = [
    (name, norm)
    for name in sorted(discriminators.DISCRIMINATORS)
    for norm in sorted(discriminators.NORMS)
    if name != "srgan_small"  # Made of the same parts as srgan.
    or norm == discriminators.resolve(config.DiscriminatorConfig(name=name)).norm
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


def _id(name: str, *choices: str) -> str:
    return "-".join([name, *(choice for choice in choices if choice != "auto")])


def _cases() -> list:
    """Returns (factory, input factory) for the networks of both tables."""
    made = [
        (
            lambda n=name, norm=norm, kind=kind, **options: _generator(
                n, norm=norm, upsampling=kind, **options
            ),
            _lr,
            _id(name, norm, kind),
        )
        for name, norm, kind in GENERATOR_KINDS
    ]
    made += [
        (
            lambda n=name, norm=norm, **options: _discriminator(n, norm=norm, **options),
            _image,
            _id(name, norm),
        )
        for name, norm in DISCRIMINATOR_KINDS
    ]
    return [pytest.param(make, inputs, id=label) for make, inputs, label in made]


NETWORKS = pytest.mark.parametrize(("make", "inputs"), _cases())
GENERATORS = pytest.mark.parametrize(
    ("name", "norm", "kind"), GENERATOR_KINDS, ids=[_id(*kind) for kind in GENERATOR_KINDS]
)


def test_no_norm_or_upsampling_of_a_generator_is_left_out():
    settings = (
        config.GeneratorConfig(name=name, norm=norm, upsampling=kind)
        for name, norm, kind in GENERATOR_KINDS
    )
    resolved = [generators.resolve(each) for each in settings]
    assert {each.upsampling for each in resolved} == set(upsampling.UPSAMPLINGS)
    for name in generators.GENERATORS:
        has = set()
        for norm in discriminators.NORMS:
            with contextlib.suppress(errors.InputError):
                _generator(name, norm=norm)
                has.add(norm)
        assert has == {each.norm for each in resolved if each.name == name}


@GENERATORS
@SCALES
def test_generator_enlarges_any_size_in_the_signed_range(name, norm, kind, scale):
    model = _generator(name, scale, norm=norm, upsampling=kind)
    assert tuple(model.inputs[0].shape) == (None, None, None, 3)
    assert tuple(model.outputs[0].shape) == (None, None, None, 3)
    for height, width in SIZES:
        sr = model(_lr(height, width), training=False)
        assert sr.shape == (2, height * scale, width * scale, 3)
        assert sr.dtype == tf.float32
        # A tanh keeps the range; others may overshoot it and are clipped when encoded.
        bound = 1 if model.layers[-1].name == "tail_tanh" else 10
        assert float(tf.reduce_max(tf.abs(sr))) <= bound


@pytest.mark.parametrize("name", sorted(generators.GENERATORS))
@pytest.mark.parametrize("kind", sorted(upsampling.UPSAMPLINGS))
def test_generator_has_every_upsampling(name, kind):
    scale = 3  # The others are made of stages of 2, which the tests at 4 pass through.
    model = _generator(name, scale, upsampling=kind)
    assert receptive.radius(model, scale) >= 1
    assert model(_lr(), training=False).shape == (2, 5 * scale, 9 * scale, 3)
    names = [layer.name for layer in model.layers]
    marks = {"nearest_conv": "_nearest", "deconv": "_deconv"}
    assert any(marks.get(kind, "_shuffle") in name for name in names)


@pytest.mark.parametrize(("name", "norm"), DISCRIMINATOR_KINDS)
def test_discriminator_gives_the_same_logits_in_a_graph(name, norm):
    model, image = _discriminator(name, norm=norm), _image(3)
    with layers.frozen_statistics(model):
        logits = model(image, training=True)
        np.testing.assert_allclose(
            tf.function(model)(image, training=True), logits, rtol=1e-4, atol=1e-5
        )
    # One for the image, one for each 8 x 8 pixels, one for each pixel.
    assert logits.shape == {"patch": (3, 3, 3, 1), "unet": (3, CROP, CROP, 1)}.get(name, (3, 1))
    assert logits.dtype == tf.float32
    assert float(tf.math.reduce_std(logits)) > 0


@pytest.mark.parametrize(("name", "norm"), DISCRIMINATOR_KINDS)
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
def test_mixed_precision_keeps_variables_and_outputs_in_float32(make, inputs):
    model = make()
    with layers.frozen_statistics(model):
        expected = {training: model(inputs(), training=training) for training in (False, True)}
    for short in config.PRECISIONS[1:]:
        mixed = make(precision=short)
        assert tf.keras.mixed_precision.global_policy().name == "float32"
        assert mixed.layers[-2].compute_dtype == short or mixed.name == "lite"
        mixed.set_weights(model.get_weights())
        with layers.frozen_statistics(mixed), tf.GradientTape() as tape:
            outputs = {training: mixed(inputs(), training=training) for training in (False, True)}
            loss = tf.reduce_sum(tf.square(outputs[True]))
        for training, right in expected.items():
            assert outputs[training].dtype == tf.float32
            error = tf.reduce_max(tf.abs(outputs[training] - right))
            # bfloat16 has 8 bits: 0.4 % a rounding, of values that stand for the whole range.
            assert 0 < float(error) < 0.05 * (1e-3 + float(tf.reduce_max(tf.abs(right)))), short
        gradients = tape.gradient(loss, mixed.trainable_variables)
        assert all(variable.dtype == tf.float32 for variable in mixed.variables)
        assert all(np.isfinite(gradient).all() for gradient in gradients), short


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
    # Names do not depend on what was built before.
    assert [layer.name for layer in model.layers] == [layer.name for layer in fresh.layers]
    model(inputs(), training=True)  # Statistics that differ from the initial ones.
    expected = model(inputs(), training=False)
    assert not np.allclose(expected, fresh(inputs(), training=False))
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    restored = tf.train.Checkpoint(model=fresh).restore(path)
    restored.assert_existing_objects_matched()
    np.testing.assert_array_equal(fresh(inputs(), training=False), expected)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The generators by name, their exported form, and the same read again.

    All in one SavedModel: most of the time of writing and reading one is not the network's.
    """
    models = {
        _id(name, norm, kind): _generator(name, scale=3, norm=norm, upsampling=kind)
        for name, norm, kind in GENERATOR_KINDS
    }
    written = tf.Module()
    for label, model in models.items():
        setattr(written, label, servable.ServingModule(model))
    folder = str(tmp_path_factory.mktemp("saved_model"))
    tf.saved_model.save(written, folder)
    return models, written, tf.saved_model.load(folder)


@pytest.mark.parametrize("label", [_id(*kind) for kind in GENERATOR_KINDS])
def test_generator_survives_a_saved_model_with_one_trace(saved, label):
    models, written, loaded = saved
    traces = set()
    for height, width in SIZES:
        lr = images.unit_to_uint8(_lr(height, width, batch=1))
        sr = models[label](images.uint8_to_unit(lr), training=False)
        expected = tf.cast(images.signed_to_uint8(sr), tf.float32)
        for module in (written, loaded):
            found = tf.cast(getattr(module, label).upscale(lr)["sr"], tf.float32)
            error = tf.abs(found - expected)
            # A graph may sum in another order: now and then a value is on the edge of rounding.
            assert float(tf.reduce_max(error)) <= 1 and float(tf.reduce_mean(error)) < 0.01
        traces.add(getattr(written, label).upscale.experimental_get_tracing_count())
    assert len(traces) == 1  # No new one for the second size.


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

    # Without a trace, which takes five times as long; test_steps.py traces whole stages.
    outputs, gradients = strategy.run(step, args=(mirrored, halves))
    gradients = [strategy.reduce("SUM", value, axis=None) for value in gradients]
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
