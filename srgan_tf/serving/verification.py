"""Compares a saved model, loaded again, with the generator that it was made from, on photos.

Every signature is compared that the model offers; without a comparison here none is published. The
photos are crops that come with the package (photos/, free ones).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import numpy as np
import tensorflow as tf

from srgan_tf import errors, images
from srgan_tf.serving import servable

PHOTOS = ("dogs.png", "fig.png")
MOST_PIXELS = 61 * 45
# The signature whose SR is no whole grey levels.
UNIT = "upscale_float"


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


def verify(generator: tf.keras.Model, directory: str, tolerance: float) -> dict[str, Any]:
    """Compares the SavedModel in `directory` with `generator`.

    Returns:
        What is recorded: the `signatures` with their inputs and outputs; `verified`, how far each
        is from the generator at most (grey levels), and PSNR in dB (None: identical).

    Raises:
        errors.RunError: a signature differs by more than `tolerance` grey levels.
    """
    loaded = tf.saved_model.load(directory)
    signatures = loaded.signatures
    # The halves are for our own upscaler, which finds them as functions.
    functions = {**servable.functions(loaded), **signatures}
    pictured = [name for name in functions if name != _WORDS]
    unknown = sorted(set(pictured) - set(RUNS))
    if unknown:
        raise ValueError(f"No comparison for the signatures {unknown}; add them to RUNS.")
    found = {
        name: compare(generator, name, functools.partial(RUNS[name], functions), tolerance)
        for name in pictured
    }
    return {
        "signatures": {name: _describe(signatures[name]) for name in signatures},
        "verified": {"photos": list(PHOTOS), "tolerance": tolerance, "signatures": found},
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
    made = [np.asarray(run(photo)).astype(np.float64) for photo in photos()]
    wanted = [_wanted(generator, photo, name) for photo in photos()]
    score = _score([one - other for one, other in zip(made, wanted, strict=True)])
    # Not `>`: a difference that is no number must not pass.
    if not score["max_difference"] <= tolerance:
        raise errors.RunError(
            f"The exported model differs from the generator by up to {score['max_difference']:g} "
            f"grey levels ({name}; {tolerance:g} are allowed); nothing was published."
        )
    return score


def _wanted(generator: tf.keras.Model, photo: Photo, name: str) -> np.ndarray:
    sr = generator(photo.unit, training=False)
    if name == UNIT:
        unit = tf.clip_by_value(images.signed_to_unit(sr), 0.0, 1.0)
        return unit.numpy().astype(np.float64) * tf.uint8.max
    return images.signed_to_uint8(sr).numpy().astype(np.float64)


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
