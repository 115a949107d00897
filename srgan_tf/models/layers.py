"""Layers that the networks share, and what can be read off a built network.

Everything here works on float32 `[B, H, W, C]` of any value range and on both Kerases.
"""

import collections
import contextlib
import fractions
import math
import threading
from collections.abc import Iterator

import tensorflow as tf

from srgan_tf import images

# PyTorch's default of 0.1, in Keras' terms; the usual SRGAN implementations train with it. Keras'
# own default of 0.99 needs some 500 steps before the statistics forget their initial values.
_BN_MOMENTUM = 0.9
# Keras' default; published TensorFlow weights of this generator were trained with it.
_BN_EPSILON = 1e-3
# He et al. 2015 (arXiv 1502.01852), section 2.1; also PyTorch's default. The SRGAN paper is silent.
_PRELU_ALPHA = 0.25

# How often a layer is frozen at present: (id of the layer, id of the thread or None for all).
_frozen: collections.Counter[tuple[int, int | None]] = collections.Counter()


@tf.keras.utils.register_keras_serializable("srgan_tf")
class PixelShuffle(tf.keras.layers.Layer):
    """Sub-pixel rearrangement `[B, H, W, C * scale**2]` to `[B, H * scale, W * scale, C]`.

    Reference: Shi et al. 2016 (arXiv 1609.05158), equation 4.
    """

    def __init__(self, scale: int, **kwargs):
        """Makes the layer; `scale` is at least 2."""
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the rearranged `inputs`."""
        return tf.nn.depth_to_space(inputs, self.scale)

    def compute_output_shape(self, input_shape):
        """Returns the static output shape; unknown sides stay unknown."""
        batch, height, width, channels = input_shape
        grown = [None if side is None else side * self.scale for side in (height, width)]
        return (batch, *grown, channels // self.scale**2)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


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
class BatchNorm(tf.keras.layers.BatchNormalization):
    """Batch normalization whose moving statistics `frozen_statistics` can hold still.

    The momentum reads as 1 while the layer is frozen: both Kerases then add exactly zero to the
    moving statistics (as long as the batch's own are finite) and normalize as always.
    """

    @property
    def momentum(self) -> float:
        """The share of the old moving statistics that one update keeps."""
        frozen = _frozen[id(self), None] or _frozen[id(self), threading.get_ident()]
        return 1.0 if frozen else self._momentum

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


def prelu(name: str) -> tf.keras.layers.PReLU:
    """Returns a PReLU with one slope per channel, so that weights do not fix the image size."""
    slope = tf.keras.initializers.Constant(_PRELU_ALPHA)
    return tf.keras.layers.PReLU(alpha_initializer=slope, shared_axes=[1, 2], name=name)


@contextlib.contextmanager
def frozen_statistics(model: tf.keras.Model) -> Iterator[None]:
    """Within it, calls with `training=True` use batch statistics but move no moving statistics.

    It acts when the network is called eagerly or *traced*; around a `tf.function` that has been
    traced before it changes nothing. Inside a replica function it holds for that replica's thread
    alone (TensorFlow runs replicas as threads that take turns at every collective, so a switch
    that all of them saw would be thrown by one in the midst of another's call); outside, for all.
    """
    in_replica = tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()
    thread = threading.get_ident() if in_replica else None
    keys = [(id(layer), thread) for layer in model.layers if isinstance(layer, BatchNorm)]
    _frozen.update(keys)
    try:
        yield
    finally:
        _frozen.subtract(keys)
        for key in keys:
            if not _frozen[key]:
                del _frozen[key]


_POINTWISE = (
    tf.keras.layers.InputLayer,
    tf.keras.layers.BatchNormalization,
    tf.keras.layers.PReLU,
    tf.keras.layers.LeakyReLU,
    tf.keras.layers.ReLU,
    tf.keras.layers.Activation,
    tf.keras.layers.Add,
    tf.keras.layers.Concatenate,
    UnitToSigned,
)


def receptive_radius(model: tf.keras.Model, scale: int) -> int:
    """Returns how many LR pixels around its own an SR pixel can depend on, in each direction.

    Walks the layers of a functional model that enlarges by `scale`. A convolution of size k reaches
    k // 2 pixels of the grid that it works on; along each path reaches add up, and the longest
    path counts.

    Raises:
        ValueError: a layer's reach is not known here, or the model does not enlarge by `scale`.
    """
    # Tensor id -> (reach in LR pixels, pixels of the tensor's grid per LR pixel).
    known = {id(tensor): (fractions.Fraction(0), fractions.Fraction(1)) for tensor in model.inputs}
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.InputLayer):
            continue
        sources = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
        reaches, grids = zip(*(known[id(tensor)] for tensor in sources), strict=True)
        if len(set(grids)) != 1:
            raise ValueError(f"{layer.name} joins grids of different sizes: {grids}.")
        known[id(layer.output)] = _widen(layer, max(reaches), grids[0])
    reach, grid = known[id(model.outputs[0])]
    if grid != scale:
        raise ValueError(f"{model.name} enlarges by {grid}, not by {scale=}.")
    return math.ceil(reach)


def _widen(
    layer: tf.keras.layers.Layer, reach: fractions.Fraction, grid: fractions.Fraction
) -> tuple[fractions.Fraction, fractions.Fraction]:
    """Returns (reach, grid) behind `layer`, given those in front of it."""
    if isinstance(layer, PixelShuffle):
        return reach, grid * layer.scale
    if type(layer) is tf.keras.layers.Conv2D and set(layer.strides) == {1}:
        pixels = max(
            d * (k // 2) for d, k in zip(layer.dilation_rate, layer.kernel_size, strict=True)
        )
        return reach + pixels / grid, grid
    if isinstance(layer, _POINTWISE):
        return reach, grid
    raise ValueError(f"The reach of {layer.name} ({type(layer).__name__}) is not known.")
