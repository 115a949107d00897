"""Adversarial pairs: what each network minimizes, per image `[B]`, on logits `[B, 1]`.

Both functions of a pair take the logits of real (HR) and of fake (SR) images. The generator's step
passes None as `real`: none of the pairs here needs it. Add one: two functions here and a line in
`ADVERSARIAL`.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class AdversarialPair:
    """The two sides of one game.

    Attributes:
        generator: `(real, fake) -> [B]`.
        discriminator: `(real, fake, real_labels, fake_labels) -> [B]`; labels are `[B, 1]`.
    """

    generator: Callable[..., tf.Tensor]
    discriminator: Callable[..., tf.Tensor]


def vanilla_generator(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """-log D(G(lr)) per image, the form that does not saturate (paper, section 2.2.2).

    Always against label 1: softened or flipped labels are for the discriminator.
    """
    del real
    return _cross_entropy(fake, tf.ones_like(fake))


def vanilla_discriminator(
    real: tf.Tensor, fake: tf.Tensor, real_labels: tf.Tensor, fake_labels: tf.Tensor
) -> tf.Tensor:
    """Cross entropy of real images plus that of fake ones (their sum, equation 2), per image.

    The derivative by a logit is sigmoid(logit) - label whatever the label. A label above 1 (or
    below 0) therefore never lets its logit rest: the loss is finite for finite logits but has no
    lower bound, as -(label - 1) * logit. Such labels want a counterweight, like random flips.
    """
    return _cross_entropy(real, real_labels) + _cross_entropy(fake, fake_labels)


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns -label log(D) - (1 - label) log(1 - D) per image, D = sigmoid(logit), stably."""
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_mean(losses, axis=1)


ADVERSARIAL: dict[str, AdversarialPair] = {
    "vanilla": AdversarialPair(generator=vanilla_generator, discriminator=vanilla_discriminator),
}
