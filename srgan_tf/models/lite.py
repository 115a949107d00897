"""A fast generator for CPUs, phones and short trainings."""

import tensorflow as tf

from srgan_tf.models import layers, resampling
from srgan_tf.models import upsampling as upsampling_lib


def lite(
    *, scale: int, filters: int, blocks: int, norm: str = "none", upsampling: str = "subpixel"
) -> tf.keras.Model:
    """A fast generator for CPUs and short trainings: all work at the LR size, no normalization.

    Residual blocks as in EDSR (Lim et al. 2017, arXiv 1707.02921: conv, ReLU, conv), one sub-pixel
    stage, and the enlarged input itself added at the end, so that it starts near nearest-neighbour
    upscaling and learns the difference. Blocks and the sub-pixel kernel start small, by which it
    learns several times as fast as from common weights (docs/EXPERIMENTS.md). 292,320 parameters
    with 48 filters and 6 blocks at scale 4.

    Args:
        scale: Upscaling factor: 2, 3, 4 or 8.
        filters: Channels of the trunk.
        blocks: Residual blocks.
        norm: none.
        upsampling: A name in `upsampling.UPSAMPLINGS`, in one stage that ends in RGB. For all but
            the sub-pixel ones the last layer works at the SR size, which costs scale**2 as much.
    """
    layers.check_norm("lite", norm, ("none",))
    lr = tf.keras.Input((None, None, 3), name="lr")
    head = layers.conv(filters, 3, "head_conv")(lr)
    features = head
    for index in range(1, blocks + 1):
        block = layers.conv(filters, 3, f"block{index:02d}_conv1")(features)
        block = tf.keras.layers.ReLU(name=f"block{index:02d}_relu")(block)
        block = layers.conv(filters, 3, f"block{index:02d}_conv2", initializer=layers.small_init())(
            block
        )
        features = layers.Sum(name=f"block{index:02d}_add")([block, features])
    features = layers.conv(filters, 3, "trunk_conv")(features)
    features = layers.Sum(name="trunk_add")([features, head])
    sr = _add_to_input(features, lr, scale, upsampling)
    sr = layers.UnitToSigned(dtype="float32", name="tail_signed")(sr)
    return tf.keras.Model(lr, sr, name="lite")


def _add_to_input(features: tf.Tensor, lr: tf.Tensor, scale: int, upsampling: str) -> tf.Tensor:
    """Enlarges features and input and adds them: in float32, where bfloat16 would lose half a bit.

    The sub-pixel ones are added before the shuffle, at the LR size.
    """
    if upsampling not in upsampling_lib.SUBPIXEL_KERNELS:
        repeated = resampling.Nearest(scale, dtype="float32", name="input_nearest")(lr)
        detail = upsampling_lib.UPSAMPLINGS[upsampling](features, 3, scale, "tail")
        return layers.Sum(dtype="float32", name="tail_add")([detail, repeated])
    # Every SR pixel of an LR pixel's square starts as that pixel.
    repeat = tf.keras.layers.Concatenate(dtype="float32", name="input_repeat")
    repeated = repeat([lr] * scale**2)
    initializer = upsampling_lib.SUBPIXEL_KERNELS[upsampling](scale)
    if upsampling == "subpixel":
        # ICNR's kernels start equal, and training takes long to tell them apart. Small ones start
        # with a faint grid, and a hundred steps leave nothing of it that the doctor would see.
        initializer = layers.small_init()
    detail = layers.conv(3 * scale**2, 3, "tail_conv", initializer=initializer)(features)
    sr = layers.Sum(dtype="float32", name="tail_add")([detail, repeated])
    return resampling.PixelShuffle(scale, dtype="float32", name="tail_shuffle")(sr)
