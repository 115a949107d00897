"""Dynamic loss scaling for float16, whose smallest number is 6e-8 and whose largest is 65504.

Gradients are computed of `scale` times the loss and divided again in float32, so that small ones do
not vanish on their way through float16 (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2).
An update whose gradients are not finite is left out and halves the scale; 2000 good ones in a row
double it. Done here because the optimizers of the two Kerases differ: after an update that is left
out Keras 2 counts it, Keras 3 does not. Here it counts, so the learning rate follows the step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# Keras' own figures.
_INITIAL = 2.0**15
_GOOD_STEPS = 2000
# Below 1 float16 itself is not what overflows; above the other no gradient needs it.
_LOWEST, _HIGHEST = 1.0, 2.0**24


class LossScale(tf.Module):
    """The scale of one network's loss; part of the run's checkpoints."""

    def __init__(self):
        """Makes the variables; call inside the strategy's scope."""
        super().__init__(name="loss_scale")
        self.value = _variable(_INITIAL, tf.float32)
        self.good_steps = _variable(0, tf.int64)

    @property
    def exhausted(self) -> tf.Tensor:
        """Whether the scale cannot fall any more: what is not finite now has other reasons."""
        return self.value <= _LOWEST

    @property
    def stuck(self) -> tf.Tensor:
        """Whether gradients were not finite at the lowest scale: updates will be left out now."""
        return self.value < _LOWEST

    def apply(
        self,
        optimizer: Any,
        gradients: Sequence[tf.Tensor],
        update: Callable[[Sequence[tf.Tensor]], None],
    ) -> None:
        """Updates if the gradients of all replicas are finite; call in a replica.

        Args:
            optimizer: whose update it is; its count goes on either way.
            gradients: this replica's, of the loss times `value`.
            update: applies gradients of the loss itself, in a replica.
        """
        gradients = [gradient / self.value for gradient in gradients]
        finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
        replica = tf.distribute.get_replica_context()
        failed = 1.0 - tf.cast(tf.reduce_all(tf.stack(finite)), tf.float32)
        failed = replica.all_reduce(tf.distribute.ReduceOp.SUM, failed)

        def decide(strategy, failed, gradients):
            def apply_them():
                strategy.extended.call_for_each_replica(update, args=(gradients,))
                good = self.good_steps + 1
                grows = good >= _GOOD_STEPS
                higher = tf.minimum(self.value * 2.0, _HIGHEST)
                self.value.assign(tf.where(grows, higher, self.value))
                self.good_steps.assign(tf.where(grows, tf.zeros_like(good), good))
                return tf.constant(True)

            def leave_out():
                optimizer.iterations.assign_add(1)
                self.value.assign(tf.maximum(self.value / 2.0, _LOWEST / 2.0))
                self.good_steps.assign(0)
                return tf.constant(False)

            # In here, because a condition inside a replica cannot hold an update of all of them.
            tf.cond(strategy.experimental_local_results(failed)[0] > 0, leave_out, apply_them)

        replica.merge_call(decide, args=(failed, gradients))


def _variable(value: float, dtype: tf.DType) -> tf.Variable:
    return tf.Variable(
        value,
        dtype=dtype,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
