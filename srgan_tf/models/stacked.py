"""The tail of a sub-pixel generator, computed before its last pixel shuffle instead of after it.

Stacked features `[B, H, W, f * f * C]` are what a pixel shuffle by f would spread over
`[B, f * H, f * W, C]`. A pointwise layer does the same to either, and a convolution of size k on
the large grid is one of size 2 * ceil(k // 2 / f) + 1 on the small grid, from all channels to all.
With 64 channels in and 3 out the second is far faster: 9x9 64 -> 3 becomes 5x5 256 -> 12. Same
weights, same result, borders included: zeros outside of the small grid are the zeros outside of the
large one.
"""

import tensorflow as tf

from srgan_tf.models import layers


@tf.keras.utils.register_keras_serializable("srgan_tf")
class StackedConv2D(layers.Conv2D):
    """A convolution ("same", stride 1) of stacked features, and the pixel shuffle put off so far.

    `[B, H, W, factor**2 * C]` becomes `[B, factor * H, factor * W, filters]`. Its weights are those
    of the convolution that would follow the shuffle: kernel `[k, k, C, filters]` with k odd, bias.
    """

    def __init__(self, filters: int, kernel_size: int, factor: int, **kwargs):
        """Args as Conv2D's; `factor` is that of the shuffle."""
        super().__init__(filters, kernel_size, padding="same", **kwargs)
        self.factor = factor

    def build(self, input_shape):
        """Makes the weights of the convolution behind the shuffle."""
        *sides, channels = input_shape
        super().build((*sides, channels // self.factor**2))
        self.input_spec = None  # The base class expects C channels.

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the convolved and shuffled `inputs`."""
        # Made in float32, so that the gradient's factor**2 parts are added up in float32.
        kernel = stack_kernel(tf.cast(self.kernel, tf.float32), self.factor)
        outputs = tf.nn.conv2d(inputs, tf.cast(kernel, inputs.dtype), 1, "SAME")
        bias = tf.tile(tf.cast(self.bias, outputs.dtype), [self.factor**2])
        return tf.nn.depth_to_space(tf.nn.bias_add(outputs, bias), self.factor)

    def compute_output_shape(self, input_shape):
        """Returns the static output shape; unknown sides stay unknown."""
        batch, *sides, _ = input_shape
        return (batch, *(None if x is None else x * self.factor for x in sides), self.filters)

    def get_config(self):
        """Returns the constructor's arguments."""
        made = {**super().get_config(), "factor": self.factor}
        return {name: value for name, value in made.items() if name != "padding"}


def stack_kernel(kernel: tf.Tensor, factor: int) -> tf.Tensor:
    """Returns the kernel that does to stacked features what `kernel` does to shuffled ones.

    The large pixel f * i + p (p < f; likewise in the other direction) sees the large pixels
    f * (i + q) + r with the kernel's element f * q + r - p from its centre: p is the channel's
    place in the output's stack, r that in the input's.

    Args:
        kernel: `[k, k, C, O]`, k odd.
        factor: f, that of the shuffle.

    Returns:
        `[K, K, f * f * C, f * f * O]`, K = 2 * ceil(k // 2 / f) + 1; made of slices alone, so that
        the gradient is cheap and deterministic.
    """
    radius = kernel.shape[0] // 2
    reach = -(-radius // factor)  # Of the small kernel: K = 2 * reach + 1.
    size = 2 * reach + 1
    # The elements f * q + r - p run from -f * reach - (f - 1) to f * reach + (f - 1).
    border = factor * reach + factor - 1 - radius
    padded = tf.pad(kernel, [[border, border], [border, border], [0, 0], [0, 0]])
    places = range(factor - 1, -1, -1)  # Where f * q + r - p begins, for p = 0, 1, ...
    windows = [
        padded[row : row + factor * size, column : column + factor * size]
        for row in places
        for column in places
    ]
    channels, filters = kernel.shape[2:]
    stack = tf.reshape(tf.stack(windows, axis=-2), [size, factor, size, factor, channels, -1])
    stack = tf.transpose(stack, [0, 2, 1, 3, 4, 5])
    return tf.reshape(stack, [size, size, factor**2 * channels, factor**2 * filters])
