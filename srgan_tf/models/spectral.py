"""Spectral normalization: a convolution and a dense layer that use `kernel / sigma(kernel)`.

Miyato et al. 2018 (arXiv 1802.05957), algorithm 1. With the kernel as a matrix M `[inputs, units]`
and the stored vector u: v = |M u|, u' = |M^T v| (both brought to length 1), sigma = v^T M u'. The
gradient goes through sigma, not through u and v. A call with `training=True` stores u' (one step of
power iteration); any other call, and one under `layers.frozen_statistics`, computes the same u' but
stores nothing. The kernel itself is changed by nobody but the optimizer.

Not tensorflow-addons' layer, which writes the kernel in every training call and leaves sigma out of
the gradient, nor Keras 2's, which fails in a tf.function.
"""

import tensorflow as tf

from srgan_tf.models import layers


class _Spectral(layers.Freezable):
    """Mix-in in front of a Keras layer with a `kernel` whose last axis is the output's."""

    def build(self, input_shape):
        """Makes the layer's weights and the vector u, one element per output."""
        super().build(input_shape)
        # Every replica writes its own copy: kernel and u are the same in all, and so is u'.
        self.u = self.add_weight(
            name="u",
            shape=(self.kernel.shape[-1],),
            initializer=tf.keras.initializers.RandomNormal(),
            trainable=False,
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Applies the normalized kernel; `training` also makes the estimate of sigma better."""
        # Under mixed precision this is the rounded kernel, the one that is applied.
        kernel = tf.cast(self.kernel, tf.float32)
        sigma, u = _power_iteration(kernel, tf.cast(self.u, tf.float32))
        if training and not self.frozen:
            self.u.assign(u)
        outputs = self._apply_kernel(inputs, tf.cast(kernel / sigma, inputs.dtype))
        return outputs + tf.cast(self.bias, outputs.dtype) if self.use_bias else outputs


@tf.keras.utils.register_keras_serializable("srgan_tf")
class SpectralConv2D(_Spectral, tf.keras.layers.Conv2D):
    """A convolution by `kernel / sigma`; arguments as Conv2D's, no activation."""

    def _apply_kernel(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(inputs, kernel, list(self.strides), self.padding.upper())


@tf.keras.utils.register_keras_serializable("srgan_tf")
class SpectralDense(_Spectral, tf.keras.layers.Dense):
    """A dense layer by `kernel / sigma`; arguments as Dense's, no activation."""

    def _apply_kernel(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.matmul(inputs, kernel)


def _power_iteration(kernel: tf.Tensor, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (sigma, the next u) of `kernel` `[..., units]` from `u` `[units]`."""
    matrix = tf.reshape(kernel, [-1, kernel.shape[-1]])
    constant = tf.stop_gradient(matrix)
    v = tf.math.l2_normalize(tf.linalg.matvec(constant, tf.stop_gradient(u)))
    u = tf.math.l2_normalize(tf.linalg.matvec(constant, v, transpose_a=True))
    return tf.tensordot(v, tf.linalg.matvec(matrix, u), axes=1), u
