"""A generator as a server needs it: named signatures that bound what a request can take.

Large requests are computed in tiles, and refused above `max_pixels`, all of it in the graph: the
C++ TensorFlow Serving runs no Python.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from srgan_tf import images
from srgan_tf.serving import (
    description,
    fingerprint,
    graph_decoding,
    graph_tiling,
    memory,
    network,
    protocols,
    servable,
)

UPSCALE_FLOAT = "upscale_float"
UPSCALE_BYTES = "upscale_bytes"
# What tiles may take, beside the pictures themselves.
TILE_BYTES = 300_000_000
# Pixels of the largest picture that is made: 400 MB; in float32 1.6 GB, where a message (protobuf)
# holds 2 GB. At x4 from 8.4 million LR pixels, 2896 x 2896.
_SR_PIXELS = 1 << 27
_MESSAGE_BYTES = (1 << 31) - (1 << 20)
# How much of a tile is kept at least, in rims: with wide ones the tiles may be larger than the
# above, since nearly all that is computed would be thrown away.
_KEPT_RIMS = 1
_BICUBIC_RIM = 2
_FLOAT_BYTES = 4

_LR = tf.TensorSpec([None, None, None, 3], tf.uint8, name="lr")
_UNIT_LR = tf.TensorSpec([None, None, None, 3], tf.float32, name="lr")
Function = graph_tiling.Function
_FILES = tf.TensorSpec([None], tf.string, name="image_bytes")


def default_max_pixels(scale: int) -> int:
    """Returns how many pixels a picture may have that is to be enlarged by `scale`."""
    return _SR_PIXELS // scale**2


@dataclasses.dataclass(frozen=True)
class _Tiles:
    """What `graph_tiling.apply` needs to know; `part_pixels` and `tail_rim` are of the tail.

    `bytes` is the memory that one takes.
    """

    scale: int
    rim: int
    alignment: int
    pixels: int
    part_pixels: int
    tail_rim: int
    bytes: int


class ServedModule(servable.ServingModule):
    """A generator with the signatures of an export.

    `upscale`, which knows neither tiles nor limits, is saved too, as a function that is no
    signature: srgan-upscale cuts tiles itself.
    """

    def __init__(
        self,
        generator: tf.keras.Model,
        scale: int,
        *,
        max_pixels: int | None = None,
        tile_bytes: int = TILE_BYTES,
    ):
        """Wraps `generator`, which enlarges by `scale`.

        Args:
            generator: LR `[B, h, w, 3]` in [0, 1] to SR in [-1, 1].
            scale: its factor.
            max_pixels: of an LR picture; None is `default_max_pixels`.
            tile_bytes: the memory from which the size of tiles follows.
        """
        super().__init__(generator)
        self.max_pixels = max_pixels or default_max_pixels(scale)
        self._tiles = _plan(super().facts(scale), tile_bytes)
        self._run = _tiled(
            self._tiles,
            _LR,
            tf.uint8,
            whole=lambda lr: self.upscale(lr)["sr"],
            trunk=self.trunk and (lambda lr: self.trunk(lr)["features"]),
            tail=self.tail and (lambda features: self.tail(features)["sr"]),
        )
        self._run_unit = _tiled_unit(self._apply, self._halves(), self._tiles)

    def signatures(self) -> dict[str, Any]:
        """Returns the functions by the names of their signatures."""
        return {
            servable.SIGNATURE: self.serve,
            UPSCALE_FLOAT: self.upscale_float,
            UPSCALE_BYTES: self.upscale_bytes,
            protocols.DESCRIBE: self._description(),
        }

    def _description(self) -> Function:
        facts = self.facts(self._tiles.scale)
        return description.signature(facts, fingerprint.of_weights(self.weights))

    def facts(self, scale: int) -> dict[str, Any]:
        """Adds the limit and the size of tiles to what a client needs to know."""
        tiles = {"tile_pixels": self._tiles.pixels, "tile_bytes": self._tiles.bytes}
        if self._tiles.part_pixels:
            tiles["part_pixels"] = self._tiles.part_pixels
        return {**super().facts(scale), "max_pixels": self.max_pixels, **tiles}

    @tf.function(input_signature=[_LR], autograph=False)
    def serve(self, lr: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps LR `[B, h, w, 3]` uint8 to `{"sr": [B, h * scale, w * scale, 3] uint8}`.

        Raises:
            tf.errors.InvalidArgumentError: a picture is too large, or the answer would be.
        """
        return {"sr": self._run(self._admit(lr, 1))}

    @tf.function(input_signature=[_UNIT_LR], autograph=False)
    def upscale_float(self, lr: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same for float32 in [0, 1], in and out; nothing is rounded."""
        return {"sr": self._run_unit(self._admit(lr, _FLOAT_BYTES))}

    @tf.function(input_signature=[_FILES], autograph=False)
    def upscale_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps files (graph_decoding.py) of any sizes to PNG files, one by one.

        Returns:
            output_bytes: `[B]`, PNG files; "" where the status is not "OK".
            status: `[B]`: "OK", or what is wrong with that picture, in one line.
        """
        count = tf.shape(image_bytes)[0]

        def step(index: tf.Tensor, room: tf.Tensor, *made: tf.TensorArray) -> tuple[Any, ...]:
            output, status, taken = self._upscale_file(image_bytes[index], room)
            written = (x.write(index, y) for x, y in zip(made, (output, status), strict=True))
            return index + 1, room - taken, *written

        made = [tf.TensorArray(tf.string, count, element_shape=[]) for _ in range(2)]
        room = tf.constant(self._most_pixels(1), tf.int64)
        _, _, outputs, statuses = tf.while_loop(
            lambda index, *_: index < count,
            step,
            (tf.constant(0), room, *made),
            parallel_iterations=1,  # Memory.
        )
        return {"output_bytes": outputs.stack(), "status": statuses.stack()}

    def _upscale_file(
        self, file: tf.Tensor, room: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns PNG file, status and LR pixels of a file; at most `room` pixels."""
        rgb, alpha, status = graph_decoding.decode(file, self.max_pixels)
        pixels = tf.reduce_prod(tf.shape(rgb, tf.int64)[:2])
        full = "does not fit into this answer beside the pictures before it: send it by itself"
        status = tf.where(pixels > room, full, status)
        good = tf.equal(status, graph_decoding.OK)

        def upscale() -> tf.Tensor:
            sr = self._run(rgb[None])[0]
            return tf.cond(
                tf.size(alpha) > 0,
                lambda: tf.io.encode_png(tf.concat([sr, self._enlarge(alpha)], -1)),
                lambda: tf.io.encode_png(sr),
            )

        return (
            tf.cond(good, upscale, lambda: ""),
            status,
            tf.where(good, pixels, tf.zeros_like(pixels)),
        )

    def _enlarge(self, alpha: tf.Tensor) -> tf.Tensor:
        """Returns alpha `[h, w, 1]` uint8 enlarged by bicubic interpolation."""

        def bicubic(part: tf.Tensor) -> tf.Tensor:
            size = self._tiles.scale * tf.shape(part)[1:3]
            unit = tf.image.resize(images.uint8_to_unit(part), size, "bicubic")
            return images.unit_to_uint8(unit)

        scale, pixels = self._tiles.scale, self._tiles.pixels
        return graph_tiling.apply(
            bicubic, alpha[None], scale=scale, rim=_BICUBIC_RIM, pixels=pixels
        )[0]

    def _most_pixels(self, value_bytes: int) -> int:
        """Returns the LR pixels of all pictures of a request whose answer fits into a message."""
        return _MESSAGE_BYTES // (self._tiles.scale**2 * 3 * value_bytes)

    def _admit(self, lr: tf.Tensor, value_bytes: int) -> tf.Tensor:
        """Returns `lr` if it is neither empty nor too large."""
        count, height, width, _ = tf.unstack(tf.shape(lr, tf.int64))
        most = self._most_pixels(value_bytes)
        checks = [
            tf.debugging.Assert(
                (count > 0) & (height > 0) & (width > 0),
                [tf.strings.format("lr holds no pixels: its shape is {}", tf.shape(lr))],
            ),
            tf.debugging.Assert(
                height * width <= self.max_pixels,
                [
                    tf.strings.format(
                        "lr has {}x{} pixels (width x height): this model takes at most "
                        f"{self.max_pixels} a picture; cut it into parts",
                        (width, height),
                    )
                ],
            ),
            tf.debugging.Assert(
                count * height * width <= most,
                [
                    tf.strings.format(
                        "the answer to {} pictures of {}x{} pixels would be larger than the 2 GB "
                        f"of a message: send at most {most} pixels in all",
                        (count, width, height),
                    )
                ],
            ),
        ]
        # Without it the network might start first.
        with tf.control_dependencies(checks):
            return tf.identity(lr)


def _tiled_unit(
    apply: Function, halves: tuple[list[network.Step], list[network.Step]] | None, tiles: _Tiles
) -> Function:
    """Returns what maps LR in [0, 1] to SR in [0, 1], in tiles where it is large."""

    def to_unit(signed: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(images.signed_to_unit(signed), 0.0, 1.0)

    trunk = tail = None
    if halves:
        shape = [None, None, None, halves[0][-1].shape[-1]]
        spec = tf.TensorSpec(shape, halves[0][-1].layer.compute_dtype)
        trunk = _once(_UNIT_LR)(lambda lr: network.run(halves[0], lr))
        tail = _once(spec)(lambda features: to_unit(network.run(halves[1], features)))
    whole = _once(_UNIT_LR)(lambda lr: to_unit(apply(lr)))
    return _tiled(tiles, _UNIT_LR, tf.float32, whole=whole, trunk=trunk, tail=tail)


def _tiled(
    tiles: _Tiles,
    spec: tf.TensorSpec,
    dtype: tf.DType,
    *,
    whole: Function,
    trunk: Function | None,
    tail: Function | None,
) -> Function:
    """Returns what runs `whole` on tiles; or `trunk` on tiles and `tail` on parts of its features.

    Args:
        tiles: their sizes.
        spec: of the LR images.
        dtype: of the SR images.
        whole: the network.
        trunk: its first half or None.
        tail: its second half or None.
    """
    scale = tiles.scale

    @_once(spec)
    def one_tile(lr: tf.Tensor) -> tf.Tensor:
        if not (trunk and tail):
            return whole(lr)
        rim, pixels = tiles.tail_rim, tiles.part_pixels
        return graph_tiling.apply(tail, trunk(lr), scale=scale, rim=rim, pixels=pixels, dtype=dtype)

    @_once(spec)
    def all_tiles(lr: tf.Tensor) -> tf.Tensor:
        sr = graph_tiling.apply(
            one_tile,
            lr,
            scale=scale,
            rim=tiles.rim,
            pixels=tiles.pixels,
            alignment=tiles.alignment,
            dtype=dtype,
        )
        return tf.ensure_shape(sr, [None, None, None, 3])

    return all_tiles


def _once(spec: tf.TensorSpec) -> Callable[[Function], Function]:
    """Returns the decorator of functions that stand in the saved graph once, however often used."""
    return tf.function(input_signature=[spec], autograph=False)


def _plan(facts: dict[str, Any], tile_bytes: int) -> _Tiles:
    """Returns the tiles of a network (`servable.facts`) that take about `tile_bytes`."""

    def smallest(rim: int) -> int:
        return ((2 + _KEPT_RIMS) * rim + 1) ** 2

    alignment = facts["alignment"]
    rim = -(-facts["receptive_radius"] // alignment) * alignment
    cost, part = memory.Cost.of_live(facts["bytes_per_lr_pixel"]), 0
    tail_rim = facts.get("tail_rim", 0)
    if "tail_rim" in facts:
        cost = memory.Cost.of_live(
            facts["trunk_bytes_per_lr_pixel"], facts["tail_bytes_per_lr_pixel"]
        )
        part = max(int(memory.PART_SHARE * tile_bytes / cost.part), smallest(tail_rim))
        part = min(part, max(memory.PART, smallest(tail_rim)))
    pixels = max(int((tile_bytes - part * cost.part) / cost.tile), smallest(rim))
    return _Tiles(
        scale=facts["scale"],
        rim=rim,
        alignment=alignment,
        pixels=pixels,
        part_pixels=part,
        tail_rim=tail_rim,
        bytes=round(pixels * cost.tile + part * cost.part),
    )
