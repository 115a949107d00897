"""training/steps.py: what each update touches, and that replicas add up."""

import dataclasses

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import images
from srgan_tf.config import (
    DataConfig,
    DiscriminatorConfig,
    DiscriminatorStage,
    GanStage,
    GeneratorConfig,
    PretrainStage,
    StagesConfig,
    TrainConfig,
    VggConfig,
)
from srgan_tf.data.pipeline import Pair
from srgan_tf.losses import adversarial, objective
from srgan_tf.models import discriminators, layers
from srgan_tf.training import optimizers, state, steps

LABELS = {"real_labels": (0.7, 1.2), "fake_labels": (0.0, 0.3), "flip_labels": 0.3}
HARD_LABELS = {"real_labels": (1.0, 1.0), "fake_labels": (0.0, 0.0), "flip_labels": 0.0}
# Random VGG features are some hundred times as large as pictures.
ALL_CONTENT = (("mse", 1.0), ("l1", 0.5), ("charbonnier", 0.5), ("vgg", 1e-3))


def config(learning_rate=0.05):
    """A tiny run with all terms that need no VGG."""
    content = {"content": (("mse", 1.0), ("l1", 0.5)), "tv_weight": 1e-4}
    return TrainConfig(
        data=DataConfig(crop_size=24, batch_size=4),
        generator=GeneratorConfig(filters=8, blocks=1),
        discriminator=DiscriminatorConfig(filters=4, dense_units=8),
        stages=StagesConfig(
            pretrain=PretrainStage(steps=3, learning_rate=learning_rate, **content),
            discriminator=DiscriminatorStage(steps=3, learning_rate=learning_rate, **LABELS),
            gan=GanStage(
                steps=3, learning_rate=learning_rate, adversarial_weight=0.1, **LABELS, **content
            ),
        ),
    )


@pytest.fixture
def sgd(monkeypatch):
    """Adam divides by the gradient's size, so it hides a wrong loss scale; SGD does not."""
    table = {"adam": lambda rate, _: tf.keras.optimizers.SGD(rate)}
    monkeypatch.setattr(optimizers, "OPTIMIZERS", table)


build_discriminator = discriminators.build


def small_discriminator(settings, crop_size, precision):
    """Stands in for `discriminators.build`: two convolutions that give a map of logits.

    The paper's takes minutes to trace on two replicas with a second-order gradient; what is
    reduced over replicas here is the same, batch normalization's statistics included.
    test_conformance_models.py has each discriminator on two replicas, test_recipes.py in steps.
    """
    del settings, precision
    image = tf.keras.Input((crop_size, crop_size, 3), name="image")
    features = tf.keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv1")(image)
    features = layers.batch_norm("conv1_bn")(features)
    features = tf.keras.layers.LeakyReLU(0.2, name="conv1_lrelu")(features)
    logits = tf.keras.layers.Conv2D(1, 3, strides=2, padding="same", name="logits")(features)
    return tf.keras.Model(image, logits, name="small")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(discriminators, "build", small_discriminator)


def batch(number=0, size=4):
    photos = [fixtures.photo_like(24, 24, seed=number * size + i) for i in range(size)]
    hr = images.uint8_to_unit(np.stack(photos))
    return Pair(tf.image.resize(hr, [6, 6], "area"), images.unit_to_signed(hr))


def make_state(stage, strategy=None, learning_rate=0.05, settings=None):
    with (strategy or tf.distribute.get_strategy()).scope():
        made = state.build(settings or config(learning_rate))
        fixtures.awaken(made.generator)
        made.enter_stage(stage)
    return made


def values(network):
    return [variable.numpy().copy() for variable in network.variables]


def same(before, after):
    return [np.array_equal(old, new) for old, new in zip(before, after, strict=True)]


def test_discriminator_update_touches_only_the_discriminator():
    made = make_state("gan")
    lr, hr = batch()
    generator, discriminator = values(made.generator), values(made.discriminator)
    steps.update_discriminator(made, hr, made.generator(lr, training=False))
    assert all(same(generator, values(made.generator)))
    assert not any(same(discriminator, values(made.discriminator)))


def test_discriminator_stage_leaves_the_generator_untouched():
    made = make_state("discriminator")
    generator = values(made.generator)
    steps.discriminator_step(made, batch())
    assert all(same(generator, values(made.generator)))


def test_generator_update_leaves_the_discriminator_untouched():
    made = make_state("gan")
    lr, hr = batch()
    discriminator = values(made.discriminator)
    with tf.GradientTape() as tape:
        sr = made.generator(lr, training=True)
        loss, _ = steps._generator_loss(made, hr, sr)
    generator = [v.numpy() for v in made.generator.trainable_variables]
    steps._apply(made, made.generator_optimizer, tape, loss, made.generator)
    # Moving statistics too.
    assert all(same(discriminator, values(made.discriminator)))
    changed = same(generator, [v.numpy() for v in made.generator.trainable_variables])
    # Convolution kernels in front of a batch normalization may see a zero gradient; not all do.
    assert not all(changed)


def test_pretraining_knows_no_discriminator_loss():
    made = make_state("pretrain")
    discriminator = values(made.discriminator)
    scalars = steps.pretrain_step(made, batch())
    assert set(scalars) == {"generator_loss", "content_mse", "content_l1", "tv"}
    assert all(same(discriminator, values(made.discriminator)))


def test_gan_step_equals_two_separate_passes(sgd):
    """One generator pass for both updates gives the weights that two passes would give."""
    shared, separate = make_state("gan"), make_state("gan")
    lr, hr = batch()
    steps.gan_step(shared, Pair(lr, hr))
    with steps.layers.frozen_statistics(separate.generator):
        sr = separate.generator(lr, training=True)
    steps.update_discriminator(separate, hr, sr)
    with tf.GradientTape() as tape:
        sr = separate.generator(lr, training=True)
        loss, _ = steps._generator_loss(separate, hr, sr)
    steps._apply(separate, separate.generator_optimizer, tape, loss, separate.generator)
    for network in ("generator", "discriminator"):
        for one, two in zip(
            values(getattr(shared, network)), values(getattr(separate, network)), strict=True
        ):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def _train(strategy, stage, count=2, settings=None, images=4):
    made = make_state(stage, strategy, learning_rate=0.01, settings=settings)
    step = steps.distributed_step(strategy, made)
    for number in range(count):
        whole = batch(number, images)
        replicas = strategy.num_replicas_in_sync
        share = whole.lr.shape[0] // replicas

        def local(context, whole=whole, share=share):
            first = context.replica_id_in_sync_group * share
            return Pair(*(x[first : first + share] for x in whole))

        scalars = step(strategy.experimental_distribute_values_from_function(local))
    assert step.experimental_get_tracing_count() == 1
    assert int(made.step.numpy()) == count
    return made, {name: float(value) for name, value in scalars.items()}


def with_stage(name, **options):
    """The tiny run with other figures in one of its stages; its VGG has random kernels."""
    settings = config(learning_rate=0.01)
    stage = dataclasses.replace(getattr(settings.stages, name), **options)
    stages = dataclasses.replace(settings.stages, **{name: stage})
    return dataclasses.replace(settings, stages=stages, vgg=VggConfig(weights="random", jitter=3))


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("pretrain", {"content": ALL_CONTENT, "vgg_layer": (("block1_conv1", 1.0),)}),
        ("discriminator", {}),
        *(
            ("gan", {"adversarial": pair, **(LABELS if made.has_labels else HARD_LABELS)})
            for pair, made in sorted(adversarial.ADVERSARIAL.items())
            if pair != "ragan"  # Below, with every option.
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("adversarial", ""),
)
def test_two_replicas_give_the_weights_of_one(sgd, stage, options):
    settings = with_stage(stage, **options)
    one, one_scalars = _train(tf.distribute.get_strategy(), stage, settings=settings)
    two, two_scalars = _train(fixtures.strategy(), stage, settings=settings)
    for network in ("generator", "discriminator"):
        for expected, got in zip(
            values(getattr(one, network)), values(getattr(two, network)), strict=True
        ):
            np.testing.assert_allclose(got, expected, atol=2e-6)
    wanted = {f"content_{name}" for name, _ in options.get("content", ())}
    assert wanted <= set(one_scalars)
    for name, value in one_scalars.items():
        assert two_scalars[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_each_step_draws_a_shift_of_its_own_for_the_vgg(monkeypatch):
    settings = with_stage("pretrain", content=ALL_CONTENT, vgg_layer=(("block1_conv1", 1.0),))
    made = make_state("pretrain", settings=settings)
    seen = []
    real = made.objective.terms

    def terms(*images, shift):
        seen.append(shift.numpy().tolist())
        return real(*images, shift=shift)

    monkeypatch.setattr(made.objective, "terms", terms)
    for step in range(8):
        made.step.assign(step)
        steps.pretrain_step(made, batch())
    expected = [objective.draw_shift(3, seed=settings.seed, step=step) for step in range(8)]
    assert seen == [one.numpy().tolist() for one in expected]
    assert len(set(map(tuple, seen))) > 3


def test_each_update_of_the_discriminator_sees_a_part_of_its_own_and_so_does_the_generators(
    monkeypatch,
):
    settings = with_options(discriminator_updates=2, r1_weight=0.0)
    made = make_state("gan", settings=settings)
    jitter = settings.discriminator.jitter
    assert made.discriminator.input_shape[1:3] == (24 - jitter, 24 - jitter)
    seen = []
    cut = objective.shifted

    def shifted(image, shift, jitter):
        seen.append(tuple(shift.numpy().tolist()))
        return cut(image, shift, jitter)

    monkeypatch.setattr(objective, "shifted", shifted)
    for step in range(6):
        made.step.assign(step)
        steps.gan_step(made, batch(size=8))
    expected = [
        tuple(
            objective.draw_shift(
                jitter, seed=settings.seed, step=number, network="discriminator"
            ).numpy()
        )
        for number in range(12)
    ]
    # HR and SR of the first update; HR and SR of the second, and both again for the generator.
    assert seen == [
        shift
        for first, second in zip(expected[::2], expected[1::2], strict=True)
        for shift in [first] * 2 + [second] * 4
    ]
    assert len(set(seen)) > 4


def test_a_shift_cuts_the_same_part_out_of_every_image():
    images_ = tf.random.stateless_uniform([2, 9, 8, 3], [1, 2])
    for down, right in ((0, 0), (1, 3), (3, 0)):
        cut = objective.shifted(images_, tf.constant([down, right]), 3)
        np.testing.assert_array_equal(cut, images_[:, down : down + 6, right : right + 5])


def with_options(learning_rate=0.01, decay=0.9, **gan):
    """The tiny run with everything that reduces over replicas or counts updates."""
    settings = config(learning_rate)
    options = {"adversarial": "ragan", "r1_weight": 2.0, "adversarial_ramp": 4, **gan}
    stages = dataclasses.replace(
        settings.stages, gan=dataclasses.replace(settings.stages.gan, **options)
    )
    return dataclasses.replace(
        settings,
        stages=stages,
        optimizer=dataclasses.replace(settings.optimizer, clip_norm=0.5),
        discriminator=dataclasses.replace(settings.discriminator, jitter=3),
        ema_decay=decay,
    )


def test_two_replicas_give_the_weights_of_one_with_every_option(sgd):
    settings = with_options(discriminator_updates=2)
    one, one_scalars = _train(tf.distribute.get_strategy(), "gan", 2, settings, images=8)
    two, two_scalars = _train(fixtures.strategy(), "gan", 2, settings, images=8)
    for network in ("generator", "discriminator", "averaged"):
        for expected, got in zip(
            values(getattr(one, network)), values(getattr(two, network)), strict=True
        ):
            np.testing.assert_allclose(got, expected, atol=2e-6)
    assert {"r1", "adversarial"} < set(one_scalars)
    for name, value in one_scalars.items():
        assert two_scalars[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_updates_of_the_discriminator_alone_are_as_many_separate_ones(sgd):
    """With k = 2 every other image updates the discriminator, then the rest both."""
    both, separate = (make_state("gan", settings=with_options(decay=0.0)) for _ in "ab")
    both.stage = dataclasses.replace(both.stage, discriminator_updates=2)
    for made in (both, separate):
        made.stage = dataclasses.replace(made.stage, **HARD_LABELS)  # Draws are for each update.
    lr, hr = batch(size=8)
    before = values(both.generator)
    steps.gan_step(both, Pair(lr, hr))
    with steps.layers.frozen_statistics(separate.generator):
        sr = separate.generator(lr[::2], training=True)
    steps.update_discriminator(separate, hr[::2], sr)
    assert all(same(before, values(separate.generator)))
    separate.step.assign(1)  # What the discriminator sees is drawn for each update, too.
    steps.gan_step(separate, Pair(lr[1::2], hr[1::2]))
    for network in ("generator", "discriminator"):
        for one, two in zip(
            values(getattr(both, network)), values(getattr(separate, network)), strict=True
        ):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    assert int(both.discriminator_optimizer.iterations) == 2
    assert int(both.generator_optimizer.iterations) == 1


def test_each_update_of_a_step_draws_labels_of_its_own(monkeypatch):
    drawn = []
    real = steps.objective.draw_labels

    def draw(stage, **arguments):
        drawn.append(int(arguments["step"]))
        return real(stage, **arguments)

    monkeypatch.setattr(steps.objective, "draw_labels", draw)
    made = make_state("gan", settings=with_options(discriminator_updates=3))
    made.step.assign(5)
    steps.gan_step(made, batch(size=12))
    assert drawn == [15, 16, 17]


def _counting(made):
    """Counts the passes of the discriminator."""
    calls = []
    network = made.discriminator

    class Counter:
        layers = network.layers
        trainable_variables = network.trainable_variables

        def __call__(self, image, training):
            calls.append(training)
            return network(image, training=training)

    made.discriminator = Counter()
    return calls


@pytest.mark.parametrize(("pair", "passes"), [("vanilla", 3), ("hinge", 3), ("ragan", 4)])
def test_real_logits_are_made_for_the_pairs_that_need_them(pair, passes):
    made = make_state("gan", settings=with_options(adversarial=pair, **HARD_LABELS))
    calls = _counting(made)
    steps.gan_step(made, batch())
    assert calls == [True] * passes


def test_no_discriminator_pass_for_a_generator_without_adversarial_weight():
    made = make_state("gan", settings=with_options(adversarial_weight=0.0))
    calls = _counting(made)
    assert "adversarial" not in steps.gan_step(made, batch())
    assert len(calls) == 2


def test_ramp_begins_with_content_alone(sgd):
    ramped = make_state("gan", settings=with_options(adversarial_ramp=4, decay=0.0))
    none = make_state("gan", settings=with_options(adversarial_weight=0.0, decay=0.0))
    for expected_equal in (True, False):
        for made in (ramped, none):
            steps.gan_step(made, batch())
        pairs = zip(values(ramped.generator), values(none.generator), strict=True)
        differences = [np.abs(one - two).max() for one, two in pairs]
        assert (max(differences) < 1e-6) == expected_equal


def test_gradient_penalty_flattens_the_discriminator():
    slopes = {}
    for weight in (1e-6, 100.0):
        made = make_state("discriminator", learning_rate=3e-3)
        figures = {"flip_labels": 0.0, "r1_weight": weight}
        made.stage = dataclasses.replace(made.stage, **figures)
        pair = batch()
        slopes[weight] = [steps.discriminator_step(made, pair)["r1"] for _ in range(15)][-1]
    assert slopes[100.0] < 0.5 * slopes[1e-6]


def test_a_wrong_loss_scale_would_be_seen(sgd, monkeypatch):
    """The replica test can fail: the mean over a replica (not over all) doubles the gradient."""
    monkeypatch.setattr(
        steps.objective, "mean_over_global_batch", lambda per_image, _: tf.reduce_mean(per_image)
    )
    with pytest.raises(AssertionError):
        test_two_replicas_give_the_weights_of_one(None, "pretrain", {})


@pytest.mark.parametrize("stage", ["pretrain", "discriminator", "gan"])
def test_loss_falls_on_one_batch(stage, monkeypatch):
    # The small one has too little to win by.
    monkeypatch.setattr(discriminators, "build", build_discriminator)
    made = make_state(stage, learning_rate=3e-3)
    if stage != "pretrain":
        made.stage = dataclasses.replace(made.stage, **HARD_LABELS)
    step = steps.distributed_step(tf.distribute.get_strategy(), made)
    # In the game of both only the discriminator's half of one batch can be told to fall.
    name = "content_mse" if stage == "pretrain" else "discriminator_loss"
    losses = [float(step(batch())[name]) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.8 * losses[0]


def test_learning_rate_falls_after_the_named_number_of_updates(sgd):
    stage = PretrainStage(steps=10, learning_rate=1.0, decay_at=(3, 5), decay_factor=0.1)
    expected = [1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert [optimizers.learning_rate_at(stage, i) for i in range(7)] == pytest.approx(expected)
    model = tf.keras.Sequential([tf.keras.layers.Input([1]), tf.keras.layers.Dense(1)])
    optimizer = optimizers.build(config().optimizer, stage, model)
    variables = model.trainable_variables
    for rate in expected:
        before = variables[0].numpy()
        gradients = [tf.ones_like(v) for v in variables]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        # SGD moves by the learning rate times a gradient of one.
        assert (before - variables[0].numpy()).item() == pytest.approx(rate, rel=1e-3)
