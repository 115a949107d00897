"""Optimizers by name, the learning-rate schedule of a stage, and the clipping of gradients."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from srgan_tf import addons, errors, registry
from srgan_tf.config import OptimizerConfig

# Keras' own, on both stacks.
_WITHOUT_ADDONS = ("adam", "adamw")


def _moments(config: OptimizerConfig) -> dict[str, float]:
    return {"beta_1": config.beta_1, "beta_2": config.beta_2, "epsilon": config.epsilon}


def _adam(learning_rate: Any, config: OptimizerConfig) -> tf.keras.optimizers.Optimizer:
    """Adam, Kingma & Ba 2015 (arXiv 1412.6980); no weight decay."""
    if config.weight_decay:
        raise errors.InputError(
            f"adam has no weight decay ({config.weight_decay}): take --optimizer=adamw, or leave "
            "--optimizer_weight_decay at 0."
        )
    return tf.keras.optimizers.Adam(learning_rate, **_moments(config))


def _adamw(learning_rate: Any, config: OptimizerConfig) -> tf.keras.optimizers.Optimizer:
    """Adam with decoupled weight decay, Loshchilov & Hutter 2019 (arXiv 1711.05101)."""
    return tf.keras.optimizers.AdamW(
        learning_rate, weight_decay=config.weight_decay, **_moments(config)
    )


def _radam(learning_rate: Any, config: OptimizerConfig) -> Any:
    """Rectified Adam, Liu et al. 2020 (arXiv 1908.03265)."""
    return _of_addons("RectifiedAdam", learning_rate, config)


def _lamb(learning_rate: Any, config: OptimizerConfig) -> Any:
    """LAMB, for large batches, You et al. 2020 (arXiv 1904.00962)."""
    return _of_addons("LAMB", learning_rate, config)


def _lookahead(learning_rate: Any, config: OptimizerConfig) -> Any:
    """Lookahead, Zhang et al. 2019 (arXiv 1907.08610): every 6 updates half the way, over radam."""
    return addons.optimizer("Lookahead", _radam(learning_rate, config), instead=_WITHOUT_ADDONS)


def _of_addons(name: str, learning_rate: Any, config: OptimizerConfig) -> Any:
    return addons.optimizer(
        name,
        learning_rate,
        weight_decay=config.weight_decay,
        instead=_WITHOUT_ADDONS,
        **_moments(config),
    )


OPTIMIZERS: dict[str, Callable[[Any, OptimizerConfig], Any]] = {
    "adam": _adam,
    "adamw": _adamw,
    "radam": _radam,
    "lamb": _lamb,
    "lookahead": _lookahead,
}


def _step_decay(stage: Any, step: tf.Tensor) -> tf.Tensor:
    """Constant between the steps of `decay_at`."""
    # Made in Python, so that 1e-4 * 0.1 is the float32 nearest to 1e-5.
    rates = [stage.learning_rate * stage.decay_factor**n for n in range(len(stage.decay_at) + 1)]
    passed = tf.reduce_sum(tf.cast(step >= tf.constant(stage.decay_at, tf.int64), tf.int32))
    return tf.gather(tf.constant(rates, tf.float32), passed)


def _cosine_decay(stage: Any, step: tf.Tensor) -> tf.Tensor:
    """Half a cosine from the end of the warm-up to the stage's (arXiv 1608.03983, equation 5)."""
    length = max(stage.steps - stage.warmup_steps, 1)
    done = tf.cast(step - stage.warmup_steps, tf.float32) / length
    share = (1.0 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0))) / 2.0
    return stage.learning_rate * (stage.final_fraction + (1.0 - stage.final_fraction) * share)


SCHEDULES: dict[str, Callable[[Any, tf.Tensor], tf.Tensor]] = {
    "step": _step_decay,
    "cosine": _cosine_decay,
}


class StageRate(tf.keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of a stage, for optimizers and for the log: there is no second place."""

    def __init__(self, stage: Any, updates_per_step: int = 1, scale: Any = None):
        """Describes a stage's learning rate.

        Args:
            stage: its config.
            updates_per_step: how often the optimizer is applied in one of its steps.
            scale: a variable that the rate is multiplied by (divergence.py); None is 1.
        """
        super().__init__()
        self._stage, self._updates_per_step, self._scale = stage, updates_per_step, scale

    def __call__(self, update: Any) -> tf.Tensor:
        """Returns the rate of the optimizer's update number `update` (from 0), a float32 scalar."""
        stage = self._stage
        step = tf.cast(tf.convert_to_tensor(update), tf.int64) // self._updates_per_step
        rate = registry.lookup(SCHEDULES, stage.schedule, "schedule")(stage, step)
        if stage.warmup_steps:
            # The first update is not lost on a rate of 0, the last of the warm-up has all of it.
            rate *= tf.minimum(tf.cast(step + 1, tf.float32) / stage.warmup_steps, 1.0)
        return rate if self._scale is None else rate * self._scale

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "stage": self._stage,
            "updates_per_step": self._updates_per_step,
            "scale": self._scale,
        }


def learning_rate_at(stage: Any, step: int, scale: Any = None) -> float:
    """Returns the learning rate of a stage's step number `step` (from 0), as `StageRate` does.

    It is the shortest decimal that is this float32: 0.0001, not 9.999999747378752e-05.
    """
    return float(str(StageRate(stage, scale=scale)(step).numpy()))


def make(config: OptimizerConfig, learning_rate: Any) -> Any:
    """Returns a new optimizer without slots.

    Raises:
        errors.InputError: there is no such optimizer, here at least, or it has no weight decay.
    """
    return registry.lookup(OPTIMIZERS, config.name, "optimizer")(learning_rate, config)


def build(
    config: OptimizerConfig,
    stage: Any,
    model: tf.keras.Model,
    updates_per_step: int = 1,
    scale: Any = None,
) -> Any:
    """Returns a new optimizer for one stage, its slots created.

    Call inside the strategy's scope: slots that are created later, in the traced step, fail under
    Keras 3, and a checkpoint restored before they exist would leave them silently unread.
    """
    optimizer = make(config, StageRate(stage, updates_per_step, scale))
    if hasattr(optimizer, "build"):
        optimizer.build(model.trainable_variables)
    else:
        addons.create_slots(optimizer, model.trainable_variables)
    return optimizer


def apply(
    optimizer: Any, gradients: Sequence[tf.Tensor], variables: Sequence[Any], clip_norm: float
) -> None:
    """Applies this replica's share of the gradients; the optimizer adds up those of all replicas.

    Args:
        optimizer: from `build`.
        gradients: of the variables, in their order.
        variables: the trainable variables that `optimizer` was built for.
        clip_norm: largest norm of the sum over replicas, of all variables together; 0 is none.
    """
    if clip_norm:
        replica = tf.distribute.get_replica_context()
        # The norm of a sum is not the sum of norms: add up first. The optimizer adds up once more,
        # which both Kerases and addons do alike, while leaving it out differs; hence the division.
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
        gradients = [gradient / replica.num_replicas_in_sync for gradient in gradients]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
