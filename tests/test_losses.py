"""Content, adversarial and total variation losses: golden values, gradients, per image."""

import fixtures  # noqa: F401
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


def test_vgg_distance_by_element_or_by_pixel():
    sr, hr = tf.fill([2, 3, 5, 128], 0.25), tf.zeros([2, 3, 5, 128])
    # 0.25 squared, once or summed over the 128 channels.
    np.testing.assert_allclose(content.vgg_distance(sr, hr, "element"), [0.0625] * 2)
    np.testing.assert_allclose(content.vgg_distance(sr, hr, "pixel"), [8.0] * 2)
    with pytest.raises(errors.InputError, match="normalization 'image'"):
        content.vgg_distance(sr, hr, "image")


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
