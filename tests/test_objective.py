"""The generator's objective by stage, the labels, the one reduction."""

import collections
import dataclasses

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config, errors
from srgan_tf.losses import content, objective, regularizers
from srgan_tf.models import vgg as vgg_lib

VGG = config.VggConfig(weights="random")


class _Vgg:
    """Stands in for the extractor: its only features are the image, doubled; counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, image, training):
        assert training is False
        self.calls += 1
        return {"block2_conv2": 2.0 * image, "block5_conv4": 3.0 * image}


def _images() -> tuple[tf.Tensor, tf.Tensor]:
    hr = tf.random.stateless_uniform([2, 4, 4, 3], [1, 2], -0.5, 0.5)
    return hr + 0.5, hr


def test_pretraining_has_no_adversarial_term_and_needs_no_vgg():
    made = objective.GeneratorObjective(config.PretrainStage(steps=1), VGG, None)
    terms = made.terms(*_images())
    assert list(terms) == ["content_mse"]
    np.testing.assert_allclose(made.total(terms), [0.25, 0.25], rtol=1e-5)


def test_gan_stage_weighs_every_term():
    stage = config.GanStage(
        steps=1, content=(("vgg", 0.5), ("l1", 2.0)), vgg_layer="block2_conv2", tv_weight=0.25
    )
    vgg = _Vgg()
    made = objective.GeneratorObjective(stage, VGG, vgg)
    sr, hr = _images()
    terms = made.terms(sr, hr, tf.zeros([2, 1]), tf.zeros([2, 1]))
    # Features differ by 2 * 0.5; D = 1/2.
    expected = {
        "content_vgg": [1.0, 1.0],
        "content_l1": [0.5, 0.5],
        "adversarial": [np.log(2)] * 2,
        "tv": regularizers.total_variation(sr),
    }
    assert list(terms) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(terms[name], values, rtol=1e-5)
    assert made.weights == {"content_vgg": 0.5, "content_l1": 2, "adversarial": 1e-3, "tv": 0.25}
    total = 0.5 * 1.0 + 2 * 0.5 + 1e-3 * np.log(2) + 0.25 * expected["tv"].numpy()
    np.testing.assert_allclose(made.total(terms), total, rtol=1e-5)
    assert vgg.calls == 2


@pytest.mark.parametrize("name", sorted(content.CONTENT))
def test_every_content_loss_trains_sr_and_leaves_hr_alone(name):
    stage = config.PretrainStage(steps=1, content=((name, 1.0),))
    made = objective.GeneratorObjective(stage, VGG, _Vgg())
    sr, hr = _images()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((sr, hr))
        terms = made.terms(sr, hr)
        total = made.total(terms)
    assert list(terms) == [f"content_{name}"]
    assert total.shape == (2,)
    assert float(tf.reduce_min(tape.gradient(total, sr))) > 0  # sr is above hr everywhere.
    if name == "vgg":
        assert tape.gradient(total, hr) is None


def test_terms_of_weight_zero_are_left_out():
    stage = config.GanStage(
        steps=1, content=(("vgg", 0.0), ("mse", 1.0)), adversarial_weight=0.0, tv_weight=0.0
    )
    vgg = _Vgg()
    made = objective.GeneratorObjective(stage, VGG, vgg)
    assert list(made.terms(*_images())) == ["content_mse"]
    assert vgg.calls == 0


def test_normalization_reaches_the_vgg_loss():
    stage = config.PretrainStage(steps=1, content=(("vgg", 1.0),), vgg_layer="block2_conv2")
    vgg_config = config.VggConfig(weights="random", normalization="pixel")
    made = objective.GeneratorObjective(stage, vgg_config, _Vgg())
    np.testing.assert_allclose(made.terms(*_images())["content_vgg"], [3.0, 3.0], rtol=1e-5)


def test_distance_reaches_the_vgg_loss():
    stage = config.PretrainStage(steps=1, content=(("vgg", 1.0),), vgg_layer="block2_conv2")
    vgg_config = config.VggConfig(weights="random", distance="absolute")
    made = objective.GeneratorObjective(stage, vgg_config, _Vgg())
    # SR is 0.5 above HR, its features are the double.
    np.testing.assert_allclose(made.terms(*_images())["content_vgg"], [1.0, 1.0], rtol=1e-5)


def test_vgg_layers_are_added_by_their_weights():
    layers = (("block2_conv2", 0.1), ("block5_conv4", 2.0), ("block1_conv1", 0.0))
    vgg = _Vgg()
    made = objective.GeneratorObjective(
        config.PretrainStage(steps=1, content=(("vgg", 3.0),), vgg_layer=layers), VGG, vgg
    )
    terms = made.terms(*_images())
    # SR is 0.5 above HR; features are the double and the triple: 0.1 * 1 + 2 * 1.5^2.
    np.testing.assert_allclose(terms["content_vgg"], [4.6, 4.6], rtol=1e-5)
    np.testing.assert_allclose(made.total(terms), [13.8, 13.8], rtol=1e-5)
    assert vgg.calls == 2


def test_ramp_raises_the_adversarial_weight_alone():
    stage = config.GanStage(steps=9, adversarial_weight=0.5, adversarial_ramp=4)
    made = objective.GeneratorObjective(stage, VGG, None)
    terms = made.terms(*_images(), fake_logits=tf.zeros([2, 1]))
    for updates, share in ((0, 0.0), (1, 0.25), (tf.constant(3, tf.int64), 0.75), (4, 1), (9, 1)):
        expected = 0.25 + 0.5 * share * np.log(2)  # mse and -log(1/2)
        np.testing.assert_allclose(made.total(terms, updates), [expected] * 2, rtol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"real_labels": (0.9, 0.9)}, {"fake_labels": (0.0, 0.3)}, {"flip_labels": 0.1}]
)
def test_labels_of_a_pair_without_labels_are_refused(changes):
    stage = config.DiscriminatorStage(adversarial="hinge", **changes)
    with pytest.raises(errors.InputError, match=f"'hinge' has no labels, but {[*changes][0]} is"):
        objective.adversarial_pair(stage)
    objective.adversarial_pair(config.DiscriminatorStage(adversarial="hinge"))


def test_mistakes_are_clear():
    with pytest.raises(
        errors.InputError, match=r"content loss 'mae'.*from \['charbonnier', 'l1', 'mse', 'vgg'\]"
    ):
        objective.GeneratorObjective(config.PretrainStage(content=(("mae", 1.0),)), VGG, None)
    with pytest.raises(errors.InputError, match="adversarial pair 'wgan'"):
        objective.GeneratorObjective(config.GanStage(adversarial="wgan"), VGG, None)
    with pytest.raises(errors.InputError, match="all weights are 0"):
        objective.GeneratorObjective(config.PretrainStage(content=(("mse", 0.0),)), VGG, None)
    with pytest.raises(ValueError, match="needs vgg_model"):
        objective.GeneratorObjective(config.PretrainStage(content=(("vgg", 1.0),)), VGG, None)


def test_mean_over_global_batch_gives_replicas_the_gradient_of_one():
    # Replica losses {1, 2} and {3, 6}: 3/4 + 9/4 = the mean over all four.
    halves = [tf.constant([1.0, 2.0]), tf.constant([3.0, 6.0])]
    scaled = [float(objective.mean_over_global_batch(half, 4)) for half in halves]
    assert scaled == [0.75, 2.25]
    assert sum(scaled) == 3.0

    strategy = fixtures.strategy()
    losses = strategy.experimental_distribute_values_from_function(
        lambda context: halves[context.replica_id_in_sync_group]
    )
    summed = strategy.reduce(
        "SUM", strategy.run(objective.mean_over_global_batch, args=(losses, 4)), axis=None
    )
    assert float(summed) == 3.0


def _labels(stage, **kwargs) -> list[np.ndarray]:
    kwargs = {"seed": 1, "step": 0, "global_batch": 64, **kwargs}
    return [labels.numpy() for labels in objective.draw_labels(stage, **kwargs)]


def test_default_labels_are_one_and_zero():
    real, fake = _labels(config.GanStage(), global_batch=3)
    np.testing.assert_array_equal(real, np.ones([3, 1]))
    np.testing.assert_array_equal(fake, np.zeros([3, 1]))


SOFT = config.DiscriminatorStage(real_labels=(0.7, 1.2), fake_labels=(0.0, 0.3))


def test_soft_labels_fill_their_ranges_independently():
    real, fake = _labels(SOFT, global_batch=2000)
    assert 0.7 <= real.min() < 0.71
    assert 1.19 < real.max() < 1.2
    assert 0.0 <= fake.min() < 0.01
    assert 0.29 < fake.max() < 0.3
    assert abs(np.corrcoef(real[:, 0], fake[:, 0])[0, 1]) < 0.1  # 2000 draws: sigma is 0.022.


def test_labels_are_a_function_of_seed_and_step_alone():
    first = _labels(SOFT, seed=5, step=9)
    traced = tf.function(
        lambda step: objective.draw_labels(SOFT, seed=5, step=step, global_batch=64)
    )
    for again in (_labels(SOFT, seed=5, step=9), traced(tf.constant(9, tf.int64))):
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, other)
    for changed in ({"seed": 6, "step": 9}, {"seed": 5, "step": 10}, {"seed": 9, "step": 5}):
        assert not np.array_equal(first[0], _labels(SOFT, **changed)[0])


def test_jitter_moves_what_the_vgg_sees_and_nothing_else():
    stage = config.PretrainStage(
        steps=1, content=(("vgg", 1.0), ("l1", 1.0)), vgg_layer="block2_conv2"
    )
    made = objective.GeneratorObjective(stage, config.VggConfig(jitter=3), _Vgg())
    hr = tf.zeros([2, 8, 9, 3])
    # One pixel of SR differs, in row 2 and column 6. The VGG sees 5 x 6 pixels of each picture.
    sr = tf.tensor_scatter_nd_update(hr, [[0, 2, 6, 0]], [1.0])
    for shift, inside in (([0, 0], 0), ([0, 1], 1), ([2, 3], 1), ([3, 3], 0)):
        terms = made.terms(sr, hr, shift=tf.constant(shift))
        np.testing.assert_allclose(terms["content_vgg"], [4 * inside / (5 * 6 * 3), 0], rtol=1e-6)
        np.testing.assert_allclose(terms["content_l1"], [1 / (8 * 9 * 3), 0], rtol=1e-6)
    without = dataclasses.replace(stage, content=(("l1", 1.0),))
    assert objective.GeneratorObjective(without, config.VggConfig(jitter=3), None).jitter == 0


def test_shifts_are_a_function_of_seed_and_step_and_fill_their_range():
    draws = np.array([objective.draw_shift(3, seed=5, step=step) for step in range(200)])
    traced = tf.function(lambda step: objective.draw_shift(3, seed=5, step=step))
    np.testing.assert_array_equal(traced(tf.constant(9, tf.int64)), draws[9])
    # 50 of each are expected, with a sigma of 6.
    for axis in (0, 1):
        assert np.bincount(draws[:, axis], minlength=4).min() > 25
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.25
    assert not np.array_equal(draws, [objective.draw_shift(3, seed=6, step=k) for k in range(200)])
    # What the discriminator sees moves by itself.
    others = [objective.draw_shift(3, seed=5, step=k, network="discriminator") for k in range(200)]
    assert abs(np.corrcoef(draws[:, 0], np.array(others)[:, 0])[0, 1]) < 0.25


@pytest.mark.parametrize(
    ("probability", "low", "high"), [(0.0, 0, 0), (0.1, 20, 60), (1.0, 400, 400)]
)
def test_flips_swap_whole_batches_with_their_probability(probability, low, high):
    stage = config.GanStage(flip_labels=probability)
    draw = tf.function(lambda step: objective.draw_labels(stage, seed=3, step=step, global_batch=4))
    swapped = 0
    for step in tf.range(400, dtype=tf.int64):
        real, fake = (labels.numpy() for labels in draw(step))
        assert np.ptp(real) == 0
        np.testing.assert_array_equal(real, 1 - fake)
        swapped += int(real[0, 0] == 0)
    # Binomial(400, 0.1) is 40 +- 6; 20 and 60 are more than three sigma off.
    assert low <= swapped <= high


def test_the_way_back_goes_through_the_vgg_once():
    """Through the features of SR: those of HR are constants, and so are the VGG's weights."""
    vgg_config = config.VggConfig(weights="random")
    model = vgg_lib.feature_model(vgg_config, ["block1_conv2", "block2_conv1"])
    layers = (("block1_conv2", 1.0), ("block2_conv1", 1.0))
    stage = config.PretrainStage(steps=1, content=(("vgg", 1.0),), vgg_layer=layers)
    made = objective.GeneratorObjective(stage, vgg_config, model)

    @tf.function
    def gradient(sr, hr):
        with tf.GradientTape() as tape:
            tape.watch(sr)
            loss = tf.reduce_sum(made.terms(sr, hr)["content_vgg"])
        return tape.gradient(loss, sr)

    image = tf.zeros([1, 8, 8, 3])
    graph = gradient.get_concrete_function(image, image).graph
    kinds = collections.Counter(operation.type for operation in graph.get_operations())
    # Three convolutions serve both layers, each for SR and for HR.
    assert (kinds["Conv2D"], kinds["Conv2DBackpropInput"]) == (6, 3)
