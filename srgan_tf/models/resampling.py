"""Layers that change the size of `[B, H, W, C]`, without weights and on both Kerases.

All are made of operations whose gradients have gradients, which a gradient penalty needs
(TensorFlow has none for its bilinear resize).
"""

import tensorflow as tf


class _Enlarge(tf.keras.layers.Layer):
    """Base of layers that multiply both sides by the whole number `scale`."""

    def __init__(self, scale: int, **kwargs):
        """Makes the layer; `scale` is at least 2."""
        super().__init__(**kwargs)
        self.scale = scale

    def compute_output_shape(self, input_shape):
        """Returns the static output shape; unknown sides stay unknown."""
        batch, height, width, channels = input_shape
        grown = [None if side is None else side * self.scale for side in (height, width)]
        return (batch, *grown, channels)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


@tf.keras.utils.register_keras_serializable("srgan_tf")
class PixelShuffle(_Enlarge):
    """Sub-pixel rearrangement `[B, H, W, C * scale**2]` to `[B, H * scale, W * scale, C]`.

    Reference: Shi et al. 2016 (arXiv 1609.05158), equation 4. One that is put off leaves its inputs
    stacked for the layers behind it, the last of which does it (stacked.py).
    """

    def __init__(self, scale: int, put_off: bool = False, **kwargs):
        """Args: the factor, and whether a layer behind does it."""
        super().__init__(scale, **kwargs)
        self.put_off = put_off

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the rearranged `inputs`."""
        return tf.identity(inputs) if self.put_off else tf.nn.depth_to_space(inputs, self.scale)

    def compute_output_shape(self, input_shape):
        """Returns the static output shape; unknown sides stay unknown."""
        if self.put_off:
            return input_shape
        *grown, channels = super().compute_output_shape(input_shape)
        return (*grown, channels // self.scale**2)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "put_off": self.put_off}


@tf.keras.utils.register_keras_serializable("srgan_tf")
class Nearest(_Enlarge):
    """Nearest-neighbour enlargement: every pixel becomes a square of `scale` x `scale`."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `[B, H * scale, W * scale, C]`."""
        return tf.nn.depth_to_space(tf.concat([inputs] * self.scale**2, axis=-1), self.scale)


@tf.keras.utils.register_keras_serializable("srgan_tf")
class BilinearDouble(_Enlarge):
    """Bilinear enlargement by 2, pixel centres half-way between, edges repeated.

    The same as `tf.image.resize(..., "bilinear")` and torch's `align_corners=False`.
    """

    def __init__(self, **kwargs):
        """Makes the layer."""
        super().__init__(2, **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `[B, 2 * H, 2 * W, C]`."""
        padded = tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
        above, row, below = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
        phases = []
        for rows in (0.25 * above + 0.75 * row, 0.75 * row + 0.25 * below):
            left, column, right = rows[:, :, :-2], rows[:, :, 1:-1], rows[:, :, 2:]
            phases += [0.25 * left + 0.75 * column, 0.75 * column + 0.25 * right]
        return tf.nn.depth_to_space(tf.concat(phases, axis=-1), 2)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {name: value for name, value in super().get_config().items() if name != "scale"}


@tf.keras.utils.register_keras_serializable("srgan_tf")
class PadToMultiple(tf.keras.layers.Layer):
    """Repeats the last row and column until both sides are multiples of `multiple`.

    Networks with strided convolutions need it, and tiles that start at multiples of it.
    """

    def __init__(self, multiple: int, **kwargs):
        """Makes the layer; `multiple` is the product of the strides that follow."""
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `inputs` padded below and on the right."""
        for axis in (1, 2):
            size = tf.shape(inputs)[axis]
            # Positive numbers only: ONNX divides towards zero.
            padded = (size + self.multiple - 1) // self.multiple * self.multiple
            inputs = tf.gather(inputs, tf.minimum(tf.range(padded), size - 1), axis=axis)
        return inputs

    def compute_output_shape(self, input_shape):
        """Returns the static output shape; unknown sides stay unknown."""
        batch, *sides, channels = input_shape
        padded = [None if side is None else -(-side // self.multiple) for side in sides]
        padded = [None if side is None else side * self.multiple for side in padded]
        return (batch, *padded, channels)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "multiple": self.multiple}


@tf.keras.utils.register_keras_serializable("srgan_tf")
class CropLike(tf.keras.layers.Layer):
    """Takes `PadToMultiple` back: `[features, like]` becomes features of the size of `like`."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Returns the upper left of the features."""
        features, like = inputs
        height, width = tf.unstack(tf.shape(like)[1:3])
        return features[:, :height, :width]

    def compute_output_shape(self, input_shape):
        """Returns the sides of the second input with the channels of the first."""
        features, like = input_shape
        return (*like[:3], features[3])
