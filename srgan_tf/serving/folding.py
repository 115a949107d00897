"""Takes batch normalization out of a trained generator: the same function with fewer operations.

Where the order of layers that is fast in training is slow in inference, it is changed as well
(`upsampling.puts_off_shuffle`).

In inference a normalization is y = s * x + t per channel, with s = gamma / sqrt(variance + epsilon)
and t = beta - s * mean. Behind a convolution that is another convolution: kernel * s, bias * s + t.
The folded generator is the same architecture with norm "none"; its weights are made once.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors
from srgan_tf.models import generators, resampling, upsampling


def fold(
    generator: tf.keras.Model,
    config: config_lib.GeneratorConfig,
    scale: int,
    precision: str = "float32",
) -> tf.keras.Model:
    """Returns a generator that does without batch normalization what `generator` does with it.

    Args:
        generator: a trained one; it is not changed. Where nothing is to be done, it is returned
            itself; where not all normalizations can be folded, none is.
        config: what it was built from.
        scale: its upscaling factor.
        precision: what the returned one computes in; in another than float32 it is a new one.
    """
    norms = _norms(generator)
    plain = generators.resolve(config)
    if norms:
        plain = dataclasses.replace(plain, norm="none")
    elif precision == "float32" and not upsampling.is_reordered(plain.upsampling, scale):
        return generator
    try:
        with upsampling.for_inference():
            folded = generators.build(plain, scale, precision)
    except errors.InputError:  # The architecture has no form without normalization.
        return generator
    norms = norms or {}
    for layer in folded.layers:
        if layer.weights:
            source = generator.get_layer(layer.name)
            norm = norms.get(layer.name)
            layer.set_weights(_folded(source, *norm) if norm else source.get_weights())
    return folded


def _norms(
    generator: tf.keras.Model,
) -> dict[str, tuple[tf.keras.layers.BatchNormalization, int]] | None:
    """Returns convolution -> (the normalization behind it, places of a pixel shuffle between them).

    None if one of them is not behind a convolution.
    """
    makers = {id(layer.output): layer for layer in generator.layers}
    found = {}
    for layer in generator.layers:
        if not isinstance(layer, tf.keras.layers.BatchNormalization):
            continue
        source, places = makers[id(layer.input)], 1
        if type(source) is resampling.PixelShuffle:
            source, places = makers[id(source.input)], source.scale**2
        if not hasattr(source, "kernel") or not source.use_bias or source.name in found:
            return None
        found[source.name] = layer, places
    return found


def _folded(
    conv: tf.keras.layers.Layer, norm: tf.keras.layers.BatchNormalization, places: int
) -> list[np.ndarray]:
    """Returns kernel and bias of `conv` and `norm` together."""
    kernel, bias = (weight.astype(np.float64) for weight in conv.get_weights())
    gamma, beta, mean, variance = (weight.astype(np.float64) for weight in norm.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    # Channels before a pixel shuffle: all of the first place, then all of the second, ...
    factor, mean, beta = (np.tile(values, places) for values in (factor, mean, beta))
    # A transposed convolution's kernel is [k, k, out, in].
    transposed = isinstance(conv, tf.keras.layers.Conv2DTranspose)
    kernel = kernel * (factor[:, None] if transposed else factor)
    return [kernel.astype(np.float32), ((bias - mean) * factor + beta).astype(np.float32)]
