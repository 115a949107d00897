"""The signature `describe`: what a client needs to know of a model that lies on a server.

A server gives away signatures only, not the record beside the model (model_record.py). With scale,
receptive radius and alignment a client can tile; `max_pixels` is the largest picture to send, and
outputs are marked with the fingerprint.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from srgan_tf.serving import protocols


def signature(facts: Mapping[str, Any], fingerprint: str) -> Any:
    """Returns the function {query: int32 `[B]`} to the facts as int32 `[B]`, and the fingerprint.

    The query says nothing: the server's batching needs an axis, and its REST part an input.
    """
    values = {name: tf.constant(int(facts[name])) for name in protocols.FACTS}
    values[protocols.FINGERPRINT] = tf.constant(fingerprint)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name=protocols.QUERY)])
    def describe(query: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.fill(tf.shape(query), value) for name, value in values.items()}

    return describe
