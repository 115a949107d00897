"""A generator as a server needs it: named signatures that bound what a request can take.

Large requests are computed in tiles, and refused above `max_pixels` in all their pictures together,
all of it in the graph: the C++ TensorFlow Serving runs no Python.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from srgan_tf import errors, images
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
# Pixels that a request makes at most: 400 MB. At x4 from 8.4 million LR pixels, 2896 x 2896.
_SR_PIXELS = 1 << 27
# In float32 they are four times as large, so only a fourth of them is made.
FLOAT_SHARE = 4
_RGBA_BYTES = 4
# What a message (protobuf) holds; and of a PNG file, one byte for each row, which may be one pixel.
_MESSAGE_BYTES = (1 << 31) - (1 << 20)
_PNG_BYTES = 5
# libpng takes no more.
_PNG_SIDE = 1_000_000
_MOST_FILES = 64
_BICUBIC_RIM = 2
# Colours are spread so often, each time so far, beneath transparency.
_SPREADS, _SPREAD = 2, 4

_LR = tf.TensorSpec([None, None, None, 3], tf.uint8, name="lr")
_UNIT_LR = tf.TensorSpec([None, None, None, 3], tf.float32, name="lr")
_SIZES = tf.TensorSpec([2], tf.int64, name="sizes")
Function = graph_tiling.Function
_FILES = tf.TensorSpec([None], tf.string, name="image_bytes")


def default_max_pixels(scale: int) -> int:
    """Returns how many pixels a request may have that is to be enlarged by `scale`."""
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

    def usual(self) -> tf.Tensor:
        """Returns the pixels of tiles and of parts."""
        return tf.constant([self.pixels, self.part_pixels], tf.int64)

    def smallest(self) -> tf.Tensor:
        """Returns the least that they may be."""
        rims = self.rim, self.tail_rim
        return tf.constant([graph_tiling.smallest(rim) for rim in rims], tf.int64)


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
            max_pixels: of all LR pictures of a request; None is `default_max_pixels`.
            tile_bytes: the memory from which the size of tiles follows.

        Raises:
            errors.InputError: no message would hold the answer to `max_pixels`.
        """
        super().__init__(generator)
        self.max_pixels = max_pixels or default_max_pixels(scale)
        most = _MESSAGE_BYTES // (_PNG_BYTES * scale**2)
        if self.max_pixels > most:
            raise errors.InputError(
                f"--max_pixels={max_pixels} is too much: at x{scale} the 2 GB that an answer may "
                f"have hold {most} pixels; give that or less."
            )
        self._tiles = _plan(super().facts(scale), tile_bytes)
        self._run_in_tiles = _tiled(
            self._tiles,
            _LR,
            tf.uint8,
            whole=lambda lr: self.upscale(lr)["sr"],
            trunk=self.trunk and (lambda lr: self.trunk(lr)["features"]),
            tail=self.tail and (lambda features: self.tail(features)["sr"]),
        )
        self._run_unit = _tiled_unit(self._apply, self._halves(), self._tiles)

    @tf.function(input_signature=[_LR], autograph=False)
    def upscale_in_small_tiles(self, lr: tf.Tensor) -> dict[str, tf.Tensor]:
        """Is what `serve` does with large pictures, for small ones: to try it (verification.py)."""
        return {"sr": self._run_in_tiles(lr, self._tiles.smallest())}

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
        """Adds the limits and the size of tiles to what a client needs to know."""
        tiles = {"tile_pixels": self._tiles.pixels, "tile_bytes": self._tiles.bytes}
        if self._tiles.part_pixels:
            tiles["part_pixels"] = self._tiles.part_pixels
        return {
            **super().facts(scale),
            "max_pixels": self.max_pixels,
            "max_answer_bytes": _RGBA_BYTES * scale**2 * self.max_pixels,
            **tiles,
        }

    @tf.function(input_signature=[_LR], autograph=False)
    def serve(self, lr: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps LR `[B, h, w, 3]` uint8 to `{"sr": [B, h * scale, w * scale, 3] uint8}`.

        Raises:
            tf.errors.InvalidArgumentError: there are more than `max_pixels` pixels in all.
        """
        return {"sr": self._run(_admit(lr, self.max_pixels))}

    @tf.function(input_signature=[_UNIT_LR], autograph=False)
    def upscale_float(self, lr: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same for float32 in [0, 1], in and out, not rounded; a fourth of the pixels."""
        lr = _admit(lr, self.max_pixels // FLOAT_SHARE)
        return {"sr": self._run_unit(lr, self._tiles.usual())}

    @tf.function(input_signature=[_FILES], autograph=False)
    def upscale_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps files (graph_decoding.py) of any sizes to PNG files, one by one.

        Returns:
            output_bytes: `[B]`, PNG files; "" where the status is not "OK".
            status: `[B]`: "OK", or what is wrong with that picture, in one line.

        Raises:
            tf.errors.InvalidArgumentError: there are more than `_MOST_FILES` files.
        """
        count = tf.size(image_bytes)
        text = f"image_bytes has {{}} files: this signature takes at most {_MOST_FILES} at a time"
        few = tf.debugging.Assert(count <= _MOST_FILES, [tf.strings.format(text, count)])
        with tf.control_dependencies([few]):
            count = tf.identity(count)

        def step(index: tf.Tensor, room: tf.Tensor, *made: tf.TensorArray) -> tuple[Any, ...]:
            output, status, taken = self._upscale_file(image_bytes[index], room)
            written = (x.write(index, y) for x, y in zip(made, (output, status), strict=True))
            return index + 1, room - taken, *written

        made = [tf.TensorArray(tf.string, count, element_shape=[]) for _ in range(2)]
        room = tf.constant(self.max_pixels, tf.int64)
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
        rgb, alpha, status = graph_decoding.decode(
            file, max_pixels=self.max_pixels, max_side=_PNG_SIDE // self._tiles.scale
        )
        pixels = tf.reduce_prod(tf.shape(rgb, tf.int64)[:2])
        full = "does not fit into this answer beside the pictures before it: send it by itself"
        status = tf.where(pixels > room, full, status)
        good = tf.equal(status, graph_decoding.OK)

        def upscale() -> tf.Tensor:
            clear = tf.size(alpha) > 0
            filled = tf.cond(clear, lambda: _fill(rgb, alpha), lambda: rgb)
            sr = self._run(filled[None])[0]
            return tf.cond(
                clear,
                lambda: tf.io.encode_png(tf.concat([sr, self._enlarge(alpha)], -1)),
                lambda: tf.io.encode_png(sr),
            )

        return (
            tf.cond(good, upscale, lambda: ""),
            status,
            tf.where(good, pixels, tf.zeros_like(pixels)),
        )

    def _run(self, lr: tf.Tensor) -> tf.Tensor:
        return self._run_in_tiles(lr, self._tiles.usual())

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


def _admit(lr: tf.Tensor, most: int) -> tf.Tensor:
    """Returns `lr` if it is neither empty nor has more than `most` pixels in all."""
    count, height, width, _ = tf.unstack(tf.shape(lr, tf.int64))
    limit = f"pixels (width x height): this signature takes at most {most}"
    checks = [
        tf.debugging.Assert(
            (count > 0) & (height > 0) & (width > 0),
            [tf.strings.format("lr holds no pixels: its shape is {}", tf.shape(lr))],
        ),
        tf.debugging.Assert(
            height * width <= most,
            [tf.strings.format(f"lr has {{}}x{{}} {limit}; cut it into parts", (width, height))],
        ),
        tf.debugging.Assert(
            count * height * width <= most,
            [
                tf.strings.format(
                    f"lr has {{}} pictures of {{}}x{{}} {limit} in all; send fewer at a time",
                    (count, width, height),
                )
            ],
        ),
    ]
    # Without it the network might start first.
    with tf.control_dependencies(checks):
        return tf.identity(lr)


def _fill(rgb: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """Returns `rgb` with the colours beside them where nothing is seen, so that no fringe is left.

    Args:
        rgb: uint8 `[h, w, 3]`.
        alpha: uint8 `[h, w, 1]`; where it is 0 colours are replaced, `_SPREADS * _SPREAD` far.
    """
    seen = tf.cast(alpha > 0, tf.float32)[None]
    colours = tf.cast(rgb, tf.float32)[None] * seen
    for _ in range(_SPREADS):
        # The share that is seen is averaged with the colours.
        mean = tf.nn.avg_pool2d(tf.concat([colours, seen], -1), 2 * _SPREAD + 1, 1, "SAME")
        near = mean[..., 3:]
        new = (seen < 1) & (near > 0)
        colours = tf.where(new, tf.math.divide_no_nan(mean[..., :3], near), colours)
        seen = tf.where(new, tf.ones_like(seen), seen)
    filled = tf.cast(tf.round(colours[0]), tf.uint8)
    return tf.where(seen[0] > 0, filled, rgb)


def _tiled_unit(
    apply: Function, halves: tuple[list[network.Step], list[network.Step]] | None, tiles: _Tiles
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
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
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns what runs `whole` on tiles; or `trunk` on tiles and `tail` on parts of its features.

    It takes LR images and the pixels of tiles and parts (`_Tiles.usual`).

    Args:
        tiles: their rims.
        spec: of the LR images.
        dtype: of the SR images.
        whole: the network.
        trunk: its first half or None.
        tail: its second half or None.
    """
    scale = tiles.scale

    @_once(spec, _SIZES)
    def one_tile(lr: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        if not (trunk and tail):
            return whole(lr)
        rim, pixels = tiles.tail_rim, sizes[1]
        return graph_tiling.apply(tail, trunk(lr), scale=scale, rim=rim, pixels=pixels, dtype=dtype)

    @_once(spec, _SIZES)
    def all_tiles(lr: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        sr = graph_tiling.apply(
            lambda tile: one_tile(tile, sizes),
            lr,
            scale=scale,
            rim=tiles.rim,
            pixels=sizes[0],
            alignment=tiles.alignment,
            dtype=dtype,
        )
        return tf.ensure_shape(sr, [None, None, None, 3])

    return all_tiles


def _once(*specs: tf.TensorSpec) -> Callable[[Function], Function]:
    """Returns the decorator of functions that stand in the saved graph once, however often used."""
    return tf.function(input_signature=specs, autograph=False)


def _plan(facts: dict[str, Any], tile_bytes: int) -> _Tiles:
    """Returns the tiles of a network (`servable.facts`) that take about `tile_bytes`."""
    alignment = facts["alignment"]
    rim = -(-facts["receptive_radius"] // alignment) * alignment
    cost, part = memory.Cost.of_live(facts["bytes_per_lr_pixel"]), 0
    tail_rim = facts.get("tail_rim", 0)
    if "tail_rim" in facts:
        cost = memory.Cost.of_live(
            facts["trunk_bytes_per_lr_pixel"], facts["tail_bytes_per_lr_pixel"]
        )
        part = max(int(memory.PART_SHARE * tile_bytes / cost.part), graph_tiling.smallest(tail_rim))
        part = min(part, max(memory.PART, graph_tiling.smallest(tail_rim)))
    pixels = max(int((tile_bytes - part * cost.part) / cost.tile), graph_tiling.smallest(rim))
    return _Tiles(
        scale=facts["scale"],
        rim=rim,
        alignment=alignment,
        pixels=pixels,
        part_pixels=part,
        tail_rim=tail_rim,
        bytes=round(pixels * cost.tile + part * cost.part),
    )
