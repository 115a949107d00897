"""The options of all tf.data pipelines of this package."""

import tensorflow as tf


def untuned() -> tf.data.Options:
    """Returns options for elements in order and as much in parallel as the pipeline itself says.

    So whoever takes them gives `num_parallel_calls` and the like in numbers, never AUTOTUNE.
    """
    options = tf.data.Options()
    options.deterministic = True
    # Its thread tunes ever more seldom, at last once a minute, and whoever frees the iterator (at
    # the end of a stage, say) may wait for it so long (TensorFlow 2.15 and 2.21, busy machine).
    options.autotune.enabled = False
    # A strategy must not divide a batch among workers by the files that it comes from.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
