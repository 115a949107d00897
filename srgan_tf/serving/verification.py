"""Compares a saved model, loaded again, with the generator that it was made from, on photos.

Every signature is compared that the model offers; without a comparison here none is published. The
photos are crops that come with the package (photos/, free ones).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import numpy as np
import tensorflow as tf

from srgan_tf import errors, images
from srgan_tf.serving import graph_tiling, protocols, servable, served

PHOTOS = ("dogs.png", "fig.png")
MOST_PIXELS = 61 * 45
# The signature whose SR is no whole grey levels.
UNIT = "upscale_float"
# What `max_pixels` must be for the photos to be taken by all signatures.
LEAST_MAX_PIXELS = served.FLOAT_SHARE * MOST_PIXELS
# Pixels of the picture on which tiles are compared: as a whole and in four tiles, each nearly as
# large. So many belong to a rim of 81 pixels; that of `srgan` is 40 (20 s of CPU).
_MOST_TILED = 250 * 250


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo as a file has it, and as uint8 `[1, H, W, 3]`."""

    name: str
    encoded: bytes
    lr: tf.Tensor

    @property
    def unit(self) -> tf.Tensor:
        """The photo as float32 in [0, 1]."""
        return images.uint8_to_unit(self.lr)


def photos() -> list[Photo]:
    """Returns the photos that come with the package; their sides are odd."""
    found = []
    for name in PHOTOS:
        encoded = resources.files("srgan_tf.serving").joinpath("photos", name).read_bytes()
        found.append(Photo(name, encoded, tf.io.decode_png(encoded, channels=3)[None]))
    return found


# Signatures by name, and a photo, to SR `[1, h, w, 3]` in grey levels.
_Run = Callable[[Mapping[str, Any], Photo], tf.Tensor]


def _default(signatures: Mapping[str, Any], photo: Photo) -> tf.Tensor:
    return signatures["serving_default"](lr=photo.lr)["sr"]


def _float(signatures: Mapping[str, Any], photo: Photo) -> tf.Tensor:
    sr = signatures[UNIT](lr=photo.unit)["sr"]
    return sr * float(tf.uint8.max)


def _bytes(signatures: Mapping[str, Any], photo: Photo) -> tf.Tensor:
    made = signatures["upscale_bytes"](image_bytes=tf.constant([photo.encoded]))
    status = made["status"].numpy()[0].decode()
    if status != "OK":
        raise errors.RunError(f"The exported model cannot read {photo.name}: it {status}.")
    return tf.io.decode_png(made["output_bytes"][0], channels=3)[None]


def _halves(signatures: Mapping[str, Any], photo: Photo) -> tf.Tensor:
    return signatures["tail"](features=signatures["trunk"](lr=photo.lr)["features"])["sr"]


RUNS: dict[str, _Run] = {
    "serving_default": _default,
    UNIT: _float,
    "upscale_bytes": _bytes,
    "trunk": _halves,
    "tail": _halves,
}


# It repeats a part of the record and makes no pictures.
_WORDS = "describe"


def verify(
    generator: tf.keras.Model, directory: str, tolerance: float, least_psnr: float = 0.0
) -> dict[str, Any]:
    """Compares the SavedModel in `directory` with `generator`, and its tiles with the whole.

    Returns:
        What is recorded: the `signatures` with their inputs and outputs; `verified`, how far each
        is from the generator at most (grey levels), and PSNR in dB (None: identical); `tiles`.

    Raises:
        errors.RunError: a signature differs by more than `tolerance` grey levels, or its PSNR is
            below `least_psnr` dB.
    """
    loaded = tf.saved_model.load(directory)
    signatures = loaded.signatures
    # The halves are for our own upscaler, which finds them as functions.
    functions = {**servable.functions(loaded), **signatures}
    pictured = [name for name in functions if name != _WORDS]
    unknown = sorted(set(pictured) - set(RUNS))
    if unknown:
        raise ValueError(f"No comparison for the signatures {unknown}; add them to RUNS.")
    shown, found, made = photos(), {}, {}
    wanted = [generator(photo.unit, training=False) for photo in shown]
    for name in pictured:
        run = RUNS[name]
        if run not in made:  # Two halves are one run.
            made[run] = [run(functions, photo) for photo in shown]
        found[name] = _differences(made[run], wanted, name)
        _judge(found[name], f"signature {name}", tolerance, least_psnr)
    tiles = _compare_tiles(loaded, shown[0].lr)
    if isinstance(tiles, dict):
        _judge(tiles, "tiles", tolerance, least_psnr)
    return {
        "signatures": {name: _describe(signatures[name]) for name in signatures},
        "verified": {
            "photos": list(PHOTOS),
            "tolerance": tolerance,
            "least_psnr": least_psnr,
            "signatures": found,
            "tiles": tiles,
        },
    }


def compare(
    generator: tf.keras.Model, name: str, run: Callable[[Photo], tf.Tensor], tolerance: float
) -> dict[str, float | None]:
    """Returns how far what `run` makes of the photos is from what `generator` makes.

    Args:
        generator: lr in [0, 1] to sr in [-1, 1].
        name: of the signature that `run` runs.
        run: a photo to SR in grey levels.
        tolerance: in grey levels.

    Raises:
        errors.RunError: a pixel differs by more than `tolerance`.
    """
    wanted = [generator(photo.unit, training=False) for photo in photos()]
    score = _differences([run(photo) for photo in photos()], wanted, name)
    _judge(score, name, tolerance)
    return score


def _differences(
    made: list[tf.Tensor], wanted: list[tf.Tensor], name: str
) -> dict[str, float | None]:
    """Returns the score of what signature `name` made, in grey levels, for SR in [-1, 1]."""
    pairs = zip(made, wanted, strict=True)
    return _score([np.asarray(one).astype(np.float64) - _levels(sr, name) for one, sr in pairs])


def _judge(
    score: dict[str, float | None], what: str, tolerance: float, least_psnr: float = 0.0
) -> None:
    worst, psnr = score["max_difference"], score["psnr"]
    # Not `>`: a difference that is no number must not pass.
    if not worst <= tolerance:
        raise errors.RunError(
            f"The exported model differs from the generator by up to {worst:g} grey levels "
            f"({what}; {tolerance:g} are allowed); nothing was published."
        )
    if psnr is not None and not psnr >= least_psnr:
        raise errors.RunError(
            f"The exported model differs from the generator: {psnr:g} dB ({what}) where rounding "
            f"leaves {least_psnr:g} at least; nothing was published."
        )


def _levels(sr: tf.Tensor, name: str) -> np.ndarray:
    """Returns what signature `name` should give for SR in [-1, 1], in grey levels."""
    if name == UNIT:
        unit = tf.clip_by_value(images.signed_to_unit(sr), 0.0, 1.0)
        return unit.numpy().astype(np.float64) * tf.uint8.max
    return images.signed_to_uint8(sr).numpy().astype(np.float64)


def _compare_tiles(loaded: Any, lr: tf.Tensor) -> dict[str, Any] | str:
    """Returns how far the smallest tiles are from the whole, or why that is not known.

    The picture is `lr`, repeated up to two tiles each way.
    """
    if not hasattr(loaded, "upscale_in_small_tiles"):
        return "not compared: the model has none"
    facts = loaded.signatures[_WORDS](**{protocols.QUERY: tf.zeros([1], tf.int32)})
    radius, alignment = (int(facts[name][0]) for name in ("receptive_radius", "alignment"))
    rim = -(-radius // alignment) * alignment
    side = math.isqrt(graph_tiling.smallest(rim))
    height, width = side + 2 * alignment + 1, side + 2 * alignment + 3
    if height * width > _MOST_TILED:
        return f"not compared: with a rim of {rim} pixels it would take too long"
    repeats = [
        1,
        *(-(-one // there) for one, there in zip((height, width), lr.shape[1:3], strict=True)),
    ]
    picture = tf.tile(lr, [*repeats, 1])[:, :height, :width]
    whole, tiled = (
        function(picture)["sr"].numpy().astype(np.float64)
        for function in (loaded.upscale, loaded.upscale_in_small_tiles)
    )
    return {"size": [height, width], **_score([tiled - whole])}


def _score(differences: list[np.ndarray]) -> dict[str, float | None]:
    flat = np.concatenate([one.ravel() for one in differences])
    square = float(np.mean(flat**2))
    psnr = round(float(10 * np.log10(tf.uint8.max**2 / square)), 2) if square else None
    return {"max_difference": round(float(np.max(np.abs(flat))), 4), "psnr": psnr}


def _describe(signature: Any) -> dict[str, Any]:
    """Returns inputs and outputs as `{name: [dtype, shape]}`."""
    inputs = signature.structured_input_signature[1].values()
    outputs = signature.structured_outputs
    return {
        "inputs": {spec.name: _spec(spec) for spec in inputs},
        "outputs": {name: _spec(spec) for name, spec in outputs.items()},
    }


def _spec(spec: tf.TensorSpec) -> list[Any]:
    shape = None if spec.shape.rank is None else spec.shape.as_list()
    return [spec.dtype.name, shape]
