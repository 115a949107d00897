"""Discriminators: HR or SR images in [-1, 1] become logits; positive means real.

All are functional Keras models on float32 `[B, crop_size, crop_size, 3]`; logits are `[B, 1]`, or a
map `[B, h, w, 1]` of one logit per region. Real and fake batches go in separately, so each is
normalized by its own statistics. Add one: a function here and a line in `DISCRIMINATORS`; the
default of its `norm` is the architecture's own, which `auto` stands for.
"""

import dataclasses
import inspect
from collections.abc import Callable

import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors, registry
from srgan_tf.models import layers, resampling, spectral
from srgan_tf.models import precision as precision_lib


def _batch(name: str) -> tf.keras.layers.Layer:
    """Batch normalization by the statistics of all replicas (synchronized)."""
    return layers.batch_norm(f"{name}_bn")


def _instance(name: str) -> tf.keras.layers.Layer:
    """Instance normalization: each image by its own statistics."""
    return layers.InstanceNorm(name=f"{name}_in")


def _spectral(name: str) -> None:
    """Spectral normalization of kernels: in the convolutions and dense layers themselves."""
    del name


def _none(name: str) -> None:
    """No normalization."""
    del name


# Makes the layer after each inner convolution, given that one's name; None is no layer.
NORMS: dict[str, Callable[[str], tf.keras.layers.Layer | None]] = {
    "batch": _batch,
    "instance": _instance,
    "spectral": _spectral,
    "none": _none,
}

# (multiple of the first convolution's filters, stride) of each convolution; paper, figure 4.
_SRGAN_CONVS = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2))
_SMALL_CONVS = ((2, 2), (4, 2))
_PATCH_CONVS = ((1, 2), (2, 2), (4, 2), (8, 1))


def srgan(*, crop_size: int, filters: int, dense_units: int, norm: str = "batch") -> tf.keras.Model:
    """The paper's discriminator (Ledig et al. 2017, figure 4), without the final sigmoid.

    Eight 3x3 convolutions with LeakyReLU 0.2, normalization in all but the first, then two dense
    layers. Odd sides are padded: a stride of 2 leaves ceil(side / 2).

    Args:
        crop_size: Side of the square input in HR pixels, at least 16.
        filters: Channels of the first convolution (paper: 64); the last has eight times as many.
        dense_units: Units of the hidden dense layer (paper: 1024).
        norm: A name in `NORMS`.

    Raises:
        errors.InputError: `crop_size` is too small.
    """
    _check_crop("srgan", crop_size, norm, strides=16, smallest=16)
    image = tf.keras.Input((crop_size, crop_size, 3), name="image")
    features = _convs(image, _SRGAN_CONVS, filters, size=3, slope=0.2, norm=norm)
    logits = _dense_head(features, dense_units, slope=0.2, norm=norm)
    return tf.keras.Model(image, logits, name="srgan")


def srgan_small(
    *, crop_size: int, filters: int, dense_units: int, norm: str = "batch"
) -> tf.keras.Model:
    """The "small" one of the Keras project before this: conv 128, conv 256, dense 128, 1.

    3x3 convolutions with LeakyReLU 0.3, normalization in the second. Its strides are not known;
    2 in both here.

    Args:
        crop_size: Side of the square input in HR pixels, at least 8.
        filters: Half the channels of the first convolution, a quarter of the second's.
        dense_units: Eight times the units of the hidden dense layer, so that the paper's 1024 give
            the original's 128.
        norm: A name in `NORMS`.

    Raises:
        errors.InputError: `crop_size` is too small.
    """
    _check_crop("srgan_small", crop_size, norm, strides=4, smallest=8)
    image = tf.keras.Input((crop_size, crop_size, 3), name="image")
    features = _convs(image, _SMALL_CONVS, filters, size=3, slope=0.3, norm=norm)
    logits = _dense_head(features, max(dense_units // 8, 1), slope=0.3, norm=norm)
    return tf.keras.Model(image, logits, name="srgan_small")


def patch(*, crop_size: int, filters: int, dense_units: int, norm: str = "batch") -> tf.keras.Model:
    """PatchGAN (Isola et al. 2017, arXiv 1611.07004): a logit for each patch of 70 x 70 pixels.

    4x4 convolutions with LeakyReLU 0.2, three of stride 2 and two of stride 1; normalization in all
    but the first and the last. 2,764,737 parameters with 64 filters, without norm. Differs: sides
    are kept by the last two (theirs shrink by one pixel), so logits are
    `[B, ceil(crop_size / 8), ceil(crop_size / 8), 1]`.

    Args:
        crop_size: Side of the square input in HR pixels, at least 16.
        filters: Channels of the first convolution (64); the last but one has eight times as many.
        dense_units: Not used: it has no dense layer.
        norm: A name in `NORMS`.

    Raises:
        errors.InputError: `crop_size` is too small.
    """
    del dense_units
    _check_crop("patch", crop_size, norm, strides=8, smallest=16)
    image = tf.keras.Input((crop_size, crop_size, 3), name="image")
    features = _convs(image, _PATCH_CONVS, filters, size=4, slope=0.2, norm=norm)
    logits = _conv(1, 4, "logit", norm, dtype="float32")(features)
    return tf.keras.Model(image, logits, name="patch")


def unet(
    *, crop_size: int, filters: int, dense_units: int, norm: str = "spectral"
) -> tf.keras.Model:
    """Real-ESRGAN's U-Net (Wang et al. 2021, arXiv 2107.10833, figure 6): a logit for each pixel.

    As in their published code: three 4x4 convolutions of stride 2 down, bilinear enlargement and
    skips up, LeakyReLU 0.2; the first and the last convolution are not normalized, the others have
    no bias (unless norm is none). 4,376,897 trainable parameters with 64 filters. Logits are
    `[B, crop_size, crop_size, 1]`.

    Args:
        crop_size: Side of the square input in HR pixels, a multiple of 8 from 16.
        filters: Channels of the first convolution (64); the deepest has eight times as many.
        dense_units: Not used: it has no dense layer.
        norm: A name in `NORMS`.

    Raises:
        errors.InputError: `crop_size` is too small, or 8 does not divide it.
    """
    del dense_units
    _check_crop("unet", crop_size, norm, strides=8, smallest=16)
    if crop_size % 8:
        raise errors.InputError(
            f"Discriminator unet needs crops whose side 8 divides, not {crop_size}: set crop_size "
            f"to {crop_size // 8 * 8} or {crop_size // 8 * 8 + 8}, if the scale allows."
        )

    def block(inputs: tf.Tensor, multiple: int, name: str, size: int = 3) -> tf.Tensor:
        strides = 2 if size == 4 else 1
        conv = _conv(filters * multiple, size, name, norm, strides=strides, use_bias=norm == "none")
        return _activate(conv(inputs), name, 0.2, norm)

    image = tf.keras.Input((crop_size, crop_size, 3), name="image")
    features = _activate(_conv(filters, 3, "conv0", "none")(image), "conv0", 0.2, "none")
    skips = []
    for index in (1, 2, 3):
        skips.append(features)
        features = block(features, 2**index, f"conv{index}", size=4)
    for index in (4, 5, 6):
        features = resampling.BilinearDouble(name=f"conv{index}_double")(features)
        features = block(features, 2 ** (6 - index), f"conv{index}")
        features = layers.Sum(name=f"conv{index}_skip")([features, skips.pop()])
    for index in (7, 8):
        features = block(features, 1, f"conv{index}")
    logits = _conv(1, 3, "logit", "none", dtype="float32")(features)
    return tf.keras.Model(image, logits, name="unet")


DISCRIMINATORS: dict[str, Callable[..., tf.keras.Model]] = {
    "srgan": srgan,
    "srgan_small": srgan_small,
    "patch": patch,
    "unet": unet,
}


def resolve(config: config_lib.DiscriminatorConfig) -> config_lib.DiscriminatorConfig:
    """Returns `config` with the architecture's own norm where it says `auto`.

    Raises:
        errors.InputError: the name is unknown.
    """
    make = registry.lookup(DISCRIMINATORS, config.name, "discriminator")
    if config.norm != config_lib.AUTO:
        return config
    return dataclasses.replace(config, norm=inspect.signature(make).parameters["norm"].default)


def build(
    config: config_lib.DiscriminatorConfig, crop_size: int, precision: str = "float32"
) -> tf.keras.Model:
    """Builds the discriminator that `config` describes; errors as for `DISCRIMINATORS`' entries.

    `precision` is what it computes in (precision.py); variables and logits are float32 in any.
    """
    config = resolve(config)
    registry.lookup(NORMS, config.norm, "discriminator_norm")
    with precision_lib.scope(precision):
        return DISCRIMINATORS[config.name](
            crop_size=crop_size,
            filters=config.filters,
            dense_units=config.dense_units,
            norm=config.norm,
        )


def _check_crop(name: str, crop_size: int, norm: str, *, strides: int, smallest: int) -> None:
    # The normalization of a single position by its own statistics is zero, whatever it was.
    if norm == "instance":
        smallest = max(smallest, strides + 1)
    if crop_size < smallest:
        what = f"{name} with discriminator_norm=instance" if norm == "instance" else name
        raise errors.InputError(
            f"Discriminator {what} needs crops of at least {smallest} pixels, not {crop_size}: "
            "raise crop_size."
        )


def _conv(
    filters: int, size: int, name: str, norm: str, *, strides: int = 1, **options
) -> tf.keras.layers.Conv2D:
    make = spectral.SpectralConv2D if norm == "spectral" else layers.Conv2D
    return make(filters, size, strides=strides, padding="same", name=name, **options)


def _activate(features: tf.Tensor, name: str, slope: float, norm: str) -> tf.Tensor:
    normalize = NORMS[norm](name)
    if normalize is not None:
        features = normalize(features)
    return layers.leaky_relu(slope, f"{name}_lrelu")(features)


def _convs(
    features: tf.Tensor,
    convs: tuple[tuple[int, int], ...],
    filters: int,
    *,
    size: int,
    slope: float,
    norm: str,
) -> tf.Tensor:
    """Stacks `convs`; in the first, batch and instance normalization are left out."""
    for index, (multiple, strides) in enumerate(convs, start=1):
        name = f"conv{index}"
        features = _conv(filters * multiple, size, name, norm, strides=strides)(features)
        features = _activate(features, name, slope, norm if index > 1 else "none")
    return features


def _dense_head(features: tf.Tensor, units: int, *, slope: float, norm: str) -> tf.Tensor:
    dense = spectral.SpectralDense if norm == "spectral" else tf.keras.layers.Dense
    features = tf.keras.layers.Flatten(name="flatten")(features)
    features = layers.leaky_relu(slope, "dense_lrelu")(dense(units, name="dense")(features))
    return dense(1, dtype="float32", name="logit")(features)
