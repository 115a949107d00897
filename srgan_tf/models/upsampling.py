"""How generators enlarge their features: `[B, H, W, C]` to `[B, H * factor, W * factor, filters]`.

Add one: a function here and a line in `UPSAMPLINGS`; every generator offers it. What each does to
the picture at equal training is compared in docs/EXPERIMENTS.md.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import tensorflow as tf

from srgan_tf import machine
from srgan_tf.models import layers, resampling, stacked

# The factors of the successive stages of each scale.
FACTORS = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}

_inference = contextvars.ContextVar("inference", default=False)


@tf.keras.utils.register_keras_serializable("srgan_tf")
class ICNR(tf.keras.initializers.Initializer):
    """Kernels before a pixel shuffle by `factor`, without a grid at the start of training.

    Aitken et al. 2017 (arXiv 1707.02937): all factor**2 kernels that make one square of pixels
    start equal, so the layer starts as a convolution followed by nearest-neighbour enlargement.
    """

    def __init__(self, factor: int, seed: int | None = None):
        """Makes the initializer; `seed` None takes one from `set_random_seed`, as Keras' own do."""
        self.factor = factor
        self.seed = seed
        self._base = tf.keras.initializers.GlorotUniform(seed)

    def __call__(self, shape, dtype=None, **kwargs) -> tf.Tensor:
        """Returns a kernel `[k, k, in, out * factor**2]`."""
        *sides, channels = shape
        # depth_to_space numbers channels position first: all channels of one pixel are neighbours.
        kernel = self._base((*sides, channels // self.factor**2), dtype=dtype)
        return tf.tile(kernel, [1, 1, 1, self.factor**2])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"factor": self.factor, "seed": self.seed}


@tf.keras.utils.register_keras_serializable("srgan_tf")
class Linear(tf.keras.initializers.Initializer):
    """3x3 kernels after nearest-neighbour enlargement by `factor`, without blocks at the start.

    Each is a random weight of its two channels times a smoothing kernel, by which the layer starts
    as bilinear enlargement and a 1x1 convolution (by 2 and 3; more cannot be smoothed by three
    pixels, and blocks are only softened). Random in every element instead, it starts as blocks of
    equal pixels, which short trainings on features keep (docs/EXPERIMENTS.md).
    """

    # Convolved with a box of `factor` pixels they give the triangle of linear interpolation.
    _BY_2 = (0.25, 0.5, 0.25)
    _BY_3_OR_MORE = (1 / 3, 1 / 3, 1 / 3)

    def __init__(self, factor: int, seed: int | None = None):
        """Makes the initializer; `seed` None takes one from `set_random_seed`, as Keras' own do."""
        self.factor = factor
        self.seed = seed
        self._base = tf.keras.initializers.GlorotUniform(seed)

    def __call__(self, shape, dtype=None, **kwargs) -> tf.Tensor:
        """Returns a kernel `[3, 3, in, out]`."""
        smoothing = self._BY_2 if self.factor == 2 else self._BY_3_OR_MORE
        line = tf.constant(smoothing, dtype or tf.float32)
        weights = self._base((1, 1, *shape[2:]), dtype=dtype)
        return line[:, None, None, None] * line[None, :, None, None] * weights

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"factor": self.factor, "seed": self.seed}


# Initializer of the kernel before the pixel shuffle, by factor.
SUBPIXEL_KERNELS: dict[str, Callable[[int], tf.keras.initializers.Initializer]] = {
    "subpixel": ICNR,
    "subpixel_plain": lambda factor: tf.keras.initializers.GlorotUniform(),
}


def subpixel(inputs: tf.Tensor, filters: int, factor: int, name: str) -> tf.Tensor:
    """Convolution at the small size and pixel shuffle (Shi et al. 2016), started by ICNR."""
    return _shuffle(inputs, filters, factor, name, kind="subpixel")


def subpixel_plain(inputs: tf.Tensor, filters: int, factor: int, name: str) -> tf.Tensor:
    """Convolution and pixel shuffle, started like any convolution (the SRGAN paper's)."""
    return _shuffle(inputs, filters, factor, name, kind="subpixel_plain")


def nearest_conv(inputs: tf.Tensor, filters: int, factor: int, name: str) -> tf.Tensor:
    """Nearest-neighbour enlargement, then a convolution (Odena et al. 2016); starts as bilinear."""
    enlarged = resampling.Nearest(factor, name=f"{name}_nearest")(inputs)
    return layers.conv(filters, 3, f"{name}_conv", initializer=Linear(factor))(enlarged)


def deconv(inputs: tf.Tensor, filters: int, factor: int, name: str) -> tf.Tensor:
    """Transposed convolution; here to be compared with: it leaves a grid.

    Its size 2 * factor - 1 (3 at factor 2, as is usual) is no multiple of the stride, so that
    pixels get contributions from different numbers of kernel elements (Odena et al. 2016).
    """
    return tf.keras.layers.Conv2DTranspose(
        filters, 2 * factor - 1, strides=factor, padding="same", name=f"{name}_deconv"
    )(inputs)


UPSAMPLINGS: dict[str, Callable[[tf.Tensor, int, int, str], tf.Tensor]] = {
    "subpixel": subpixel,
    "subpixel_plain": subpixel_plain,
    "nearest_conv": nearest_conv,
    "deconv": deconv,
}


def stages(
    features: tf.Tensor,
    *,
    scale: int,
    filters: int,
    upsampling: str,
    activation: Callable[..., tf.keras.layers.Layer],
    put_off: bool = False,
) -> tf.Tensor:
    """Enlarges `features` by `scale` in stages of 2 or 3 named `upsample1_...` and so on.

    Args:
        features: `[B, H, W, C]`.
        scale: 2, 3, 4 or 8.
        filters: Channels of every stage's output.
        upsampling: A name in `UPSAMPLINGS`.
        activation: Makes the layer that follows each stage, given its name's beginning and `stack`
            (`layers.prelu`).
        put_off: The last stage's shuffle is put off: its features stay stacked (stacked.py).
    """
    factors = FACTORS[scale]
    for index, factor in enumerate(factors, start=1):
        name, stack = f"upsample{index}", 1
        if put_off and index == len(factors):
            features = _shuffle(features, filters, factor, name, upsampling, put_off=True)
            stack = factor**2
        else:
            features = UPSAMPLINGS[upsampling](features, filters, factor, name)
        features = activation(name, stack)(features)
    return features


def to_rgb(
    features: tf.Tensor,
    *,
    scale: int,
    filters: int,
    upsampling: str,
    activation: Callable[..., tf.keras.layers.Layer],
    size: int,
) -> tf.Tensor:
    """The stages and a `size` x `size` convolution to RGB, `tail_conv`; arguments as `stages`'.

    Where the last stage ends in a shuffle and it is faster, convolution and activation come before
    it: the same function of the same weights.
    """
    factor = FACTORS[scale][-1]
    put_off = puts_off_shuffle(upsampling, factor)
    features = stages(
        features,
        scale=scale,
        filters=filters,
        upsampling=upsampling,
        activation=activation,
        put_off=put_off,
    )
    if put_off:
        return stacked.StackedConv2D(3, size, factor, name="tail_conv")(features)
    return layers.conv(3, size, "tail_conv")(features)


def puts_off_shuffle(upsampling: str, factor: int) -> bool:
    """Whether the tail comes before the last shuffle, which is by `factor`.

    By 2 that is faster everywhere: 1.2 times as many multiplications, but in a shape that suits
    convolutions. By 3 they are 2.8 times as many: 0.6 (inference) and 0.7 times as fast with
    oneDNN, 0.9 and 1.7 times without (docs/PERFORMANCE.md).
    """
    if upsampling not in SUBPIXEL_KERNELS:
        return False
    return factor == 2 or not (_inference.get() or machine.uses_onednn())


def is_reordered(upsampling: str, scale: int) -> bool:
    """Whether a generator has another order of layers within `for_inference` than outside."""
    factor = FACTORS[scale][-1]
    with for_inference():
        then = puts_off_shuffle(upsampling, factor)
    return then != puts_off_shuffle(upsampling, factor)


@contextlib.contextmanager
def for_inference() -> Iterator[None]:
    """Within it, generators are built in the order of layers that is the fastest for inference."""
    token = _inference.set(True)
    try:
        yield
    finally:
        _inference.reset(token)


def _shuffle(
    inputs: tf.Tensor, filters: int, factor: int, name: str, kind: str, put_off: bool = False
) -> tf.Tensor:
    initializer = SUBPIXEL_KERNELS[kind](factor)
    conv = layers.conv(filters * factor**2, 3, f"{name}_conv", initializer=initializer)
    return resampling.PixelShuffle(factor, put_off, name=f"{name}_shuffle")(conv(inputs))
