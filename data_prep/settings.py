"""What determines a prepared data set, besides the photos: one frozen dataclass, no TensorFlow."""

import dataclasses
import hashlib
import json
import math
import re
from typing import Any

import PIL

from srgan_tf import config, errors, photos
from srgan_tf.config_fields import config_field

# Crops and validation photos must divide by every scale: 24.
MULTIPLE = math.lcm(*config.SCALES)
ENCODINGS = ("png", "jpeg", "raw")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How photos become records; each field is a flag of srgan-prepare."""

    name: str = config_field(
        "srgan_hr", "Name of the data set; shards are called NAME-train.tfrecord-*."
    )
    crop_size: int = config_field(
        192, f"Side of a crop in pixels; a multiple of {MULTIPLE}, so that it suits every scale."
    )
    stride: int = config_field(
        0,
        "Distance between crops in pixels; 0: the crop size. They move together, by three quarters "
        "at most, where one more then reaches the edges of the photo.",
    )
    downscale: float = config_field(
        1.0, "Shrinks photos by this factor before cropping (Lanczos); 2 hides JPEG noise."
    )
    min_detail: float = config_field(
        1.0,
        "Leaves out flat crops: those whose luma differs by less than this many grey levels "
        "(of 255) from pixel to pixel on average. Photos of objects have 3 to 20, skies below 1.",
    )
    encoding: str = config_field(
        "raw", "How records hold pixels: png, jpeg (smaller), raw (fastest)."
    )
    jpeg_quality: int = config_field(95, "Quality of --encoding=jpeg, 1 to 100.")
    shards: int = config_field(
        0, "Training shards; 0: one per 128 MiB, at least 4. Never more than there are crops."
    )
    seed: int = config_field(1, "Seed of the order in which crops are spread over the shards.")
    validation_percent: float = config_field(
        5.0, "Percent of the photos kept for validation, chosen by a hash of their name; 0 to 50."
    )
    validation_size: int = config_field(
        1024, "Validation photos are cropped around the middle to at most this many pixels a side."
    )
    max_pixels: int = config_field(
        photos.DEFAULT_MAX_PIXELS, "Skips photos with more pixels (known before decoding)."
    )

    def __post_init__(self) -> None:
        for holds, rule in (
            (re.fullmatch("[a-z][a-z0-9_]*", self.name), "name must be like srgan_hr"),
            (
                self.crop_size > 0 and self.crop_size % MULTIPLE == 0,
                f"crop_size must be a positive multiple of {MULTIPLE} (to divide by every scale)",
            ),
            (self.stride >= 0, "stride must not be negative"),
            (1 <= self.downscale < math.inf, "downscale must be at least 1"),
            (self.min_detail >= 0, "min_detail must not be negative"),
            (self.encoding in ENCODINGS, f"encoding must be one of {ENCODINGS}"),
            (1 <= self.jpeg_quality <= 100, "jpeg_quality must be 1 to 100"),
            (0 <= self.shards <= 99_999, "shards must be 0 to 99999"),
            (0 <= self.validation_percent <= 50, "validation_percent must be 0 to 50"),
            (
                self.validation_size >= MULTIPLE,
                f"validation_size must be at least {MULTIPLE}",
            ),
            (self.max_pixels >= 1, "max_pixels must be at least 1"),
        ):
            if not holds:
                field = rule.split()[0]
                raise errors.InputError(f"{rule}: {field}={getattr(self, field)!r}.")

    @property
    def step(self) -> int:
        """Largest distance between crops in pixels."""
        return self.stride or self.crop_size

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as they stand in the manifest."""
        return dataclasses.asdict(self)

    def key(self) -> str:
        """Returns a digest of all that determines what a photo's crops look like.

        Pillow's version belongs to it: another release may compress or resize differently.
        """
        text = json.dumps([self.to_dict(), PIL.__version__], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
