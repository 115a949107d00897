"""One update of each stage: `(state, batch) -> {name: scalar}`, run in every replica.

Losses are per image and divided by the global batch, so that gradients and scalars of all replicas
add up to the means over the batch of all replicas (Keras sums gradients over replicas).
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from srgan_tf.data.pipeline import Pair
from srgan_tf.losses import objective, regularizers
from srgan_tf.models import layers
from srgan_tf.training import averages, optimizers
from srgan_tf.training.state import TrainState

Scalars = dict[str, tf.Tensor]


def pretrain_step(state: TrainState, batch: Pair) -> Scalars:
    """Updates the generator on its content losses alone."""
    with tf.GradientTape() as tape:
        sr = state.generator(batch.lr, training=True)
        terms = state.objective.terms(sr, batch.hr, shift=_shift(state))
        loss = _mean(state, state.objective.total(terms))
    _apply(state, state.generator_optimizer, tape, loss, state.generator)
    return {"generator_loss": loss, **_means(state, terms)}


def discriminator_step(state: TrainState, batch: Pair) -> Scalars:
    """Updates the discriminator alone; the generator is frozen, so it runs as in inference."""
    sr = state.generator(batch.lr, training=False)
    return update_discriminator(state, batch.hr, sr)


def gan_step(state: TrainState, batch: Pair) -> Scalars:
    """Updates the discriminator, then the generator against the updated discriminator.

    Both use one generator pass: its weights do not change in between, so a second pass would give
    the same images, and would only count this batch twice in the moving statistics.

    With `discriminator_updates` = k the batch holds k times the images. All but the last share
    update the discriminator alone; the scalars are those of the last.
    """
    updates = state.stage.discriminator_updates
    for number in range(updates - 1):
        lr, hr = _share(batch, number, updates)
        with layers.frozen_statistics(state.generator):
            sr = state.generator(lr, training=True)
        update_discriminator(state, hr, sr, number)
    lr, hr = _share(batch, updates - 1, updates)
    with tf.GradientTape() as tape:
        sr = state.generator(lr, training=True)
        with tape.stop_recording():
            scalars = update_discriminator(state, hr, sr, updates - 1)
        generator_loss, terms = _generator_loss(state, hr, sr)
    _apply(state, state.generator_optimizer, tape, generator_loss, state.generator)
    return {"generator_loss": generator_loss, **_means(state, terms), **scalars}


def update_discriminator(
    state: TrainState, hr: tf.Tensor, sr: tf.Tensor, number: int = 0
) -> Scalars:
    """Updates the discriminator on given images; touches nothing else.

    HR and SR pass separately: each is normalised by statistics of its own (as the paper implies).

    Args:
        state: the state; its discriminator and that one's optimizer change.
        hr: this replica's real images `[b, H, W, 3]` in [-1, 1].
        sr: this replica's generated images, same shape; treated as a constant.
        number: which of the step's discriminator updates this is, from 0.
    """
    real_labels, fake_labels = _labels(state, hr.shape[0], number)
    hr, sr = _seen(state, hr, number), tf.stop_gradient(_seen(state, sr, number))
    discriminator = functools.partial(state.discriminator, training=True)
    r1_weight, r1 = state.stage.r1_weight, None
    with tf.GradientTape() as tape:
        if r1_weight:
            real, r1 = regularizers.with_gradient_penalty(discriminator, hr)
        else:
            real = discriminator(hr)
        fake = discriminator(sr)
        per_image = state.pair.discriminator(real, fake, real_labels, fake_labels)
        if r1_weight:
            per_image += r1_weight / 2.0 * r1
        loss = _mean(state, per_image)
    _apply(state, state.discriminator_optimizer, tape, loss, state.discriminator)
    real_margin, fake_margin = state.pair.margins(real, fake)
    return {
        "discriminator_loss": loss,
        "real_accuracy": _mean(state, _per_image(real_margin > 0)),
        "fake_accuracy": _mean(state, _per_image(fake_margin > 0)),
        **({"r1": _mean(state, r1)} if r1_weight else {}),
    }


def _generator_loss(state: TrainState, hr: tf.Tensor, sr: tf.Tensor) -> tuple[tf.Tensor, Scalars]:
    real = fake = None
    if "adversarial" in state.objective.weights:
        # Batch statistics as in the discriminator's own update, but its moving statistics stay: a
        # generator update changes nothing of the discriminator.
        last = state.stage.discriminator_updates - 1
        with layers.frozen_statistics(state.discriminator):
            fake = state.discriminator(_seen(state, sr, last), training=True)
            if state.pair.needs_real:
                real = tf.stop_gradient(state.discriminator(_seen(state, hr, last), training=True))
    terms = state.objective.terms(sr, hr, real_logits=real, fake_logits=fake, shift=_shift(state))
    updates = tf.convert_to_tensor(state.generator_optimizer.iterations)
    return _mean(state, state.objective.total(terms, updates)), terms


def _share(batch: Pair, number: int, shares: int) -> Pair:
    """Returns every `shares`-th image, from `number` on.

    Strided, because replicas hold successive parts of the batch: so a share is made of the same
    images whatever the number of replicas.
    """
    return batch if shares == 1 else Pair(*(images[number::shares] for images in batch))


def _apply(
    state: TrainState,
    optimizer: tf.keras.optimizers.Optimizer,
    tape: tf.GradientTape,
    loss: tf.Tensor,
    model: tf.keras.Model,
) -> None:
    variables, clip_norm = model.trainable_variables, state.config.optimizer.clip_norm

    def update(gradients: list[tf.Tensor]) -> None:
        optimizers.apply(optimizer, gradients, variables, clip_norm)

    scale = state.loss_scales.get("generator" if model is state.generator else "discriminator")
    if scale is None:
        update(tape.gradient(loss, variables))
    else:
        gradients = tape.gradient(loss, variables, output_gradients=tf.identity(scale.value))
        scale.apply(optimizer, gradients, update)


def _labels(state: TrainState, local_batch: int, number: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns this replica's share of the labels of an update: `number` of those of this step."""
    labels = objective.draw_labels(
        state.stage,
        seed=state.config.seed,
        step=_update(state, number),
        global_batch=state.global_batch,
    )
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    first = tf.cast(replica, tf.int32) * local_batch
    # Not label[first : first + local_batch]: XLA (TPUs) must know the size, and on TPUs the number
    # of the replica is a tensor.
    return tuple(tf.slice(label, [first, 0], [local_batch, 1]) for label in labels)


def _update(state: TrainState, number: int) -> tf.Tensor:
    """Returns a number of its own for each discriminator update, of which a step has some."""
    return state.step * getattr(state.stage, "discriminator_updates", 1) + number


def _seen(state: TrainState, images: tf.Tensor, number: int) -> tf.Tensor:
    """Returns what the discriminator sees of `images` in that update: all, or a part (jitter)."""
    jitter = state.config.discriminator.jitter
    if not jitter:
        return images
    shift = objective.draw_shift(
        jitter,
        seed=state.config.seed,
        step=_update(state, number),
        network="discriminator",
    )
    return objective.shifted(images, shift, jitter)


def _shift(state: TrainState) -> tf.Tensor | None:
    """Returns this step's shift of what the VGG sees, None where there is none."""
    jitter = state.objective.jitter
    return objective.draw_shift(jitter, seed=state.config.seed, step=state.step) if jitter else None


def _per_image(condition: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(condition, tf.float32), axis=list(range(1, condition.shape.rank)))


def _mean(state: TrainState, per_image: tf.Tensor) -> tf.Tensor:
    return objective.mean_over_global_batch(per_image, state.global_batch)


def _means(state: TrainState, terms: Scalars) -> Scalars:
    return {name: _mean(state, per_image) for name, per_image in terms.items()}


STEPS: dict[str, Callable[[TrainState, Pair], Scalars]] = {
    "pretrain": pretrain_step,
    "discriminator": discriminator_step,
    "gan": gan_step,
}


def distributed_step(
    strategy: tf.distribute.Strategy, state: TrainState
) -> Callable[[Pair], Scalars]:
    """Returns one traced update of the state's stage over all replicas.

    It takes a distributed batch, advances `state.step`, and returns scalars reduced over replicas.
    Make a new one for each stage: it is a closure over that stage's optimizers.
    """
    step_function = functools.partial(STEPS[state.stage_name], state)

    @tf.function
    def train_step(batch: Pair) -> Scalars:
        per_replica = strategy.run(step_function, args=(Pair(*batch),))
        scalars = {
            name: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for name, value in per_replica.items()
        }
        if state.averaged is not None and state.objective:
            updates = tf.convert_to_tensor(state.generator_optimizer.iterations)
            decay = averages.decay_at(state.config.ema_decay, updates)
            averages.update(strategy, state.averaged, state.generator, decay)
        state.step.assign_add(1)
        # The exact step is kept on the device, so that nobody has to look after every step.
        finite = tf.reduce_all(tf.math.is_finite(tf.stack(list(scalars.values()))))
        exhausted = [scale.exhausted for scale in state.loss_scales.values()]
        if exhausted:
            # Before that, the update was left out, and the next one has a smaller scale.
            finite |= not tf.reduce_any(exhausted)
            finite &= not tf.reduce_any([scale.stuck for scale in state.loss_scales.values()])
        if not finite and state.diverged_at < 0:
            state.diverged_at.assign(state.step)
        return scalars

    return train_step
