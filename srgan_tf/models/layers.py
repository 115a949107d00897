"""Layers that the networks share, and the switch that holds their statistics still.

Everything here works on float32 `[B, H, W, C]` of any value range and on both Kerases. Layers that
change the size are in resampling.py, spectral normalization is in spectral.py.
"""

import collections
import contextlib
import threading
from collections.abc import Iterator

import tensorflow as tf

from srgan_tf import errors, images

# PyTorch's default of 0.1, in Keras' terms; the usual SRGAN implementations train with it. Keras'
# own default of 0.99 needs some 500 steps before the statistics forget their initial values.
_BN_MOMENTUM = 0.9
# Keras' default; published TensorFlow weights of this generator were trained with it.
_BN_EPSILON = 1e-3
# He et al. 2015 (arXiv 1502.01852), section 2.1; also PyTorch's default. The SRGAN paper is silent.
_PRELU_ALPHA = 0.25
# Ulyanov et al. 2016 (arXiv 1607.08022) name none; this is what its usual implementations have.
_IN_EPSILON = 1e-5

# How often a layer is frozen at present: (id of the layer, id of the thread or None for all).
_frozen: collections.Counter[tuple[int, int | None]] = collections.Counter()


@tf.keras.utils.register_keras_serializable("srgan_tf")
class UnitToSigned(tf.keras.layers.Layer):
    """Maps [0, 1] to [-1, 1], for generators that work in the range of their input."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `inputs` in the range of HR images."""
        return images.unit_to_signed(inputs)

    def compute_output_shape(self, input_shape):
        """Returns the shape as it is."""
        return input_shape


@tf.keras.utils.register_keras_serializable("srgan_tf")
class Sum(tf.keras.layers.Layer):
    """Adds tensors of one shape, such as a residual and its shortcut, safely for threads.

    TensorFlow merges an addition into the convolution before it. Where oneDNN runs that (by default
    from AVX512-VNNI on), two threads at a time in the same one use each other's memory: wrong
    pixels or SIGSEGV, with TensorFlow 2.15.1 and 2.21.0 (`MklConvOp::AllocateOutputTensor`). An
    IdentityN between the two, which costs nothing, keeps them apart.
    """

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Returns the sum, shaped like each of them."""
        return tf.add_n(tf.identity_n(inputs))

    def compute_output_shape(self, input_shape):
        """Returns the shape of the first."""
        return input_shape[0]


@tf.keras.utils.register_keras_serializable("srgan_tf")
class ScaledAdd(tf.keras.layers.Layer):
    """Adds a scaled residual: `[residual, inputs]` becomes `scale * residual + inputs`."""

    def __init__(self, scale: float, **kwargs):
        """Makes the layer; `scale` is usually far below 1."""
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Returns the sum, shaped like either input."""
        residual, shortcut = inputs
        return self.scale * residual + shortcut

    def compute_output_shape(self, input_shape):
        """Returns the shape of either input."""
        return input_shape[1]

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


@tf.keras.utils.register_keras_serializable("srgan_tf")
class InstanceNorm(tf.keras.layers.Layer):
    """Normalizes each channel of each image by its own mean and variance over the positions.

    Reference: Ulyanov et al. 2016 (arXiv 1607.08022). The same in training and inference.
    """

    def build(self, input_shape):
        """Makes one scale and one offset per channel."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns normalized `inputs`; statistics are taken in float32."""
        features = tf.cast(inputs, tf.float32)
        mean, variance = tf.nn.moments(features, axes=[1, 2], keepdims=True)
        features = (features - mean) * tf.math.rsqrt(variance + _IN_EPSILON)
        gamma, beta = (tf.cast(weight, tf.float32) for weight in (self.gamma, self.beta))
        return tf.cast(features * gamma + beta, inputs.dtype)

    def compute_output_shape(self, input_shape):
        """Returns the shape as it is."""
        return input_shape


@tf.keras.utils.register_keras_serializable("srgan_tf")
class Conv2D(tf.keras.layers.Conv2D):
    """Keras' convolution, without dilation, groups or activation, and with TensorFlow's bias_add.

    Keras 3 adds the bias as any broadcast tensor, whose gradient is a general reduction.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the convolved `inputs`."""
        outputs = tf.nn.conv2d(inputs, self.kernel, list(self.strides), self.padding.upper())
        return tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs


@tf.keras.utils.register_keras_serializable("srgan_tf")
class PReLU(tf.keras.layers.PReLU):
    """A PReLU of `[B, H, W, C]` with a slope per channel, in half the passes of Keras' own.

    That is for training. Inference has Keras' formula, which others know: OpenVINO makes one layer
    of it.

    With `stack` s the channels are s times C, C of each place after the other, as a pixel shuffle
    takes them; the slopes `[1, 1, C]` count for every place.
    """

    def __init__(self, stack: int = 1, **kwargs):
        """Args: places in the channels, and Keras' own but `shared_axes`."""
        super().__init__(**{**kwargs, "shared_axes": [1, 2]})
        self.stack = stack

    def build(self, input_shape):
        """Makes a slope for each channel of a place."""
        *sides, channels = input_shape
        super().build((*sides, channels // self.stack))
        self.input_spec = None  # The base class expects C channels.

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns inputs, negative ones times their slope."""
        alpha = tf.tile(tf.reshape(tf.cast(self.alpha, inputs.dtype), [-1]), [self.stack])
        if training:
            return _prelu(inputs, alpha)
        return tf.nn.relu(inputs) - alpha * tf.nn.relu(-inputs)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "stack": self.stack}


class Freezable:
    """Mix-in of layers that calls with `training=True` change, unless `frozen_statistics` holds."""

    @property
    def frozen(self) -> bool:
        """Whether this call, in this thread, is to change nothing."""
        return bool(_frozen[id(self), None] or _frozen[id(self), threading.get_ident()])


@tf.keras.utils.register_keras_serializable("srgan_tf")
class BatchNorm(Freezable, tf.keras.layers.BatchNormalization):
    """Batch normalization of `[B, H, W, C]`; `frozen_statistics` holds its moving statistics still.

    A single replica normalizes by TensorFlow's fused operation; several by Keras' synchronized
    statistics, which go over the features five times as often. Weights and results are the same.

    The momentum reads as 1 while the layer is frozen: both Kerases then add exactly zero to the
    moving statistics (as long as the batch's own are finite) and normalize as always.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask=None) -> tf.Tensor:
        """Returns normalized `inputs`; `training` by their own statistics, which it keeps."""
        training = bool(training and self.trainable)
        if training and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return self._synchronized(inputs, mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            *(tf.cast(weight, tf.float32) for weight in (self.gamma, self.beta)),
            mean=None if training else tf.cast(self.moving_mean, tf.float32),
            variance=None if training else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=training,
        )
        if training and not self.frozen:
            self._keep(mean, variance, count=tf.size(inputs) / inputs.shape[-1])
        return outputs

    def _synchronized(self, inputs: tf.Tensor, mask) -> tf.Tensor:
        if self.compute_dtype != "float16":
            return super().call(inputs, training=True, mask=mask)
        moving = (self.moving_mean, self.moving_variance)
        before = [tf.identity(value) for value in moving]
        outputs = super().call(inputs, training=True, mask=mask)
        for value, old in zip(moving, before, strict=True):  # As in `_keep`.
            now = tf.convert_to_tensor(value)
            value.assign(tf.where(tf.math.is_finite(now), now, old))
        return outputs

    def _keep(self, mean: tf.Tensor, variance: tf.Tensor, count: tf.Tensor) -> None:
        """Moves the moving statistics; the variance comes as of a sample of `count` values."""
        # Keras without the fused operation keeps the variance of the values themselves.
        count = tf.cast(count, tf.float32)
        variance *= tf.maximum(count - 1.0, 1.0) / count
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            change = (value - moving) * (1.0 - self.momentum)
            if self.compute_dtype == "float16":  # An update that overflowed is left out.
                change = tf.where(tf.math.is_finite(change), change, 0.0)
            moving.assign_add(change)

    @property
    def momentum(self) -> float:
        """The share of the old moving statistics that one update keeps."""
        return 1.0 if self.frozen else self._momentum

    @momentum.setter
    def momentum(self, value: float) -> None:
        self._momentum = value


def batch_norm(name: str, *, gamma: float = 1.0) -> BatchNorm:
    """Returns batch normalization over the global batch, that is, over all replicas together.

    Args:
        name: the layer's name.
        gamma: what its scale starts from. 0 where a residual branch ends: the block then starts as
            the identity (Goyal et al. 2017, arXiv 1706.02677, section 5.1).
    """
    return BatchNorm(
        momentum=_BN_MOMENTUM,
        epsilon=_BN_EPSILON,
        gamma_initializer=tf.keras.initializers.Constant(gamma),
        synchronized=True,
        name=name,
    )


def check_norm(generator: str, norm: str, choices: tuple[str, ...]) -> None:
    """Raises `errors.InputError` unless `generator` can have `norm`."""
    if norm not in choices:
        raise errors.InputError(
            f"Generator {generator} cannot have generator_norm={norm!r}; choose from "
            f"{[*choices]}, or auto for its own."
        )


def prelu(name: str, stack: int = 1) -> PReLU:
    """Returns a PReLU with one slope per channel, so that weights do not fix the image size.

    Args:
        name: the layer's name.
        stack: the `factor**2` of stacked features (stacked.py), whose places share their slopes.
    """
    return PReLU(stack, alpha_initializer=tf.keras.initializers.Constant(_PRELU_ALPHA), name=name)


def leaky_relu(slope: float, name: str) -> tf.keras.layers.LeakyReLU:
    """Returns a LeakyReLU with `slope` below zero."""
    # By position: Keras 2 calls the slope alpha, Keras 3 negative_slope.
    return tf.keras.layers.LeakyReLU(slope, name=name)


def tanh(name: str) -> tf.keras.layers.Activation:
    """Returns the hyperbolic tangent, in float32 under any precision: it makes the output."""
    return tf.keras.layers.Activation("tanh", dtype="float32", name=name)


def conv(
    filters: int, size: int, name: str, *, strides: int = 1, initializer="glorot_uniform"
) -> Conv2D:
    """Returns a convolution that keeps the size (or divides it by `strides`)."""
    return Conv2D(
        filters, size, strides=strides, padding="same", kernel_initializer=initializer, name=name
    )


def small_init() -> tf.keras.initializers.Initializer:
    """Returns a tenth of He et al.'s normal initialization, for residual branches without norm.

    Wang et al. 2018 (ESRGAN, arXiv 1809.00219), section 3.1: "smaller initialization"; their
    published code has the factor 0.1, by which the variance 2 / fan_in becomes 0.02 / fan_in.
    """
    return tf.keras.initializers.VarianceScaling(0.02, "fan_in", "untruncated_normal")


@tf.custom_gradient
def _prelu(features: tf.Tensor, alpha: tf.Tensor):
    """Returns PReLU of `[B, H, W, C]` with slopes `[C]`, and its gradient."""
    positive = features > 0

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        by_alpha = upstream * tf.minimum(features, tf.zeros([], features.dtype))
        # The sum over all but the channels, which is the gradient of a bias.
        sums = tf.raw_ops.BiasAddGrad(out_backprop=by_alpha)
        return tf.where(positive, upstream, alpha * upstream), sums

    return tf.where(positive, features, alpha * features), gradient


@contextlib.contextmanager
def frozen_statistics(model: tf.keras.Model) -> Iterator[None]:
    """Within it, calls with `training=True` use batch statistics but change no variable.

    Moving statistics of batch normalization and the vectors of spectral normalization stay.

    It acts when the network is called eagerly or *traced*; around a `tf.function` that has been
    traced before it changes nothing. Inside a replica function it holds for that replica's thread
    alone (TensorFlow runs replicas as threads that take turns at every collective, so a switch
    that all of them saw would be thrown by one in the midst of another's call); outside, for all.
    """
    in_replica = tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()
    thread = threading.get_ident() if in_replica else None
    keys = [(id(layer), thread) for layer in model.layers if isinstance(layer, Freezable)]
    _frozen.update(keys)
    try:
        yield
    finally:
        _frozen.subtract(keys)
        for key in keys:
            if not _frozen[key]:
                del _frozen[key]
