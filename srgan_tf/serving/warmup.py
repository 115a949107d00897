"""Writes what TensorFlow Serving replays when it loads a model, so that no client waits for it.

The file is a TFRecord of PredictionLog messages (tensorflow.org/tfx/serving/saved_model_warmup).
Their definition comes with tensorflow-serving-api only, but all that is needed of them is three
messages in each other around TensorFlow's own TensorProto, so they are put together here, by
protobuf's wire format: a field that holds bytes, text or a message is its number << 3 | 2, then the
length, both as varints, then the content. tests/test_deployment.py reads it by the real definition.
"""

import os

import tensorflow as tf

from srgan_tf import images
from srgan_tf.serving import verification

PATH = os.path.join("assets.extra", "tf_serving_warmup_requests")

# Numbers of fields in tensorflow_serving/apis: prediction_log.proto, predict.proto, model.proto.
_LOG_PREDICT, _PREDICT_REQUEST = 6, 1
_REQUEST_MODEL, _REQUEST_INPUTS = 1, 2
_MODEL_SIGNATURE = 3
_MAP_KEY, _MAP_VALUE = 1, 2


def write(directory: str, signatures: list[str]) -> None:
    """Writes the file of the SavedModel in `directory`: a photo for each of its `signatures`."""
    path = os.path.join(directory, PATH)
    tf.io.gfile.makedirs(os.path.dirname(path))
    inputs = _inputs()
    with tf.io.TFRecordWriter(path) as file:
        for name in signatures:
            if name in inputs:
                file.write(prediction_log(name, inputs[name]))


def prediction_log(signature: str, inputs: dict[str, tf.Tensor]) -> bytes:
    """Returns a serialized PredictionLog that asks for `signature` of whatever model reads it."""
    request = _field(_REQUEST_MODEL, _field(_MODEL_SIGNATURE, signature.encode()))
    for name, tensor in inputs.items():
        value = tf.make_tensor_proto(tensor).SerializeToString()
        entry = _field(_MAP_KEY, name.encode()) + _field(_MAP_VALUE, value)
        request += _field(_REQUEST_INPUTS, entry)
    return _field(_LOG_PREDICT, _field(_PREDICT_REQUEST, request))


def _inputs() -> dict[str, dict[str, tf.Tensor]]:
    photo = verification.photos()[0]
    return {
        "serving_default": {"lr": photo.lr},
        "upscale_float": {"lr": images.uint8_to_unit(photo.lr)},
        "upscale_bytes": {"image_bytes": tf.constant([photo.encoded])},
    }


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Returns base 128, least significant group first; all groups but the last have a high bit."""
    groups = bytearray()
    while value >= 1 << 7:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
