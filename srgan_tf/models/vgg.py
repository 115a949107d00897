"""The frozen VGG feature extractor: RGB in [-1, 1] becomes named feature maps (paper, equation 5).

Built here instead of taken from keras.applications, so that it ends at the deepest layer asked for
and can give a layer's output before its ReLU. Layers have the names of keras.applications
(`block1_conv1` ... `block5_conv4`); the paper's VGG22 is `block2_conv2` of vgg19, its VGG54
`block5_conv4`. Called with `training=False`; never trained, checkpointed or exported.
"""

from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from srgan_tf import config as config_lib
from srgan_tf import images, registry
from srgan_tf.models import layers, vgg_weights
from srgan_tf.models import precision as precision_lib

# Of the convolutions of each block.
_FILTERS = (64, 128, 256, 512, 512)
# Trained features reach some 10^4, and float16 ends at 65504: there all of them are this much
# smaller. Exact, for the network is linear but for ReLUs and maxima, and this is a power of two.
_FLOAT16_RANGE = 2.0**-6


@tf.keras.utils.register_keras_serializable("srgan_tf")
class CaffePreprocessing(tf.keras.layers.Layer):
    """RGB in [-1, 1] to the BGR minus channel means that the ImageNet VGGs were trained on."""

    def __init__(self, scale: float = 1.0, **kwargs):
        """Makes the layer; `scale` multiplies what comes out."""
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `inputs` preprocessed; `[B, H, W, 3]` like them."""
        return images.signed_to_caffe(inputs) * self.scale

    def compute_output_shape(self, input_shape):
        """Returns `input_shape`."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


def feature_model(
    config: config_lib.VggConfig, layer_names: Sequence[str], precision: str = "float32"
) -> tf.keras.Model:
    """Builds the frozen extractor of `layer_names`, loaded with the weights that `config` names.

    Args:
        config: Network, weights, activation and feature scale.
        layer_names: One or several convolutions by name; the network ends at the deepest of them.
        precision: What it computes in (precision.py); features are float32 in any.

    Returns:
        A model from `[B, H, W, 3]` in [-1, 1], H and W open, to a dict of float32 feature maps by
        layer name, multiplied by `config.feature_scale`.

    Raises:
        errors.InputError: a layer is unknown, or the weights cannot be had or do not fit.
    """
    scale = _FLOAT16_RANGE if precision == "float16" else 1.0
    with precision_lib.scope(precision):
        model = _build(config, layer_names, scale)
    if config.weights == "random":
        logging.warning(
            "The VGG of the content loss has RANDOM weights (vgg_weights=random): its losses mean "
            "nothing. Use this for tests only."
        )
    else:
        used = [layer for layer in model.layers if isinstance(layer, tf.keras.layers.Conv2D)]
        shapes = {layer.name: tuple(layer.kernel.shape) for layer in used}
        weights = vgg_weights.load(config.network, config.weights, shapes)
        for layer in used:
            kernel, bias = weights[layer.name]
            layer.set_weights([kernel, bias * scale])
    model.trainable = False
    return model


def _build(
    config: config_lib.VggConfig, layer_names: Sequence[str], scale: float
) -> tf.keras.Model:
    if not layer_names:
        raise ValueError("feature_model needs at least one layer name.")
    convs = vgg_weights.conv_names(config.network)
    position = {name: index for index, name in enumerate(convs)}
    deepest = max(registry.lookup(position, name, "VGG layer") for name in layer_names)
    rgb = tf.keras.Input((None, None, 3), name="rgb")
    # In float32: the rest rounds only what is BGR already.
    features = CaffePreprocessing(scale, dtype="float32", name="caffe_preprocessing")(rgb)
    outputs = {}
    for name in convs[: deepest + 1]:
        block = int(name[len("block")])
        if block > 1 and name.endswith("_conv1"):
            pool = tf.keras.layers.MaxPooling2D(2, name=f"block{block - 1}_pool")
            features = pool(features)
        conv = layers.Conv2D(_FILTERS[block - 1], 3, padding="same", name=name)
        before = conv(features)
        features = tf.keras.layers.ReLU(name=f"{name}_relu")(before)
        if name in layer_names:
            chosen = features if config.activation == "after" else before
            scaled = tf.keras.layers.Rescaling(
                config.feature_scale / scale, dtype="float32", name=f"{name}_features"
            )
            outputs[name] = scaled(chosen)
    return tf.keras.Model(rgb, outputs, name=config.network)
