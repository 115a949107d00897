"""Generators: an LR image in [0, 1] becomes an SR image in [-1, 1], `scale` times as large.

All are functional Keras models on `[B, H, W, 3]` float32 with H and W left open, so one set of
weights serves every image size. A generator without a final tanh may overshoot [-1, 1] a little;
values are clipped when they are encoded. Add one: a function here and a line in `GENERATORS`.
"""

from collections.abc import Callable

import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import registry
from srgan_tf.models import layers

# The factors of the successive sub-pixel stages.
_SHUFFLES = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}


def srresnet(*, scale: int, filters: int, blocks: int) -> tf.keras.Model:
    """The paper's generator (Ledig et al. 2017, figure 4): residual trunk, then sub-pixel stages.

    With 64 filters and 16 blocks at scale 4 it has 1,554,883 parameters. Scale 3 has one stage of
    factor 3, scale 8 three of factor 2 (the paper has scale 4 alone). Residual branches start at
    zero (see `layers.batch_norm`), by which short trainings get further.

    Args:
        scale: Upscaling factor: 2, 3, 4 or 8.
        filters: Channels of the trunk.
        blocks: Residual blocks.
    """
    lr = tf.keras.Input((None, None, 3), name="lr")
    head = layers.prelu("head_prelu")(_conv(filters, 9, "head_conv")(lr))
    features = head
    for index in range(1, blocks + 1):
        features = _residual_block(features, filters, f"block{index:02d}")
    features = _conv(filters, 3, "trunk_conv")(features)
    features = layers.batch_norm("trunk_bn", gamma=0.0)(features)
    features = tf.keras.layers.Add(name="trunk_add")([features, head])
    for index, factor in enumerate(_SHUFFLES[scale], start=1):
        features = _subpixel(features, filters, factor, f"upsample{index}")
    sr = _conv(3, 9, "tail_conv")(features)
    sr = tf.keras.layers.Activation("tanh", name="tail_tanh")(sr)
    return tf.keras.Model(lr, sr, name="srresnet")


def lite(*, scale: int, filters: int, blocks: int) -> tf.keras.Model:
    """A fast generator for CPUs and short trainings: all work at the LR size, no normalization.

    Residual blocks as in EDSR (Lim et al. 2017, arXiv 1707.02921: conv, ReLU, conv), one sub-pixel
    stage, and the enlarged input itself added at the end, so that it starts from nearest-neighbour
    upscaling and learns the difference. 292,320 parameters with 48 filters and 6 blocks at scale 4.

    Args:
        scale: Upscaling factor: 2, 3, 4 or 8.
        filters: Channels of the trunk.
        blocks: Residual blocks.
    """
    lr = tf.keras.Input((None, None, 3), name="lr")
    head = _conv(filters, 3, "head_conv")(lr)
    features = head
    for index in range(1, blocks + 1):
        block = _conv(filters, 3, f"block{index:02d}_conv1")(features)
        block = tf.keras.layers.ReLU(name=f"block{index:02d}_relu")(block)
        block = _conv(filters, 3, f"block{index:02d}_conv2")(block)
        features = tf.keras.layers.Add(name=f"block{index:02d}_add")([block, features])
    features = _conv(filters, 3, "trunk_conv")(features)
    features = tf.keras.layers.Add(name="trunk_add")([features, head])
    # Every SR pixel of an LR pixel's square starts as that pixel.
    repeated = tf.keras.layers.Concatenate(name="input_repeat")([lr] * scale**2)
    detail = _conv(3 * scale**2, 3, "tail_conv")(features)
    sr = tf.keras.layers.Add(name="tail_add")([detail, repeated])
    sr = layers.PixelShuffle(scale, name="tail_shuffle")(sr)
    sr = layers.UnitToSigned(name="tail_signed")(sr)
    return tf.keras.Model(lr, sr, name="lite")


GENERATORS: dict[str, Callable[..., tf.keras.Model]] = {
    "srresnet": srresnet,
    "lite": lite,
}


def build(config: config_lib.GeneratorConfig, scale: int) -> tf.keras.Model:
    """Builds the generator that `config` names; unknown names raise `errors.InputError`."""
    make = registry.lookup(GENERATORS, config.name, "generator")
    return make(scale=scale, filters=config.filters, blocks=config.blocks)


def _conv(filters: int, size: int, name: str) -> tf.keras.layers.Conv2D:
    return tf.keras.layers.Conv2D(filters, size, padding="same", name=name)


def _residual_block(inputs: tf.Tensor, filters: int, name: str) -> tf.Tensor:
    features = _conv(filters, 3, f"{name}_conv1")(inputs)
    features = layers.batch_norm(f"{name}_bn1")(features)
    features = layers.prelu(f"{name}_prelu")(features)
    features = _conv(filters, 3, f"{name}_conv2")(features)
    features = layers.batch_norm(f"{name}_bn2", gamma=0.0)(features)
    return tf.keras.layers.Add(name=f"{name}_add")([features, inputs])


def _subpixel(inputs: tf.Tensor, filters: int, factor: int, name: str) -> tf.Tensor:
    features = _conv(filters * factor**2, 3, f"{name}_conv")(inputs)
    features = layers.PixelShuffle(factor, name=f"{name}_shuffle")(features)
    return layers.prelu(f"{name}_prelu")(features)
