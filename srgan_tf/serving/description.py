"""The signature `describe`: what a client needs to know of a model that lies on a server.

A server gives away signatures only, not the record beside the model (model_record.py). With scale,
receptive radius and alignment a client can tile; `max_pixels` is the largest picture to send, and
outputs are marked with the fingerprint.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from srgan_tf.serving import protocols

# What is filled is several times as large as the query.
_MOST_QUERIES = 64


def signature(facts: Mapping[str, Any], fingerprint: str) -> Any:
    """Returns the function {query: int32 `[B]`} to the facts as int32 `[B]`, and the fingerprint.

    The query says nothing: the server's batching needs an axis, and its REST part an input.
    """
    values = {name: tf.constant(int(facts[name])) for name in protocols.FACTS}
    values[protocols.FINGERPRINT] = tf.constant(fingerprint)

    spec = tf.TensorSpec([None], tf.int32, name=protocols.QUERY)

    @tf.function(input_signature=[spec], autograph=False)
    def describe(query: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.size(query)
        text = f"{protocols.QUERY} has {{}} values: at most {_MOST_QUERIES} at a time"
        few = tf.debugging.Assert(count <= _MOST_QUERIES, [tf.strings.format(text, count)])
        with tf.control_dependencies([few]):
            shape = tf.shape(query)
            return {name: tf.fill(shape, value) for name, value in values.items()}

    return describe
