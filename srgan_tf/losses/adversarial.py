"""Adversarial pairs: what each network minimizes, per image `[B]`, on logits.

Logits are `[B, 1]` or maps `[B, h, w, 1]` (a judgement for each patch); a map counts by its mean.
Labels are `[B, 1]`, one for the whole map. Add a pair: its functions here and a line in
`ADVERSARIAL`.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

Margins = tuple[tf.Tensor, tf.Tensor]


def plain_margins(real: tf.Tensor, fake: tf.Tensor) -> Margins:
    """Logits above 0 mean real."""
    return real, -fake


@dataclasses.dataclass(frozen=True)
class AdversarialPair:
    """The two sides of one game.

    Attributes:
        generator: `(real, fake) -> [B]` on logits; `real` is None unless `needs_real`.
        discriminator: `(real, fake, real_labels, fake_labels) -> [B]`; labels are `[B, 1]`.
        margins: `(real, fake) -> (real, fake)` of the same shapes, above 0 where the
            discriminator is right; for the accuracies.
        needs_real: Whether the generator's side looks at the logits of real images.
        has_labels: Whether the discriminator's side looks at the labels.
    """

    generator: Callable[..., tf.Tensor]
    discriminator: Callable[..., tf.Tensor]
    margins: Callable[[tf.Tensor, tf.Tensor], Margins] = plain_margins
    needs_real: bool = False
    has_labels: bool = True


def vanilla_generator(real: tf.Tensor | None, fake: tf.Tensor) -> tf.Tensor:
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


def lsgan_generator(real: tf.Tensor | None, fake: tf.Tensor) -> tf.Tensor:
    """(D(G(lr)) - 1)^2 / 2 per image (Mao et al. 2017, arXiv 1611.04076, equation 9)."""
    del real
    return _half_square(fake, tf.ones_like(fake))


def lsgan_discriminator(
    real: tf.Tensor, fake: tf.Tensor, real_labels: tf.Tensor, fake_labels: tf.Tensor
) -> tf.Tensor:
    """Half the squared distances from the labels, per image (Mao et al. 2017, equation 9)."""
    return _half_square(real, real_labels) + _half_square(fake, fake_labels)


def lsgan_margins(real: tf.Tensor, fake: tf.Tensor) -> Margins:
    """Halfway between the labels 0 and 1, to which this pair draws the logits, lies 1/2."""
    return real - 0.5, 0.5 - fake


def hinge_generator(real: tf.Tensor | None, fake: tf.Tensor) -> tf.Tensor:
    """-D(G(lr)) per image (Lim & Ye 2017, arXiv 1705.02894; Miyato et al. 2018, equation 17)."""
    del real
    return -_mean_over_positions(fake)


def hinge_discriminator(
    real: tf.Tensor, fake: tf.Tensor, real_labels: tf.Tensor, fake_labels: tf.Tensor
) -> tf.Tensor:
    """max(0, 1 - D(hr)) + max(0, 1 + D(G(lr))) (Miyato et al. 2018, equation 16); no labels."""
    del real_labels, fake_labels
    return _mean_over_positions(tf.nn.relu(1.0 - real) + tf.nn.relu(1.0 + fake))


def ragan_generator(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """-log(1 - D_Ra(hr, sr)) - log D_Ra(sr, hr) per image (ESRGAN, equation 2).

    Both terms reach the generator, the first through the mean over the generated images. ESRGAN's
    published code halves the sum, which the equation does not.
    """
    real, fake = _relative(real, fake)
    return _cross_entropy(real, tf.zeros_like(real)) + _cross_entropy(fake, tf.ones_like(fake))


def ragan_discriminator(
    real: tf.Tensor, fake: tf.Tensor, real_labels: tf.Tensor, fake_labels: tf.Tensor
) -> tf.Tensor:
    """-log D_Ra(hr, sr) - log(1 - D_Ra(sr, hr)) per image (ESRGAN, equation 1).

    Wang et al. 2018 (arXiv 1809.00219), after Jolicoeur-Martineau 2018 (arXiv 1807.00734):
    D_Ra(a, b) = sigmoid(D(a) - mean of D(b)). Labels soften it as they do the cross entropy.
    """
    real, fake = _relative(real, fake)
    return _cross_entropy(real, real_labels) + _cross_entropy(fake, fake_labels)


def ragan_margins(real: tf.Tensor, fake: tf.Tensor) -> Margins:
    """Right is what is more real than the mean of the others, or less."""
    real, fake = _relative(real, fake)
    return real, -fake


def _relative(real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return real - _mean_over_all_replicas(fake), fake - _mean_over_all_replicas(real)


def _mean_over_all_replicas(logits: tf.Tensor) -> tf.Tensor:
    """Returns the mean over the global batch and all positions, a scalar.

    A mean over this replica's images alone would make the loss depend on the number of replicas.
    The gradient of a sum over replicas is again one (TensorFlow defines it so), by which the other
    replicas' losses reach this one's images.
    """
    total, count = tf.reduce_sum(logits), tf.cast(tf.size(logits), logits.dtype)
    replica = tf.distribute.get_replica_context()  # None outside of replicas.
    if replica and replica.num_replicas_in_sync > 1:
        total = replica.all_reduce(tf.distribute.ReduceOp.SUM, total)
        count *= replica.num_replicas_in_sync
    return total / count


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns -label log(D) - (1 - label) log(1 - D) per image, D = sigmoid(logit), stably."""
    labels = _spread(labels, logits)
    return _mean_over_positions(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def _half_square(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return _mean_over_positions(tf.square(logits - _spread(labels, logits)) / 2.0)


def _spread(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Gives every position of an image its label `[B, 1]`; what has all positions stays."""
    if labels.shape.rank == logits.shape.rank:
        return labels
    per_image = tf.reshape(labels, [-1] + [1] * (logits.shape.rank - 1))
    return tf.broadcast_to(per_image, tf.shape(logits))


def _mean_over_positions(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))


ADVERSARIAL: dict[str, AdversarialPair] = {
    "vanilla": AdversarialPair(vanilla_generator, vanilla_discriminator),
    "lsgan": AdversarialPair(lsgan_generator, lsgan_discriminator, lsgan_margins),
    "hinge": AdversarialPair(hinge_generator, hinge_discriminator, has_labels=False),
    "ragan": AdversarialPair(ragan_generator, ragan_discriminator, ragan_margins, needs_real=True),
}
