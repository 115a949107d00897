"""What a stage minimizes: its terms per image, their weighted sum, and the one reduction.

SR and HR are `[B, H, W, 3]` in [-1, 1], logits `[B, 1]` or `[B, h, w, 1]`. Everything stays per
image `[B]` until `mean_over_global_batch`, so that gradients are the same on one replica and on
many.
"""

from collections.abc import Mapping

import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors, registry
from srgan_tf.losses import adversarial, content, regularizers

# Keep these draws apart from others that start from the same run seed.
_LABEL_STREAM = 0x1ABE1
_SHIFT_STREAMS = {"vgg": 0x5417F7, "discriminator": 0xD15C}


def mean_over_global_batch(per_image: tf.Tensor, global_batch: int) -> tf.Tensor:
    """Sums this replica's losses `[b]`, divides by the batch of all replicas.

    Gradients are summed over replicas; so this sums to the gradient of the global mean.
    """
    return tf.reduce_sum(per_image) / tf.cast(global_batch, per_image.dtype)


def adversarial_pair(
    stage: config_lib.DiscriminatorStage | config_lib.GanStage,
) -> adversarial.AdversarialPair:
    """Returns the stage's pair.

    Raises:
        errors.InputError: there is no such pair, or it has no labels and the stage changes them.
    """
    pair = registry.lookup(adversarial.ADVERSARIAL, stage.adversarial, "adversarial pair")
    for name in ("real_labels", "fake_labels", "flip_labels"):
        default = getattr(config_lib.GanStage, name)
        if not pair.has_labels and getattr(stage, name) != default:
            raise errors.InputError(
                f"The adversarial pair {stage.adversarial!r} has no labels, but {name} is "
                f"{getattr(stage, name)}, not {default}: choose another pair, or give "
                "--gan_real_labels=1,1 --gan_fake_labels=0,0 --gan_flip_labels=0 (and the same for "
                "--discriminator_...)."
            )
    return pair


def draw_labels(
    stage: config_lib.DiscriminatorStage | config_lib.GanStage,
    *,
    seed: int | tf.Tensor,
    step: int | tf.Tensor,
    global_batch: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the discriminator's labels of one step: (real, fake), each `[global_batch, 1]`.

    A pure function of (stage, seed, step): uniform in the stage's ranges, real and fake swapped for
    the whole batch with probability `flip_labels`. Replicas take their slices of the whole.
    """
    start = tf.stack([tf.cast(seed, tf.int64), tf.constant(_LABEL_STREAM, tf.int64)])
    seeds = tf.random.split(tf.random.fold_in(start, tf.cast(step, tf.int64)), 3)
    real, fake = (
        low + (high - low) * tf.random.stateless_uniform([global_batch, 1], draw)
        for (low, high), draw in (
            (stage.real_labels, seeds[0]),
            (stage.fake_labels, seeds[1]),
        )
    )
    # Uniform in [0, 1): probability 0 never swaps, 1 always does.
    swap = tf.random.stateless_uniform([], seeds[2]) < stage.flip_labels
    return tf.where(swap, fake, real), tf.where(swap, real, fake)


def draw_shift(
    jitter: int, *, seed: int | tf.Tensor, step: int | tf.Tensor, network: str = "vgg"
) -> tf.Tensor:
    """Returns by how many pixels (down, right; int32 `[2]`, 0 to `jitter`) images move.

    A pure function of (seed, step), the same for all images and replicas, for what `network` sees:
    "vgg" or "discriminator".
    """
    start = tf.stack([tf.cast(seed, tf.int64), tf.constant(_SHIFT_STREAMS[network], tf.int64)])
    draw = tf.random.fold_in(start, tf.cast(step, tf.int64))
    return tf.random.stateless_uniform([2], draw, maxval=jitter + 1, dtype=tf.int32)


def shifted(image: tf.Tensor, shift: tf.Tensor, jitter: int) -> tf.Tensor:
    """Cuts `shift` off the top left of `[B, H, W, C]`, the rest of `jitter` off bottom right."""
    batch, height, width, channels = image.shape
    size = [batch or -1, height - jitter, width - jitter, channels]
    return tf.slice(image, [0, shift[0], shift[1], 0], size)


class GeneratorObjective:
    """The generator's loss in one stage: content, total variation and, in a GAN stage, the game.

    Attributes:
        weights: Weight of each term by name; terms of weight 0 are not computed.
        jitter: What `draw_shift` is to be asked for; 0 where no shift is wanted.
    """

    def __init__(
        self,
        stage: config_lib.PretrainStage | config_lib.GanStage,
        vgg_config: config_lib.VggConfig,
        vgg_model: tf.keras.Model | None,
    ):
        """Resolves the stage's names.

        Args:
            stage: Names and weights of the terms.
            vgg_config: How features are compared.
            vgg_model: From `vgg.feature_model`; None if no content loss of the stage is `vgg`.

        Raises:
            errors.InputError: a loss is unknown, or no term has a weight.
        """
        self._stage = stage
        self._compared = (vgg_config.normalization, vgg_config.distance)
        self._vgg_model = vgg_model
        for name, _ in stage.content:
            registry.lookup(content.CONTENT, name, "content loss")
        self.weights = {f"content_{name}": weight for name, weight in stage.content if weight}
        if isinstance(stage, config_lib.GanStage):
            self._pair = adversarial_pair(stage)
            if stage.adversarial_weight:
                self.weights["adversarial"] = stage.adversarial_weight
        if stage.tv_weight:
            self.weights["tv"] = stage.tv_weight
        if not self.weights:
            raise errors.InputError(
                f"The generator has nothing to learn: all weights are 0 in content={stage.content}."
            )
        self.jitter = vgg_config.jitter if "content_vgg" in self.weights else 0
        if "content_vgg" in self.weights and vgg_model is None:
            raise ValueError(f"The vgg content loss needs vgg_model: {stage.content=}.")

    def terms(
        self,
        sr: tf.Tensor,
        hr: tf.Tensor,
        real_logits: tf.Tensor | None = None,
        fake_logits: tf.Tensor | None = None,
        shift: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Returns each term unweighted, per image `[B]`.

        Names are `content_mse`, `content_vgg`, ..., `adversarial` and `tv`. Logits are needed if
        "adversarial" is in `weights`, those of real images if the pair asks for them, and `shift`
        (`draw_shift`) if `jitter` is not 0.
        """
        terms = {
            f"content_{name}": self._content(name, sr, hr, shift)
            for name, _ in self._stage.content
            if f"content_{name}" in self.weights
        }
        if "adversarial" in self.weights:
            terms["adversarial"] = self._pair.generator(real_logits, fake_logits)
        if "tv" in self.weights:
            terms["tv"] = regularizers.total_variation(sr)
        return terms

    def total(self, terms: Mapping[str, tf.Tensor], updates: int | tf.Tensor = 0) -> tf.Tensor:
        """Returns the weighted sum of `terms`, per image `[B]`.

        Args:
            terms: from `terms`.
            updates: how often the generator has been updated in this stage; for the ramp of the
                adversarial weight.
        """
        weighted = {name: self.weights[name] * term for name, term in terms.items()}
        ramp = getattr(self._stage, "adversarial_ramp", 0)
        if ramp and "adversarial" in weighted:
            weighted["adversarial"] *= tf.minimum(tf.cast(updates, tf.float32) / ramp, 1.0)
        return tf.add_n(list(weighted.values()))

    def _content(
        self, name: str, sr: tf.Tensor, hr: tf.Tensor, shift: tf.Tensor | None
    ) -> tf.Tensor:
        loss = content.CONTENT[name]
        if name != "vgg":
            return loss(sr, hr)
        if self.jitter:
            sr, hr = (shifted(image, shift, self.jitter) for image in (sr, hr))
        # One after the other: in one batch the way back would be computed for both halves.
        sr_features, hr_features = (self._vgg_model(image, training=False) for image in (sr, hr))
        distances = [
            weight * loss(sr_features[layer], tf.stop_gradient(hr_features[layer]), *self._compared)
            for layer, weight in self._stage.vgg_layer
            if weight
        ]
        return tf.add_n(distances)
