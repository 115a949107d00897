"""ESRGAN's generator (RRDBNet)."""

import tensorflow as tf

from srgan_tf.models import layers
from srgan_tf.models import upsampling as upsampling_lib

# Wang et al. 2018 (arXiv 1809.00219), sections 3.1 and 4.1, and their published code.
_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2
_DENSE_BLOCKS = 3
_DENSE_CONVS = 5


def rrdb(
    *, scale: int, filters: int, blocks: int, norm: str = "none", upsampling: str = "nearest_conv"
) -> tf.keras.Model:
    """ESRGAN's generator: residual-in-residual dense blocks, no normalization.

    Wang et al. 2018 (arXiv 1809.00219), figure 4, as in their published code, that of Real-ESRGAN
    too: 16,697,987 parameters with 64 filters and 23 blocks at scale 4 (the small one: 6 blocks).
    Dense blocks grow by half the filters (32 at 64). Convolutions in them start at a tenth of He
    et al.'s initialization. Differs: at scales other than 4 it has as many stages as srresnet.

    Args:
        scale: Upscaling factor: 2, 3, 4 or 8.
        filters: Channels of the trunk.
        blocks: Residual-in-residual dense blocks, of 15 convolutions each.
        norm: none.
        upsampling: A name in `upsampling.UPSAMPLINGS`; all stages have `filters` channels.
    """
    layers.check_norm("rrdb", norm, ("none",))
    lr = tf.keras.Input((None, None, 3), name="lr")
    head = layers.conv(filters, 3, "head_conv")(lr)
    features = head
    for index in range(1, blocks + 1):
        features = _rrdb_block(features, filters, f"block{index:02d}")
    features = layers.conv(filters, 3, "trunk_conv")(features)
    features = layers.Sum(name="trunk_add")([features, head])
    features = upsampling_lib.stages(
        features,
        scale=scale,
        filters=filters,
        upsampling=upsampling,
        activation=lambda name, _: layers.leaky_relu(_SLOPE, f"{name}_lrelu"),
    )
    features = layers.conv(filters, 3, "tail_conv1")(features)
    features = layers.leaky_relu(_SLOPE, "tail_lrelu")(features)
    sr = layers.conv(3, 3, "tail_conv2")(features)
    sr = layers.UnitToSigned(dtype="float32", name="tail_signed")(sr)
    return tf.keras.Model(lr, sr, name="rrdb")


def _rrdb_block(inputs: tf.Tensor, filters: int, name: str) -> tf.Tensor:
    features = inputs
    for index in range(1, _DENSE_BLOCKS + 1):
        features = _dense_block(features, filters, f"{name}_dense{index}")
    return layers.ScaledAdd(_RESIDUAL_SCALE, name=f"{name}_add")([features, inputs])


def _dense_block(inputs: tf.Tensor, filters: int, name: str) -> tf.Tensor:
    """Five convolutions, each of which sees the inputs and all features before it."""
    growth = max(filters // 2, 1)
    seen = inputs
    for index in range(1, _DENSE_CONVS):
        conv = layers.conv(growth, 3, f"{name}_conv{index}", initializer=layers.small_init())
        features = layers.leaky_relu(_SLOPE, f"{name}_lrelu{index}")(conv(seen))
        seen = tf.keras.layers.Concatenate(name=f"{name}_concat{index}")([seen, features])
    last = layers.conv(filters, 3, f"{name}_conv{_DENSE_CONVS}", initializer=layers.small_init())
    return layers.ScaledAdd(_RESIDUAL_SCALE, name=f"{name}_add")([last(seen), inputs])
