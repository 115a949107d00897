"""Restores a state, also from checkpoints that earlier versions of this package wrote.

Two things have changed. Checkpoints from before rollbacks have no `learning_rate_scale`; it is 1.
Optimizers of stages with a constant learning rate, adam all of them, kept it in a variable, which
Keras 3 numbers among the slots: such checkpoints are read by optimizers made as they were then, and
handed over. The runs go on, but not to the bit as the earlier version would have.
"""

from typing import Any

import tensorflow as tf
from absl import logging

from srgan_tf.training import optimizers
from srgan_tf.training.state import TrainState

_VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
_OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")


def restore(state: TrainState, prefix: str) -> None:
    """Restores `state`, whose optimizers are built, from the checkpoint at `prefix`.

    Call inside the strategy's scope.

    Raises:
        AssertionError, ValueError, tf.errors.OpError: something in one does not match the other.
    """
    reader = tf.train.load_checkpoint(prefix)
    without = [] if reader.has_tensor(f"learning_rate_scale/{_VALUE}") else ["learning_rate_scale"]
    scales = [f"{name}_loss_scale" for name in state.loss_scales]
    without += [name for name in scales if not reader.has_tensor(f"{name}/value/{_VALUE}")]
    constant = [n for n in _OPTIMIZERS if reader.has_tensor(f"{n}/_learning_rate/{_VALUE}")]
    checkpoint = state.checkpoint(without=(*without, *constant))
    stand_ins = {name: _with_constant_rate(state, name) for name in constant}
    for name, stand_in in stand_ins.items():
        setattr(checkpoint, name, stand_in)
    # Restoring is silent about what it leaves out; assert_consumed is not.
    checkpoint.restore(prefix).assert_consumed()
    for name, stand_in in stand_ins.items():
        _hand_over(stand_in, getattr(state, name))
    if without or constant:
        logging.info("%s was written by an earlier version of this package; it is read.", prefix)


def _with_constant_rate(state: TrainState, name: str) -> Any:
    model = state.generator if name == "generator_optimizer" else state.discriminator
    stand_in = optimizers.make(state.config.optimizer, state.stage.learning_rate)
    stand_in.build(model.trainable_variables)
    return stand_in


def _hand_over(old: Any, new: Any) -> None:
    values = [value for value in old.variables if "learning_rate" not in value.name]
    for value, variable in zip(values, new.variables, strict=True):
        variable.assign(value)
