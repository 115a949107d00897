"""Exports a trained generator: a SavedModel, or a file of TensorFlow Lite or ONNX.

Usage: srgan-export --run_dir=DIR
       srgan-export --model=srgan --output=DIR --deployment=DIR
       srgan-export --interpolate=RUN_A,RUN_B,0.8 --output=DIR
       srgan-export --run_dir=DIR --format=tflite --tflite_type=float16
       srgan-export --describe=PATH [--json]

Writes RUN_DIR/saved_model/<step>/ (or OUTPUT/<version>/), which takes pictures of any size and
number; TensorFlow Serving can watch the folder around it. Nothing appears unless the saved model,
loaded again, does to photos what the checkpoint does. --interpolate exports a generator between
two: (1 - alpha) A + alpha B of every weight. --format=tflite and onnx write a file instead,
RUN_DIR/tflite/<step>.tflite or OUTPUT/<version>.onnx. --deployment writes what the official image
of TensorFlow Serving needs; with --describe it does so for an export that is there.
"""

import json
import pathlib
import sys

from absl import flags, logging

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, errors, files

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Folder of the training run.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Which checkpoint: last, best (of the last stage) or a step."
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["raw", "ema"],
    "The trained weights or their moving average (default: ema where there is one).",
)
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Exports a pretrained model instead: lite, lite-gan, srresnet or srgan. Needs --output.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder in which <version>/ (or <version>.tflite, .onnx) is made (default: saved_model, tflite "
    "or onnx in RUN_DIR).",
)
_VERSION = flags.DEFINE_integer(
    "version",
    None,
    "Number of the version (default: the step; with --model one above the highest that is there, "
    "and for files the model's name). TensorFlow Serving serves the highest.",
    lower_bound=0,
)
_INTERPOLATE = flags.DEFINE_string(
    "interpolate",
    None,
    "RUN_A,RUN_B,alpha: the generator (1 - alpha) A + alpha B. Either is RUN_DIR, "
    "RUN_DIR:CHECKPOINT or a pretrained model (lite, lite-gan, srresnet, srgan); both must be the "
    "same generator for the same scale. Needs --output; the step is B's (A's if B is pretrained).",
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "savedmodel",
    ["savedmodel", "tflite", "onnx"],
    "What to write: a SavedModel (TensorFlow, TensorFlow Serving, srgan-upscale), or one file for "
    "TensorFlow Lite (phones) or ONNX (the extra `onnx`). Files take floats in [0, 1].",
)
_TFLITE_TYPE = flags.DEFINE_enum(
    "tflite_type",
    None,
    ["float32", "float16", "dynamic"],
    "How --format=tflite stores weights: float32 (default), float16 (half the size, the same to "
    "the eye) or dynamic (8 bits, a quarter of the size; it computes in 8 bits too and is visibly "
    "less exact).",
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "bfloat16"],
    "What the exported network computes in; bfloat16 is for CPUs and GPUs that have it. "
    "Weights and pictures stay as they are.",
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels",
    None,
    "Largest picture, in pixels, that the exported model takes (default: one that becomes 134 "
    "million pixels, 8.4 million at x4). Clients read it from the model's record.",
    lower_bound=1,
)
_OVERWRITE = flags.DEFINE_boolean(
    "overwrite",
    False,
    "Replace an export of the same version, and files of --deployment. Not for a folder that is "
    "served: a running server keeps the version that it has.",
)
_DEPLOYMENT = flags.DEFINE_string(
    "deployment",
    None,
    "Folder for models.config, batching parameters, docker-compose.yaml and kubernetes.yaml of the "
    "exported model.",
)
_NAME = flags.DEFINE_string(
    "name",
    None,
    "What clients of the server call the model (default: that of --model, else srgan).",
)
_SERVING_TAG = flags.DEFINE_string(
    "serving_tag",
    None,
    "Tag of the image tensorflow/serving for --deployment (default: a release that was there when "
    "this was written).",
)
_DESCRIBE = flags.DEFINE_string(
    "describe",
    None,
    "Says what an export is and where it comes from; PATH is a SavedModel, a folder of versions, "
    "a run folder, or a file of --format. Exports nothing.",
)
_JSON = flags.DEFINE_boolean("json", False, "--describe gives the whole record as JSON.")
# Of what is exported; --describe exports nothing.
_OF_EXPORTS = (
    _CHECKPOINT,
    _WEIGHTS,
    _OUTPUT,
    _VERSION,
    _FORMAT,
    _TFLITE_TYPE,
    _PRECISION,
    _MAX_PIXELS,
)


def main(argv: list[str]) -> None:
    """Exports and names the folder, or describes an export."""
    if len(argv) > 1:
        raise errors.InputError(f"Unexpected arguments: {' '.join(argv[1:])}; use --flag=value.")
    _require_one()
    if _JSON.value and not _DESCRIBE.value:
        raise errors.InputError("--json goes with --describe.")
    if not _DEPLOYMENT.value:
        for flag in (_NAME, _SERVING_TAG):
            if flag.present:
                raise errors.InputError(f"--{flag.name} goes with --deployment.")
        _make()
        return
    from srgan_tf.serving import deployment

    folder, name = files.expand(_DEPLOYMENT.value), _NAME.value or _MODEL.value or "srgan"
    tag = deployment.TAG if _SERVING_TAG.value is None else _SERVING_TAG.value
    place = files.expand(_OUTPUT.value or _RUN_DIR.value or _DESCRIBE.value)
    deployment.check(folder, name, tag, place=place, overwrite=_OVERWRITE.value)
    target = _make()
    cli.import_tensorflow()
    from srgan_tf.serving import model_record

    record = model_record.read(target)
    written = deployment.write(folder, model=target, record=record, name=name, tag=tag)
    logging.info("Wrote %s", ", ".join(written))


def _require_one() -> None:
    """Refuses none or several of what can be exported, and flags that do not go with it."""
    kinds = {
        "run_dir": _RUN_DIR.value,
        "model": _MODEL.value,
        "interpolate": _INTERPOLATE.value,
        "describe": _DESCRIBE.value,
    }
    given = [f"--{name}" for name, value in kinds.items() if value]
    if not given:
        raise errors.InputError(
            "--run_dir is needed (or --model, --interpolate, --describe); see --help."
        )
    if _INTERPOLATE.value and (_RUN_DIR.value or _CHECKPOINT.value != "last"):
        raise errors.InputError(
            "--interpolate names its runs itself, checkpoints as RUN_DIR:CHECKPOINT: leave out "
            "--run_dir and --checkpoint."
        )
    if len(given) > 1:
        raise errors.InputError(f"{' and '.join(given)} exclude each other: give one.")
    ignored = [f"--{flag.name}" for flag in _OF_EXPORTS if flag.present]
    if _DESCRIBE.value and ignored:
        raise errors.InputError(
            f"--describe exports nothing: leave out {', '.join(ignored)}, or export again."
        )
    if _MODEL.value and (_CHECKPOINT.value != "last" or _WEIGHTS.value):
        raise errors.InputError("--checkpoint and --weights are for runs: leave them out.")
    if (_MODEL.value or _INTERPOLATE.value) and not _OUTPUT.value:
        raise errors.InputError(f"{given[0]} needs --output=DIR for what is exported.")
    if _DEPLOYMENT.value and _FORMAT.value != "savedmodel":
        raise errors.InputError("--deployment is for SavedModels: leave --format out.")


def _make() -> str:
    """Exports, or describes what is there, says so, and returns the SavedModel."""
    cli.import_tensorflow()
    if _DESCRIBE.value:
        return _describe(files.expand(_DESCRIBE.value))
    target = _export()
    cli.emit(f"Exported to {target}")
    return target


def _describe(path: str) -> str:
    from srgan_tf.serving import describe, formats, model_record

    if formats.is_file(path):
        if _DEPLOYMENT.value:
            raise errors.InputError(f"--deployment is for SavedModels: {path} is none.")
        directory, record = path, formats.read(path)
    else:
        directory = model_record.find(path)
        record = model_record.read(directory)
    text = json.dumps(record, indent=2) if _JSON.value else None
    cli.emit(text or "\n".join(describe.lines(directory, record)))
    return directory


def _export() -> str:
    from srgan_tf.serving import export, interpolation

    output = files.expand(_OUTPUT.value)
    options = {
        "overwrite": _OVERWRITE.value,
        "precision": _PRECISION.value,
        "max_pixels": _MAX_PIXELS.value,
        "version": _VERSION.value,
        "format": _FORMAT.value,
        "tflite_type": _TFLITE_TYPE.value,
    }
    if _MODEL.value:
        return export.export_pretrained(_MODEL.value, output=output, **options)
    if _INTERPOLATE.value:
        return interpolation.export(
            _INTERPOLATE.value, output=output, weights=_WEIGHTS.value, **options
        )
    return export.export(
        files.expand(_RUN_DIR.value),
        checkpoint=_CHECKPOINT.value,
        weights=_WEIGHTS.value,
        output=output,
        **options,
    )


def run() -> None:
    """Entry point of the console command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
