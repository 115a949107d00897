"""The SRGAN paper's generator, and that of the Keras project which this one succeeds."""

import tensorflow as tf

from srgan_tf.models import layers
from srgan_tf.models import upsampling as upsampling_lib

_NORMS = ("batch", "none")
_SEED_SLOPE = 0.25


def srresnet(
    *, scale: int, filters: int, blocks: int, norm: str = "batch", upsampling: str = "subpixel"
) -> tf.keras.Model:
    """The paper's generator (Ledig et al. 2017, figure 4): residual trunk, then sub-pixel stages.

    With 64 filters and 16 blocks at scale 4 it has 1,554,883 parameters. Scale 3 has one stage of
    factor 3, scale 8 three of factor 2 (the paper has scale 4 alone). Residual branches start at
    zero (see `layers.batch_norm`), by which short trainings get further; without normalization
    they start small.

    Args:
        scale: Upscaling factor: 2, 3, 4 or 8.
        filters: Channels of the trunk.
        blocks: Residual blocks.
        norm: batch or none.
        upsampling: A name in `upsampling.UPSAMPLINGS`; all stages have `filters` channels.
    """
    layers.check_norm("srresnet", norm, _NORMS)
    lr = tf.keras.Input((None, None, 3), name="lr")
    head = layers.prelu("head_prelu")(layers.conv(filters, 9, "head_conv")(lr))
    features = head
    for index in range(1, blocks + 1):
        name = f"block{index:02d}"
        features = _block(features, filters, name, norm, layers.prelu(f"{name}_prelu"))
    features = _conv_norm(features, filters, "trunk_conv", "trunk_bn", norm, ends_branch=True)
    features = layers.Sum(name="trunk_add")([features, head])
    rgb = upsampling_lib.to_rgb(
        features,
        scale=scale,
        filters=filters,
        upsampling=upsampling,
        activation=lambda name, stack: layers.prelu(f"{name}_prelu", stack),
        size=9,
    )
    sr = layers.tanh("tail_tanh")(rgb)
    return tf.keras.Model(lr, sr, name="srresnet")


def srresnet_seed(
    *, scale: int, filters: int, blocks: int, norm: str = "batch", upsampling: str = "nearest_conv"
) -> tf.keras.Model:
    """The generator of the Keras 1 project that this package succeeds.

    conv5, batch normalization, LeakyReLU 0.25; residual blocks without a skip around them all (15,
    "small": 5); stages of twice the filters; conv5 and tanh. It went from deconvolution to
    sub-pixel to nearest + conv3 because of the grids that the first left. Differs: residual
    branches start at zero, and the slope is 0.25 throughout (it had 0.3 in places).

    Args:
        scale: Upscaling factor: 2, 3, 4 or 8.
        filters: Channels of the trunk (the original: 64).
        blocks: Residual blocks (the original: 15).
        norm: batch or none.
        upsampling: A name in `upsampling.UPSAMPLINGS`; all stages have 2 * `filters` channels.
    """
    layers.check_norm("srresnet_seed", norm, _NORMS)
    lr = tf.keras.Input((None, None, 3), name="lr")
    features = layers.conv(filters, 5, "head_conv")(lr)
    if norm == "batch":
        features = layers.batch_norm("head_bn")(features)
    features = layers.leaky_relu(_SEED_SLOPE, "head_lrelu")(features)
    for index in range(1, blocks + 1):
        name = f"block{index:02d}"
        activation = layers.leaky_relu(_SEED_SLOPE, f"{name}_lrelu")
        features = _block(features, filters, name, norm, activation)
    rgb = upsampling_lib.to_rgb(
        features,
        scale=scale,
        filters=2 * filters,
        upsampling=upsampling,
        activation=lambda name, _: layers.leaky_relu(_SEED_SLOPE, f"{name}_lrelu"),
        size=5,
    )
    sr = layers.tanh("tail_tanh")(rgb)
    return tf.keras.Model(lr, sr, name="srresnet_seed")


def _block(
    inputs: tf.Tensor, filters: int, name: str, norm: str, activation: tf.keras.layers.Layer
) -> tf.Tensor:
    features = _conv_norm(inputs, filters, f"{name}_conv1", f"{name}_bn1", norm)
    features = activation(features)
    features = _conv_norm(features, filters, f"{name}_conv2", f"{name}_bn2", norm, ends_branch=True)
    return layers.Sum(name=f"{name}_add")([features, inputs])


def _conv_norm(
    inputs: tf.Tensor, filters: int, conv: str, bn: str, norm: str, *, ends_branch: bool = False
) -> tf.Tensor:
    """Convolution and normalization; the end of a residual branch starts at or near zero."""
    if norm == "none":
        initializer = layers.small_init() if ends_branch else "glorot_uniform"
        return layers.conv(filters, 3, conv, initializer=initializer)(inputs)
    features = layers.conv(filters, 3, conv)(inputs)
    return layers.batch_norm(bn, gamma=0.0 if ends_branch else 1.0)(features)
