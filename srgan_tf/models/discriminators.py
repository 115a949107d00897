"""Discriminators: HR or SR images in [-1, 1] become logits `[B, 1]`; positive means real.

All are functional Keras models on float32 `[B, crop_size, crop_size, 3]`. Real and fake batches go
in separately, so each is normalized by its own statistics. Add one: a function here and a line in
`DISCRIMINATORS`.
"""

from collections.abc import Callable

import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors, registry
from srgan_tf.models import layers

# (multiple of the first convolution's filters, stride) of each convolution; paper, figure 4.
_SRGAN_CONVS = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2))
_SRGAN_MIN_CROP = 16  # Four strides of 2 leave one position.


def srgan(*, crop_size: int, filters: int, dense_units: int) -> tf.keras.Model:
    """The paper's discriminator (Ledig et al. 2017, figure 4), without the final sigmoid.

    Eight 3x3 convolutions with LeakyReLU 0.2, batch normalization in all but the first, then two
    dense layers. Odd sides are padded: a stride of 2 leaves ceil(side / 2).

    Args:
        crop_size: Side of the square input in HR pixels, at least 16.
        filters: Channels of the first convolution (paper: 64); the last has eight times as many.
        dense_units: Units of the hidden dense layer (paper: 1024).

    Raises:
        errors.InputError: `crop_size` is too small.
    """
    if crop_size < _SRGAN_MIN_CROP:
        raise errors.InputError(
            f"Discriminator srgan needs crops of at least {_SRGAN_MIN_CROP} pixels, not "
            f"{crop_size}: raise crop_size."
        )
    image = tf.keras.Input((crop_size, crop_size, 3), name="image")
    features = image
    for index, (multiple, stride) in enumerate(_SRGAN_CONVS, start=1):
        name = f"conv{index}"
        features = tf.keras.layers.Conv2D(
            filters * multiple, 3, strides=stride, padding="same", name=name
        )(features)
        if index > 1:
            features = layers.batch_norm(f"{name}_bn")(features)
        features = _leaky_relu(f"{name}_lrelu")(features)
    features = tf.keras.layers.Flatten(name="flatten")(features)
    features = tf.keras.layers.Dense(dense_units, name="dense")(features)
    logits = tf.keras.layers.Dense(1, name="logit")(_leaky_relu("dense_lrelu")(features))
    return tf.keras.Model(image, logits, name="srgan")


DISCRIMINATORS: dict[str, Callable[..., tf.keras.Model]] = {
    "srgan": srgan,
}


def build(config: config_lib.DiscriminatorConfig, crop_size: int) -> tf.keras.Model:
    """Builds the discriminator that `config` names; unknown names raise `errors.InputError`."""
    make = registry.lookup(DISCRIMINATORS, config.name, "discriminator")
    return make(crop_size=crop_size, filters=config.filters, dense_units=config.dense_units)


def _leaky_relu(name: str) -> tf.keras.layers.LeakyReLU:
    # By position: Keras 2 calls the slope alpha, Keras 3 negative_slope.
    return tf.keras.layers.LeakyReLU(0.2, name=name)
