"""How far a network sees, read off its layers: what tiles need for a seamless picture.

An SR pixel depends on LR pixels at most `radius` away, provided that tiles start at multiples of
`alignment`: strided convolutions look at blocks of pixels, counted from the corner of the picture.
"""

import math
from fractions import Fraction

import tensorflow as tf

from srgan_tf.models import layers, resampling, stacked

_CONVS = (tf.keras.layers.Conv2D, layers.Conv2D, stacked.StackedConv2D)
_POINTWISE = (
    tf.keras.layers.InputLayer,
    tf.keras.layers.BatchNormalization,
    tf.keras.layers.PReLU,
    tf.keras.layers.LeakyReLU,
    tf.keras.layers.ReLU,
    tf.keras.layers.Activation,
    tf.keras.layers.Add,
    tf.keras.layers.Concatenate,
    layers.ScaledAdd,
    layers.Sum,
    layers.UnitToSigned,
    # A padded pixel is a copy of one that lies nearer.
    resampling.PadToMultiple,
    resampling.CropLike,
)


def alignment(model: tf.keras.Model) -> int:
    """Returns what the positions of tiles must be multiples of; 1 if any will do."""
    return math.lcm(
        *(x.multiple for x in model.layers if isinstance(x, resampling.PadToMultiple)),
    )


def radius(model: tf.keras.Model, scale: int) -> int:
    """Returns how many LR pixels around its own an SR pixel can depend on, in each direction.

    Walks the layers of a functional model that enlarges by `scale`. A convolution of size k reaches
    k // 2 pixels of the grid that it works on; along each path reaches add up, and the longest
    path counts. On a grid coarser than the LR image a cell is a block of LR pixels; its reach is
    counted from the edges of the block, and from the farthest pixel in it once it is taken apart.

    Raises:
        ValueError: a layer's reach is not known here, or the model does not enlarge by `scale`.
    """
    multiple = alignment(model)
    # Tensor id -> (reach in LR pixels, pixels of the tensor's grid per LR pixel).
    known = {id(tensor): (Fraction(0), Fraction(1)) for tensor in model.inputs}
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.InputLayer):
            continue
        sources = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
        reaches, grids = zip(*(known[id(tensor)] for tensor in sources), strict=True)
        if len(set(grids)) != 1:
            raise ValueError(f"{layer.name} joins grids of different sizes: {grids}.")
        known[id(layer.output)] = _widen(layer, max(reaches), grids[0], multiple)
    reach, grid = known[id(model.outputs[0])]
    if grid != scale:
        raise ValueError(f"{model.name} enlarges by {grid}, not by {scale=}.")
    return math.ceil(reach)


def _widen(
    layer: tf.keras.layers.Layer, reach: Fraction, grid: Fraction, multiple: int
) -> tuple[Fraction, Fraction]:
    """Returns (reach, grid) behind `layer`, given those in front of it."""
    kind = type(layer)
    if isinstance(layer, (resampling.PixelShuffle, resampling.Nearest)):
        return reach + _taken_apart(grid, layer.scale), grid * layer.scale
    if isinstance(layer, _POINTWISE):
        return reach, grid
    # Stacked layers count as if the shuffle were done: they give the same.
    if kind in (*_CONVS, tf.keras.layers.Conv2DTranspose):
        stride = layer.strides[0]
        if layer.padding == "same" and set(layer.strides) == {stride}:
            if kind is tf.keras.layers.Conv2DTranspose and set(layer.dilation_rate) == {1}:
                finer = grid * stride
                pixels = max(_transposed_reach(size, stride) for size in layer.kernel_size)
                return reach + _taken_apart(grid, stride) + pixels / finer, finer
            if kind in _CONVS and stride == 1:
                pixels = max(
                    d * (k // 2)
                    for d, k in zip(layer.dilation_rate, layer.kernel_size, strict=True)
                )
                return reach + pixels / grid, grid
            # Sizes that the stride does not divide would be padded in another way.
            if kind in _CONVS and multiple % (stride / grid) == 0:
                pixels = max(_strided_reach(size, stride) for size in layer.kernel_size)
                return reach + pixels / grid, grid / stride
    raise ValueError(f"The reach of {layer.name} ({kind.__name__}) is not known.")


def _taken_apart(grid: Fraction, factor: int) -> Fraction:
    """Returns by how much blocks of LR pixels stick out beyond the smaller ones within them."""
    return max(1 / grid, Fraction(1)) - max(1 / (grid * factor), Fraction(1))


def _strided_reach(size: int, stride: int) -> int:
    """Returns the cells beyond its own `stride` that a strided convolution sees."""
    # "same" pads size - stride cells, of which the smaller half before, if the stride divides.
    return max(-(-(size - stride) // 2), 0)


def _transposed_reach(size: int, stride: int) -> int:
    """Returns the reach of a transposed convolution among the cells that it makes."""
    before = max(size - stride, 0) // 2
    return max(before, size - 1 - before)
