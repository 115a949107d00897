"""Content, adversarial and total variation losses: golden values, gradients, per image."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import errors
from srgan_tf.losses import adversarial, content, regularizers


def _pair() -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (sr, hr): the first image of sr is hr, the second half a step away everywhere."""
    hr = tf.random.stateless_uniform([2, 5, 7, 3], [1, 2], -1, 1)
    return hr + tf.reshape([0.0, 0.5], [2, 1, 1, 1]), hr


def test_pixel_losses_are_per_image():
    np.testing.assert_allclose(content.mse(*_pair()), [0, 0.25], rtol=1e-5)  # 0.5 squared
    np.testing.assert_allclose(content.l1(*_pair()), [0, 0.5], rtol=1e-5)


def test_charbonnier_is_l1_with_a_round_tip():
    # sqrt(0 + 1e-6) and sqrt(0.25 + 1e-6).
    np.testing.assert_allclose(content.charbonnier(*_pair()), [1e-3, 0.500001], rtol=1e-5)


def test_charbonnier_has_a_gradient_of_zero_where_sr_is_hr():
    hr = tf.fill([1, 2, 2, 3], 0.3)
    with tf.GradientTape() as tape:
        tape.watch(hr)
        loss = content.charbonnier(hr, tf.stop_gradient(hr))
    np.testing.assert_array_equal(tape.gradient(loss, hr), np.zeros([1, 2, 2, 3]))


def test_vgg_distance_by_element_or_by_pixel():
    sr, hr = tf.fill([2, 3, 5, 128], 0.25), tf.zeros([2, 3, 5, 128])
    # 0.25 squared, once or summed over the 128 channels.
    np.testing.assert_allclose(content.vgg_distance(sr, hr, "element"), [0.0625] * 2)
    np.testing.assert_allclose(content.vgg_distance(sr, hr, "pixel"), [8.0] * 2)
    with pytest.raises(errors.InputError, match="normalization 'image'"):
        content.vgg_distance(sr, hr, "image")


def test_vgg_distance_squared_or_absolute():
    sr, hr = tf.fill([2, 3, 5, 128], -0.25), tf.zeros([2, 3, 5, 128])
    np.testing.assert_allclose(content.vgg_distance(sr, hr, "element", "absolute"), [0.25] * 2)
    # Summed over 128 channels.
    np.testing.assert_allclose(content.vgg_distance(sr, hr, "pixel", "absolute"), [32.0] * 2)
    with pytest.raises(errors.InputError, match="VGG distance 'cubed'"):
        content.vgg_distance(sr, hr, "element", "cubed")


VANILLA = adversarial.ADVERSARIAL["vanilla"]


def test_vanilla_discriminator_at_even_odds():
    zero, one = tf.zeros([3, 1]), tf.ones([3, 1])
    # D = 1/2 for both: -log(1/2) - log(1/2).
    losses = VANILLA.discriminator(zero, zero, one, zero)
    np.testing.assert_allclose(losses, [2 * np.log(2)] * 3, rtol=1e-6)


def test_vanilla_discriminator_follows_the_formula_for_any_label():
    real, fake = np.array([[2.0], [-1.0]]), np.array([[0.5], [3.0]])
    real_labels, fake_labels = np.array([[1.2], [0.7]]), np.array([[0.3], [0.0]])

    def entropy(logits, labels):
        p = 1 / (1 + np.exp(-logits))
        return (-labels * np.log(p) - (1 - labels) * np.log(1 - p))[:, 0]

    losses = VANILLA.discriminator(
        *(tf.constant(x, tf.float32) for x in (real, fake, real_labels, fake_labels))
    )
    expected = entropy(real, real_labels) + entropy(fake, fake_labels)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_vanilla_generator_is_minus_log_of_the_discriminators_belief():
    fake = tf.constant([[0.0], [np.log(3.0)]])  # D = 1/2 and 3/4
    losses = VANILLA.generator(tf.zeros([2, 1]), fake)
    np.testing.assert_allclose(losses, [np.log(2), np.log(4 / 3)], rtol=1e-6)


def test_vanilla_generator_does_not_saturate_when_the_discriminator_is_sure():
    fake = tf.constant([[-50.0]])
    with tf.GradientTape() as tape:
        tape.watch(fake)
        loss = VANILLA.generator(tf.zeros([1, 1]), fake)
    np.testing.assert_allclose(tape.gradient(loss, fake), [[-1.0]])  # sigmoid(-50) - 1


@pytest.mark.parametrize("name", sorted(adversarial.ADVERSARIAL))
def test_pairs_are_per_image_and_finite_for_extreme_logits_and_labels(name):
    pair = adversarial.ADVERSARIAL[name]
    real, fake = tf.constant([[300.0], [-300.0]]), tf.constant([[-300.0], [300.0]])
    labels = tf.constant([[1.2], [1.2]]), tf.constant([[0.3], [0.3]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((real, fake))
        generator = pair.generator(real, fake)
        discriminator = pair.discriminator(real, fake, *labels)
    assert generator.shape == discriminator.shape == (2,)
    made = [generator, discriminator, tape.gradient(generator, fake)]
    made += tape.gradient(discriminator, [real, fake])
    assert all(np.isfinite(tensor).all() for tensor in made)


@pytest.mark.parametrize("name", sorted(adversarial.ADVERSARIAL))
def test_pairs_take_maps_of_logits_by_their_mean(name):
    """A map that says the same everywhere counts as the one logit does, labels included."""
    pair = adversarial.ADVERSARIAL[name]
    real, fake = tf.constant([[2.0], [-1.0]]), tf.constant([[0.5], [3.0]])
    labels = tf.constant([[1.1], [0.8]]), tf.constant([[0.2], [0.0]])
    maps = [tf.tile(tf.reshape(x, [2, 1, 1, 1]), [1, 3, 5, 1]) for x in (real, fake)]
    for whole, single in (
        (pair.generator(*maps), pair.generator(real, fake)),
        (pair.discriminator(*maps, *labels), pair.discriminator(real, fake, *labels)),
    ):
        assert whole.shape == (2,)
        np.testing.assert_allclose(whole, single, rtol=1e-5)
    # Not only constant maps: positions count alike.
    half = tf.concat([maps[1], tf.reverse(maps[1], [0])], axis=1)
    assert pair.generator(maps[0], half).shape == (2,)


def test_lsgan_pulls_logits_to_their_labels():
    pair = adversarial.ADVERSARIAL["lsgan"]
    real, fake = tf.constant([[2.0], [0.5]]), tf.constant([[1.0], [-1.0]])
    labels = tf.constant([[1.0], [0.7]]), tf.constant([[0.0], [0.3]])
    # (2 - 1)^2 / 2 + (1 - 0)^2 / 2; (.5 - .7)^2 / 2 + (-1 - .3)^2 / 2.
    np.testing.assert_allclose(pair.discriminator(real, fake, *labels), [1.0, 0.865], rtol=1e-6)
    np.testing.assert_allclose(pair.generator(None, fake), [0.0, 2.0])  # To 1: (-1 - 1)^2 / 2.
    assert [(x > 0).numpy().ravel().tolist() for x in pair.margins(real, fake)] == [
        [True, False],  # 2 is nearer to 1 than to 0; 0.5 is as near to both.
        [False, True],
    ]


def test_hinge_rests_beyond_its_margin():
    pair = adversarial.ADVERSARIAL["hinge"]
    real, fake = tf.constant([[2.0], [0.5]]), tf.constant([[-3.0], [-0.25]])
    np.testing.assert_allclose(pair.discriminator(real, fake, None, None), [0.0, 0.5 + 0.75])
    np.testing.assert_allclose(pair.generator(None, fake), [3.0, 0.25])


def test_ragan_follows_the_equations():
    pair = adversarial.ADVERSARIAL["ragan"]
    real, fake = np.array([[2.0], [-1.0]]), np.array([[0.5], [3.5]])
    ones, zeros = np.ones([2, 1]), np.zeros([2, 1])
    arguments = [tf.constant(x, tf.float32) for x in (real, fake, ones, zeros)]
    # The means are 0.5 and 2.
    more_real = (1 / (1 + np.exp(-(real - 2.0))))[:, 0]
    more_fake = (1 / (1 + np.exp(-(fake - 0.5))))[:, 0]
    np.testing.assert_allclose(
        pair.discriminator(*arguments), -np.log(more_real) - np.log(1 - more_fake), rtol=1e-5
    )
    np.testing.assert_allclose(
        pair.generator(*arguments[:2]), -np.log(1 - more_real) - np.log(more_fake), rtol=1e-5
    )
    margins = pair.margins(*arguments[:2])
    np.testing.assert_allclose(margins[0], real - 2.0)
    np.testing.assert_allclose(margins[1], 0.5 - fake)


def test_both_terms_of_ragan_reach_the_generator():
    fake = tf.constant([[0.0]])
    with tf.GradientTape() as tape:
        tape.watch(fake)
        loss = adversarial.ADVERSARIAL["ragan"].generator(tf.constant([[0.0]]), fake)
    # -sigmoid(0) through the real image's term, sigmoid(0) - 1 through its own.
    np.testing.assert_allclose(tape.gradient(loss, fake), [[-1.0]])


def test_ragan_takes_the_mean_over_all_replicas_and_its_gradient():
    pair, strategy = adversarial.ADVERSARIAL["ragan"], fixtures.strategy()
    real, fake = (tf.random.stateless_uniform([4, 2, 2, 1], [seed, 0], -3, 3) for seed in (1, 2))
    labels = tf.fill([4, 1], 0.9), tf.fill([4, 1], 0.1)

    def losses_and_gradients(real, fake, *labels):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch((real, fake))
            generator = pair.generator(real, fake)
            discriminator = pair.discriminator(real, fake, *labels)
        gradients = tape.gradient(discriminator, [real, fake]) + [tape.gradient(generator, fake)]
        return [generator, discriminator, *gradients]

    expected = losses_and_gradients(real, fake, *labels)
    halves = [
        strategy.experimental_distribute_values_from_function(
            lambda context, x=x: tf.split(x, 2)[context.replica_id_in_sync_group]
        )
        for x in (real, fake, *labels)
    ]
    run = tf.function(lambda *arguments: strategy.run(losses_and_gradients, args=arguments))
    for got, whole in zip(run(*halves), expected, strict=True):
        parts = strategy.experimental_local_results(got)
        np.testing.assert_allclose(tf.concat(parts, 0), whole, rtol=1e-5, atol=1e-6)


def test_label_above_one_keeps_pushing():
    # The documented consequence: sigmoid(300) - 1.2 = -0.2, and a loss of -(0.2 * 300).
    real = tf.constant([[300.0]])
    with tf.GradientTape() as tape:
        tape.watch(real)
        label = tf.constant([[1.2]])
        loss = VANILLA.discriminator(real, tf.constant([[-300.0]]), label, tf.zeros([1, 1]))
    np.testing.assert_allclose(loss, [-60.0], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, real), [[-0.2]], rtol=1e-5)


def test_total_variation_by_hand():
    image = np.zeros([2, 3, 3, 3], np.float32)
    image[1, 1, 1, 0] = 2.0
    # The pixel itself sees -2 right and -2 down: (4 + 4)^1.25; its upper and left neighbours see 2
    # in one direction: 4^1.25 each.
    expected = [0.0, 8**1.25 + 2 * 4**1.25]
    np.testing.assert_allclose(regularizers.total_variation(image), expected, rtol=1e-6)


def test_total_variation_has_a_zero_gradient_on_flat_areas():
    sr = tf.fill([1, 4, 5, 3], 0.3)
    with tf.GradientTape() as tape:
        tape.watch(sr)
        loss = regularizers.total_variation(sr)
    np.testing.assert_array_equal(tape.gradient(loss, sr), np.zeros([1, 4, 5, 3]))


def test_gradient_penalty_of_a_linear_discriminator():
    """D(x) = <w, x> + b: the gradient is w for every image, and that of |w|^2 is 2w."""
    weights = tf.Variable(tf.random.stateless_normal([2 * 4 * 3, 1], [1, 2]))
    hr = tf.random.stateless_uniform([3, 2, 4, 3], [3, 4])
    with tf.GradientTape() as tape:
        logits, penalty = regularizers.with_gradient_penalty(
            lambda x: tf.reshape(x, [-1, 24]) @ weights + 5.0, hr
        )
        total = tf.reduce_sum(penalty)
    norm = float(tf.reduce_sum(tf.square(weights)))
    np.testing.assert_allclose(penalty, [norm] * 3, rtol=1e-5)
    np.testing.assert_allclose(logits, tf.reshape(hr, [3, 24]) @ weights + 5.0, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(total, weights), 3 * 2 * weights.numpy(), rtol=1e-5)


def test_gradient_penalty_of_a_map_is_that_of_its_mean():
    # Each of 2 x 4 positions says <v, pixel>: the mean's gradient is v / 8 at each pixel, so the
    # square is 8 * |v|^2 / 64; |v|^2 = 14.
    kernel = tf.constant([1.0, 2.0, 3.0])
    hr = tf.random.stateless_uniform([2, 2, 4, 3], [3, 4])
    logits, penalty = regularizers.with_gradient_penalty(
        lambda x: tf.reduce_sum(x * kernel, axis=3, keepdims=True), hr
    )
    assert logits.shape == (2, 2, 4, 1)
    np.testing.assert_allclose(penalty, [14 / 8] * 2, rtol=1e-5)
