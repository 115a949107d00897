"""A generator as functions of uint8 pictures, for this process: without limits, untiled.

served.py makes of it what a server needs.
"""

import functools
from typing import Any

import tensorflow as tf

from srgan_tf import images
from srgan_tf.models import receptive
from srgan_tf.serving import network

SIGNATURE = "serving_default"

_LR = tf.TensorSpec([None, None, None, 3], tf.uint8, name="lr")
UNIT_LR = tf.TensorSpec([None, None, None, 3], tf.float32, name="lr")


class ServingModule(tf.Module):
    """A generator behind uint8 pictures; range conversion is inside.

    Where the network can be cut in two (network.py), `trunk` and `tail` are its halves: `upscale`
    is one after the other.
    """

    def __init__(self, generator: tf.keras.Model):
        """Wraps `generator` (lr `[B, h, w, 3]` in [0, 1] to sr in [-1, 1])."""
        super().__init__(name="srgan_tf")
        # Holding the model itself would save every layer's functions and Keras' description too.
        self._apply = lambda lr: generator(lr, training=False)
        self.weights = _variables(generator)
        self._describe = functools.partial(_describe, generator)
        self.trunk = self.tail = None
        halves = network.split(network.steps(generator))
        self._halves = lambda: halves  # A function is not saved.
        if halves:
            self.trunk, self.tail = _halves(*halves)

    @tf.function(input_signature=[_LR])
    def upscale(self, lr: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps LR `[B, h, w, 3]` uint8 to `{"sr": [B, h * scale, w * scale, 3] uint8}`."""
        return {"sr": images.signed_to_uint8(self._apply(images.uint8_to_unit(lr)))}

    def functions(self) -> dict[str, Any]:
        """Returns what our own upscaler calls, by name; see `functions`."""
        return functions(self)

    def facts(self, scale: int) -> dict[str, Any]:
        """Returns what a client needs to know of the network, which enlarges by `scale`."""
        return self._describe(scale)


class UnitModule(tf.Module):
    """A generator as one function of float pictures in [0, 1], for files of other formats."""

    def __init__(self, generator: tf.keras.Model):
        """Wraps `generator` (lr `[B, h, w, 3]` in [0, 1] to sr in [-1, 1])."""
        super().__init__(name="srgan_tf")
        self._apply = lambda lr: generator(lr, training=False)
        self.weights = _variables(generator)

    @tf.function(input_signature=[UNIT_LR])
    def upscale(self, lr: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps LR `[B, h, w, 3]` to `{"sr": [B, h * scale, w * scale, 3]}`, both in [0, 1]."""
        return {"sr": tf.clip_by_value(images.signed_to_unit(self._apply(lr)), 0.0, 1.0)}


def _variables(generator: tf.keras.Model) -> list[tf.Variable]:
    """Returns the weights as TensorFlow's own: those of Keras 3 hold them."""
    return [
        weight if isinstance(weight, tf.Variable) else weight.value for weight in generator.weights
    ]


def functions(module: Any) -> dict[str, Any]:
    """Returns the whole network and its halves of a `ServingModule`, also of one that was loaded.

    They have neither tiles nor limits, so no server offers them.
    """
    made = {SIGNATURE: module.upscale}
    for name in ("trunk", "tail"):
        if getattr(module, name, None) is not None:
            made[name] = getattr(module, name)
    return made


def _halves(trunk: list[network.Step], tail: list[network.Step]) -> tuple[Any, Any]:
    """Returns the two halves of a network as functions of uint8 LR and to uint8 SR."""
    features = tf.TensorSpec(
        [None, None, None, trunk[-1].shape[-1]], trunk[-1].layer.compute_dtype, name="features"
    )

    @tf.function(input_signature=[_LR])
    def run_trunk(lr: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": network.run(trunk, images.uint8_to_unit(lr))}

    @tf.function(input_signature=[features])
    def run_tail(features: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sr": images.signed_to_uint8(network.run(tail, features))}

    return run_trunk, run_tail


def _describe(generator: tf.keras.Model, scale: int) -> dict[str, Any]:
    """Returns scale, receptive radius, alignment and memory (`network.live_bytes`)."""
    radius = receptive.radius(generator, scale)
    sequence = network.steps(generator)
    facts = {
        "scale": scale,
        "receptive_radius": radius,
        "alignment": receptive.alignment(generator),
        "bytes_per_lr_pixel": round(network.live_bytes(sequence)),
    }
    halves = network.split(sequence)
    if halves:
        trunk = tf.keras.Model(generator.inputs, halves[0][-1].layer.output)
        live = [round(network.live_bytes(half)) for half in halves]
        facts |= {
            "trunk_bytes_per_lr_pixel": live[0],
            "tail_bytes_per_lr_pixel": live[1],
            # Both radii are rounded up.
            "tail_rim": radius - receptive.radius(trunk, 1) + 1,
        }
    return facts
