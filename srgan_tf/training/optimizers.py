"""Optimizers by name, with the learning-rate schedule of a stage."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from srgan_tf import registry
from srgan_tf.config import OptimizerConfig


def _adam(learning_rate: Any, config: OptimizerConfig) -> tf.keras.optimizers.Optimizer:
    return tf.keras.optimizers.Adam(
        learning_rate, beta_1=config.beta_1, beta_2=config.beta_2, epsilon=config.epsilon
    )


OPTIMIZERS: dict[str, Callable[..., tf.keras.optimizers.Optimizer]] = {"adam": _adam}


def learning_rate_at(stage: Any, step: int) -> float:
    """Returns the learning rate of a stage's update number `step` (from 0)."""
    passed = sum(step >= boundary for boundary in stage.decay_at)
    return stage.learning_rate * stage.decay_factor**passed


def build(
    config: OptimizerConfig, stage: Any, model: tf.keras.Model
) -> tf.keras.optimizers.Optimizer:
    """Returns a new optimizer for one stage, its slots created.

    Call inside the strategy's scope: slots that are created later, in the traced step, fail under
    Keras 3, and a checkpoint restored before they exist would leave them silently unread.
    """
    learning_rate: Any = stage.learning_rate
    if stage.decay_at:
        # Keras keeps a value up to and including its boundary; updates count from 0.
        learning_rate = tf.keras.optimizers.schedules.PiecewiseConstantDecay(
            [boundary - 1 for boundary in stage.decay_at],
            [learning_rate_at(stage, step) for step in (0, *stage.decay_at)],
        )
    optimizer = registry.lookup(OPTIMIZERS, config.name, "optimizer")(learning_rate, config)
    optimizer.build(model.trainable_variables)
    return optimizer
