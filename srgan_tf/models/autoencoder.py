"""An auto-encoder style generator: strided encoder, decoder with skips, upsampling last."""

import tensorflow as tf

from srgan_tf.models import layers, resampling
from srgan_tf.models import upsampling as upsampling_lib

_SLOPE = 0.2
# Channels of the encoder's levels in multiples of the filters; each halves the sides of the one
# before. 2 at the last, not 4, keeps 16 blocks at 4.7 million parameters instead of 18.9.
_WIDTHS = (1, 2, 2)
_MULTIPLE = 2 ** (len(_WIDTHS) - 1)


def autoencoder(
    *, scale: int, filters: int, blocks: int, norm: str = "none", upsampling: str = "subpixel"
) -> tf.keras.Model:
    """The model that the Keras project before this one planned and did not build; details are ours.

    A 3x3 convolution, two more with stride 2 down to a quarter of the LR size, residual blocks
    there, two decoder stages back up to the LR size, each joined by the encoder's features of its
    size, then the upsampling stages, conv5 and tanh. Sides that 4 does not divide are padded inside
    and cropped again before the upsampling. It sees far: about 8 LR pixels a block.

    Args:
        scale: Upscaling factor: 2, 3, 4 or 8.
        filters: Channels at the LR size; twice as many below.
        blocks: Residual blocks at a quarter of the LR size.
        norm: batch or none.
        upsampling: A name in `upsampling.UPSAMPLINGS`, for the decoder and the last stages.
    """
    layers.check_norm("autoencoder", norm, ("batch", "none"))
    lr = tf.keras.Input((None, None, 3), name="lr")
    features = resampling.PadToMultiple(_MULTIPLE, name="pad")(lr)
    skips = []
    for level, width in enumerate(_WIDTHS, start=1):
        strides = 1 if level == 1 else 2
        conv = layers.conv(width * filters, 3, f"encoder{level}_conv", strides=strides)
        features = _activate(conv(features), f"encoder{level}", norm)
        skips.append(features)
    for index in range(1, blocks + 1):
        features = _block(features, _WIDTHS[-1] * filters, f"block{index:02d}", norm)
    enlarge = upsampling_lib.UPSAMPLINGS[upsampling]
    for level in range(len(_WIDTHS) - 1, 0, -1):
        name, channels = f"decoder{level}", _WIDTHS[level - 1] * filters
        features = _activate(enlarge(features, channels, 2, f"{name}_up"), f"{name}_up", norm)
        features = tf.keras.layers.Concatenate(name=f"{name}_skip")([features, skips[level - 1]])
        features = _activate(layers.conv(channels, 3, f"{name}_conv")(features), name, norm)
    features = resampling.CropLike(name="crop")([features, lr])
    rgb = upsampling_lib.to_rgb(
        features,
        scale=scale,
        filters=filters,
        upsampling=upsampling,
        activation=lambda name, _: layers.leaky_relu(_SLOPE, f"{name}_lrelu"),
        size=5,
    )
    sr = layers.tanh("tail_tanh")(rgb)
    return tf.keras.Model(lr, sr, name="autoencoder")


def _activate(features: tf.Tensor, name: str, norm: str) -> tf.Tensor:
    if norm == "batch":
        features = layers.batch_norm(f"{name}_bn")(features)
    return layers.leaky_relu(_SLOPE, f"{name}_lrelu")(features)


def _block(inputs: tf.Tensor, filters: int, name: str, norm: str) -> tf.Tensor:
    features = _activate(layers.conv(filters, 3, f"{name}_conv1")(inputs), f"{name}_1", norm)
    if norm == "batch":
        features = layers.conv(filters, 3, f"{name}_conv2")(features)
        features = layers.batch_norm(f"{name}_2_bn", gamma=0.0)(features)
    else:
        last = layers.conv(filters, 3, f"{name}_conv2", initializer=layers.small_init())
        features = last(features)
    return layers.Sum(name=f"{name}_add")([features, inputs])
