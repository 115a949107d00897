"""A generator as layers in order: where to cut it in two, and how much memory it takes.

The trunk works at the size of the LR image, the tail enlarges. The tail takes nearly all the memory
(12 KB per LR pixel of the paper's generator, its trunk 2) but sees only a few pixels far. So the
trunk is run on large tiles, which waste little on their rims, and the tail on small parts of what
the trunk has made.
"""

import dataclasses

import numpy as np
import tensorflow as tf

# The tail has to take so many times the trunk's memory for two runs to be worth their while.
_WORTH_IT = 2
_SIDE = 32  # Of the picture by which sizes are told: a multiple of every alignment.


@dataclasses.dataclass(frozen=True)
class Step:
    """One layer: what it is made from and makes (ids of tensors), and the latter's shape."""

    layer: tf.keras.layers.Layer
    sources: list[int]
    target: int
    shape: tuple[int, ...]

    @property
    def bytes(self) -> float:
        """Of the output, per LR pixel."""
        size = 2 if self.layer.compute_dtype in ("bfloat16", "float16") else 4
        return float(np.prod(self.shape)) * size / _SIDE**2


def steps(model: tf.keras.Model) -> list[Step]:
    """Returns the layers of a functional model of one input and one output, in order."""
    shapes = {id(tensor): (1, _SIDE, _SIDE, tensor.shape[-1]) for tensor in model.inputs}
    found = []
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.InputLayer):
            continue
        inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
        sources = [id(tensor) for tensor in inputs]
        shape = [shapes[source] for source in sources]
        made = layer.compute_output_shape(shape if len(shape) > 1 else shape[0])
        shapes[id(layer.output)] = tuple(int(side) for side in made)
        found.append(Step(layer, sources, id(layer.output), shapes[id(layer.output)]))
    return found


def run(sequence: list[Step], inputs: tf.Tensor) -> tf.Tensor:
    """Applies steps that begin with a single tensor; for inference."""
    made = {sequence[0].sources[0]: inputs}
    for step in sequence:
        values = [made[source] for source in step.sources]
        made[step.target] = step.layer(values if len(values) > 1 else values[0])
    return made[sequence[-1].target]


def split(sequence: list[Step]) -> tuple[list[Step], list[Step]] | None:
    """Cuts the network where it is narrowest and about to enlarge; None where it cannot be cut.

    That is the last of the places with the fewest channels that all paths lead through, at the
    size of the LR image, behind a convolution.
    """
    places = []
    for index, step in enumerate(sequence[:-1], start=1):
        needed = {source for later in sequence[index:] for source in later.sources}
        needed -= {later.target for later in sequence[index:]}
        behind_conv = any(hasattr(earlier.layer, "kernel") for earlier in sequence[:index])
        if needed == {step.target} and step.shape[1] == _SIDE and behind_conv:
            places.append((step.shape[-1], -index))
    normalized = any(
        isinstance(step.layer, tf.keras.layers.BatchNormalization) for step in sequence
    )
    # Normalizations that could not be folded would have to be told that this is no training.
    if not places or normalized:
        return None
    index = -min(places)[1]
    trunk, tail = sequence[:index], sequence[index:]
    return (trunk, tail) if live_bytes(tail) >= _WORTH_IT * live_bytes(trunk) else None


def live_bytes(sequence: list[Step]) -> float:
    """Returns the most that the tensors in use take at a time, in bytes per LR pixel.

    Beside inputs and output a layer may need as much again as its output (terms of an activation,
    a convolution's other layout of its data).
    """
    last_use = {source: index for index, step in enumerate(sequence) for source in step.sources}
    sizes: dict[int, float] = {sequence[0].sources[0]: 0.0}
    peak = 0.0
    for index, step in enumerate(sequence):
        sizes[step.target] = step.bytes
        peak = max(peak, sum(sizes.values()) + step.bytes)
        sizes = {key: size for key, size in sizes.items() if last_use.get(key, index + 1) > index}
    return peak
