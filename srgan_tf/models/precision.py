"""Numerical precision of the networks: `float32`, `bfloat16` or `float16` (`--precision`).

In the short ones layers compute in 16 bits, while variables, statistics of batch normalization,
logits, features, losses and pictures stay float32. So weights and checkpoints are the same in all
three, and a network may be built in another precision than it was trained in.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from srgan_tf import registry

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def scope(precision: str) -> Iterator[None]:
    """Within it, Keras layers are made to compute in `precision`; afterwards all is as before.

    What a layer computes in is settled when it is made: nothing need be in force when it is called.

    Raises:
        errors.InputError: there is no such precision.
    """
    policy = registry.lookup(POLICIES, precision, "precision")
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
