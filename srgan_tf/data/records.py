"""The records of a prepared data set: written, described and read in this one place.

A data set is a folder of TFRecord shards `NAME-SPLIT.tfrecord-00000-of-00004`, the two json files
that let `tfds.builder_from_directory` read them, and `manifest.json`, which is written last. A
record holds `image` (HR, uint8 RGB `[H, W, 3]`, as PNG, JPEG or raw bytes), `source` (the photo's
id) and the position `x`, `y` of its top left corner in that photo. Split `train` holds square
crops; `validation` holds one whole photo per record, in the order of the source ids.
"""

import dataclasses
import json
import os
from typing import Any

import tensorflow as tf

from srgan_tf import errors, images
from srgan_tf.data import faults

MANIFEST = "manifest.json"
_DESCRIPTION = "High-resolution crops (train) and whole photos (validation) from srgan-prepare."
_FEATURES = "tensorflow_datasets.core.features"
_ANY_SIZE = {"dimensions": ["-1", "-1", "3"]}


@dataclasses.dataclass(frozen=True)
class Split:
    """Where the records of one split lie; `fingerprint` names the content of the whole data set.

    `digests` are the shards' SHA-256 (empty where the manifest has none); `bad` are the records
    that others take the place of.
    """

    data_dir: str
    name: str
    files: tuple[str, ...]
    shard_lengths: tuple[int, ...]
    encoding: str
    crop_size: int
    fingerprint: str
    digests: tuple[str, ...] = ()
    bad: tuple[faults.Fault, ...] = ()

    @property
    def num_records(self) -> int:
        """Records of all shards together."""
        return sum(self.shard_lengths)


def shard_name(name: str, split: str, index: int, count: int) -> str:
    """Returns the file name that TFDS expects, e.g. `srgan_hr-train.tfrecord-00000-of-00004`."""
    return f"{name}-{split}.tfrecord-{index:05d}-of-{count:05d}"


def encode_example(
    *, image: bytes, shape: tuple[int, int], encoding: str, source: str, x: int, y: int
) -> bytes:
    """Returns a serialized `tf.train.Example`; equal input gives equal bytes.

    Args:
        image: PNG or JPEG file, or the uint8 RGB pixels row by row (raw).
        shape: Height and width; stored for raw only.
        encoding: png, jpeg or raw.
        source: Id of the photo.
        x: Left edge of the crop in the photo (upright, after downscaling).
        y: Top edge.
    """
    features = {"source": _bytes(source.encode()), "x": _ints(x), "y": _ints(y)}
    if encoding == "raw":
        features["image/shape"] = _ints(*shape, 3)
        features["image/value"] = _bytes(image)
    else:
        features["image"] = _bytes(image)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def decode(serialized: tf.Tensor, encoding: str) -> tf.Tensor:
    """Returns the HR image, uint8 `[H, W, 3]`, of one serialized record; works in a graph."""
    text = tf.io.FixedLenFeature([], tf.string)
    if encoding == "raw":
        features = {
            "image/shape": tf.io.FixedLenFeature([3], tf.int64),
            "image/value": text,
        }
        parsed = tf.io.parse_single_example(serialized, features)
        pixels = tf.io.decode_raw(parsed["image/value"], tf.uint8)
        image = tf.reshape(pixels, parsed["image/shape"])
        return tf.ensure_shape(image, [None, None, 3])
    parsed = tf.io.parse_single_example(serialized, {"image": text})
    return images.decode(parsed["image"])


def features_json(encoding: str) -> str:
    """Returns TFDS' `features.json` for records of `encoding`."""
    if encoding == "raw":
        image = _tensor("tensor_feature.Tensor", "uint8", "bytes", _ANY_SIZE)
    else:
        image = {
            "pythonClassName": f"{_FEATURES}.image_feature.Image",
            "image": {"dtype": "uint8", "encodingFormat": encoding, "shape": _ANY_SIZE},
        }
    features = {
        "image": image,
        "source": {"pythonClassName": f"{_FEATURES}.text_feature.Text", "text": {}},
        "x": _tensor("scalar.Scalar", "int64", "none", {}),
        "y": _tensor("scalar.Scalar", "int64", "none", {}),
    }
    return _json(
        {
            "pythonClassName": f"{_FEATURES}.features_dict.FeaturesDict",
            "featuresDict": {"features": features},
        }
    )


def dataset_info_json(name: str, splits: dict[str, list[dict[str, Any]]]) -> str:
    """Returns TFDS' `dataset_info.json`; `splits` as in the manifest (records, bytes per shard)."""
    described = [
        {
            "name": split,
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            "numBytes": str(sum(shard["bytes"] for shard in shards)),
            "shardLengths": [str(shard["records"]) for shard in shards],
        }
        for split, shards in splits.items()
    ]
    return _json(
        {
            "name": name,
            "version": "1.0.0",
            "description": _DESCRIPTION,
            "fileFormat": "tfrecord",
            "splits": described,
        }
    )


def read_manifest(data_dir: str) -> dict[str, Any] | None:
    """Returns the manifest of the data set in `data_dir`, or None where there is none."""
    path = os.path.join(data_dir, MANIFEST)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as stream:
        try:
            manifest = json.load(stream)
        except ValueError:
            manifest = None
    if not isinstance(manifest, dict) or "fingerprint" not in manifest:
        raise errors.InputError(f"{path} is not a manifest that srgan-prepare wrote")
    return manifest


def damage(data_dir: str, manifest: dict[str, Any], splits: list[str]) -> str | None:
    """Says which shard of `splits` is missing or has another size than the manifest says."""
    for split in splits:
        for shard in manifest["splits"][split]:
            path = os.path.join(data_dir, shard["file"])
            if not tf.io.gfile.exists(path):
                return f"shard {path} is missing"
            size = tf.io.gfile.stat(path).length
            if size != shard["bytes"]:
                return f"shard {path} has {size} bytes, not {shard['bytes']}"
    return None


def damage_of(data_dir: str, split: str) -> str | None:
    """As `damage`, for a split that `open_split` has opened."""
    manifest = read_manifest(data_dir)
    return damage(data_dir, manifest, [split]) if manifest else f"{data_dir} has no {MANIFEST}"


def open_split(data_dir: str, split: str, *, damaged: bool = False) -> Split:
    """Finds the shards of `train` or `validation` in a folder that srgan-prepare wrote.

    Args:
        data_dir: the folder.
        split: `train` or `validation`.
        damaged: whether shards may be missing or have another size than the manifest says.

    Raises:
        errors.InputError: there is no (complete) data set, or the split has no records.
    """
    manifest = read_manifest(data_dir)
    if manifest is None:
        raise errors.InputError(
            f"{data_dir} holds no finished data set (no {MANIFEST}); "
            f"make one with: srgan-prepare --input=PHOTOS --output={data_dir}"
        )
    shards = manifest["splits"].get(split)
    if not shards:
        raise errors.InputError(
            f"the data set in {data_dir} has no {split} records, only {list(manifest['splits'])}; "
            "prepare it with two photos or more and a --validation_percent above 0"
        )
    problem = None if damaged else damage(data_dir, manifest, [split])
    if problem:
        raise errors.InputError(f"{problem}; copy the data set again or run srgan-prepare again")
    digests = tuple(shard.get("sha256", "") for shard in shards)
    return Split(
        data_dir=data_dir,
        name=split,
        files=tuple(os.path.join(data_dir, shard["file"]) for shard in shards),
        shard_lengths=tuple(shard["records"] for shard in shards),
        encoding=manifest["settings"]["encoding"],
        crop_size=manifest["settings"]["crop_size"],
        fingerprint=manifest["fingerprint"],
        digests=digests if all(digests) else (),
    )


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _tensor(class_name: str, dtype: str, encoding: str, shape: dict[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_FEATURES}.{class_name}",
        "tensor": {"dtype": dtype, "encoding": encoding, "shape": shape},
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
