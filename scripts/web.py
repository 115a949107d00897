"""Serves a page on which photos are upscaled.

Usage: srgan-web                    (then open http://127.0.0.1:7860)
       srgan-web --model=RUN_DIR

People drop a photo, choose a part of it (or all) and a model, watch the progress, compare bicubic
with the result pixel by pixel and download the PNG. Nobody else can reach the page unless --host
says so, it needs no internet, and nothing is kept: a photo goes when its page is closed.
"""

import contextlib
import pathlib
import sys
from typing import Any

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, errors, files, flag_utils
from srgan_tf.serving import client

# Served where no --model is given; it comes with the package.
_DEFAULT_MODEL = "lite"

_MODEL = flags.DEFINE_multi_string(
    "model",
    [],
    "A run folder, a SavedModel, a folder of numbered SavedModels (the highest), or a pretrained "
    "model: lite, lite-gan (both come with the package), srresnet or srgan (the extra "
    "`pretrained`); repeat it for a choice on the page. NAME=PATH gives it a name (default: "
    f"{_DEFAULT_MODEL}).",
)
_SERVER = flags.DEFINE_string(
    "server",
    None,
    "A TensorFlow Serving server that computes, grpc://HOST:PORT (the extra `serving`) or "
    "http://HOST:PORT; beside --model or instead of it.",
)
_SERVER_OPTIONS = flag_utils.define_fields(client.Options, "For --server: ")
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen on; 0.0.0.0 lets everyone in your network in."
)
_PORT = flags.DEFINE_integer(
    "port", 7860, "Port; 0 is any that is free.", lower_bound=0, upper_bound=65_535
)
_MAX_FILE_MB = flags.DEFINE_integer(
    "max_file_mb", 50, "Largest upload, in millions of bytes.", lower_bound=1
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels",
    2_000_000,
    "Most pixels that are upscaled at once; of a larger photo people choose a part.",
    lower_bound=1,
)
_MAX_WAITING = flags.DEFINE_integer(
    "max_waiting", 8, "Photos that may wait while one is being computed.", lower_bound=0
)
_BACKEND = flags.DEFINE_enum(
    "backend",
    "tensorflow",
    ["tensorflow", "openvino"],
    "What runs the models: tensorflow, or openvino on CPUs (the extra `openvino`).",
)
_TILE_SIZE = flags.DEFINE_integer(
    "tile_size",
    None,
    "Tiles of this many pixels a side instead of what memory allows: smaller ones take longer, but "
    "Cancel ends a photo sooner.",
    lower_bound=1,
)


def main(argv: list[str]) -> None:
    """Loads the models and serves the page."""
    if argv[1:]:
        raise errors.InputError(f"Unexpected argument {argv[1]!r}; see --help.")
    from srgan_tf.serving import web

    web.require_gradio()
    web.free_port(_HOST.value, _PORT.value)  # What is taken is said before anything is loaded.
    cli.import_tensorflow()
    from srgan_tf.serving.upscaler import Upscaler

    chosen: dict[str, tuple[str, dict[str, Any]]] = {}
    for one in _MODEL.value or ([] if _SERVER.value else [_DEFAULT_MODEL]):
        name, path = web.named(files.expand(one))
        if name in chosen:
            raise errors.InputError(f"Two models are called {name}; name them: --model=NAME=PATH.")
        chosen[name] = path, {"tile_size": _TILE_SIZE.value, "backend": _BACKEND.value}
    server = {one.name: one.value for one in _SERVER_OPTIONS if one.present}
    if server and not _SERVER.value:
        raise errors.InputError(f"--{next(iter(server))} is for --server, which is not given.")
    if _SERVER.value:
        name = f"{server.get('model_name', '')} on {_SERVER.value.partition('://')[2]}"
        chosen[name] = _SERVER.value, server | {"tile_size": _TILE_SIZE.value}
    with contextlib.ExitStack() as stack:
        models = {
            name: stack.enter_context(Upscaler.load(path, **options))
            for name, (path, options) in chosen.items()
        }
        web.serve(
            models,
            host=_HOST.value,
            port=_PORT.value,
            max_file_mb=_MAX_FILE_MB.value,
            max_pixels=_MAX_PIXELS.value,
            max_waiting=_MAX_WAITING.value,
        )


def run() -> None:
    """Entry point of the console command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
