"""Measures speed and memory on this machine: srgan-benchmark --output=DIR [--suites=...]

Everything is timed in turns within one run, so that the ratios hold on a busy machine, too. It
prints tables and writes benchmark.json and benchmark.png.

  limits     matrix products in float32 and bfloat16: the most this machine can do
  training   a step of each of the three stages (the paper's networks), by precision
  inference  480x270 pixels through srresnet and lite, by backend and precision, with peak memory
  data       training crops per second on one core; needs --data
  startup    export, and a new process to its first picture
  growth     cost against pixels (by backend), blocks, scale and batch

With --peers=PYTHON (the interpreter of an environment of their own, where PyTorch, ONNX Runtime and
OpenCV are installed) the same networks are timed there, in the same turns:

  python -m venv peers && peers/bin/pip install torch onnx onnxruntime opencv-python-headless pillow
  srgan-benchmark --output=DIR --peers=peers/bin/python
"""

import importlib.metadata
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, config, errors, files, registry, terminal
from srgan_tf.benchmark import contenders, results, suites

_KNOWN_BACKENDS = ("tensorflow", "openvino")

_OUTPUT = flags.DEFINE_string("output", None, "Folder for benchmark.json and benchmark.png.")
_SUITES = flags.DEFINE_list("suites", list(suites.SUITES), "What is measured, of those above.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each contender runs.", lower_bound=1)
_PRECISIONS = flags.DEFINE_list("precisions", ["float32", "bfloat16"], "Of ours and of peers.")
_BACKENDS = flags.DEFINE_list("backends", ["tensorflow"], "What runs exported models.")
_DATA = flags.DEFINE_string("data", None, "Folder that srgan-prepare wrote, for the data suite.")
_PHOTOS = flags.DEFINE_string("photos", None, "Folder of photos, for the peers' data loader.")
_PEERS = flags.DEFINE_string("peers", None, "Python interpreter of the peers' environment.")
_QUICK = flags.DEFINE_boolean("quick", False, "Tiny networks and pictures, to try the command.")


def main(argv: list[str]) -> int:
    """Measures, prints and writes."""
    if len(argv) > 1:
        raise errors.InputError(f"Unexpected arguments: {' '.join(argv[1:])}; use --flag=value.")
    if not _OUTPUT.value:
        raise errors.InputError("--output is needed; see --help.")
    settings = _settings()
    groups = [
        group
        for name in _SUITES.value
        for group in registry.lookup(suites.SUITES, name, "suite")(settings)
    ]
    if not groups:
        raise errors.InputError("Nothing to measure: the data suite needs --data=DIR.")
    output = files.expand(_OUTPUT.value)
    files.make_folder(output)
    measured = []
    with terminal.progress(total=len(groups), desc="benchmark", unit="group") as bar:
        for group in groups:
            found = contenders.measure(
                group.contenders,
                _ROUNDS.value,
                lambda text: bar.set_postfix_str(text, refresh=sys.stderr.isatty()),
            )
            measured.append((group, found))
            cli.emit(results.table(group, found) + "\n")
            _write(output, measured, settings.peers)
            bar.update(1)
    cli.emit(f"Written: {os.path.join(output, 'benchmark.json')} and benchmark.png.")
    return 0


def _settings() -> suites.Settings:
    peers = _PEERS.value and shutil.which(files.expand(_PEERS.value))
    if _PEERS.value and not peers:
        raise errors.InputError(f"--peers={_PEERS.value} is not a Python interpreter.")
    for flag, choices in ((_PRECISIONS, config.PRECISIONS), (_BACKENDS, _KNOWN_BACKENDS)):
        for name in flag.value:
            registry.lookup(dict.fromkeys(choices), name, flag.name.removesuffix("s"))
    for flag in (_DATA, _PHOTOS):
        if flag.value and not files.exists(files.expand(flag.value)):
            raise errors.InputError(f"--{flag.name}={flag.value} does not exist.")
    settings = suites.Settings(
        precisions=tuple(_PRECISIONS.value),
        backends=tuple(_BACKENDS.value),
        data_dir=_DATA.value and files.expand(_DATA.value),
        photos=_PHOTOS.value and files.expand(_PHOTOS.value),
        peers=peers,
    )
    return suites.quick(settings) if _QUICK.value else settings


def _write(output: str, measured: results.Measured, peers: str | None) -> None:
    """Writes what there is so far: a run that is stopped has not been for nothing."""
    command = shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
    text = results.to_json(command, _versions(peers), measured)
    files.write_atomically(os.path.join(output, "benchmark.json"), [text.encode()])
    results.write_chart(os.path.join(output, "benchmark.png"), measured)


def _versions(peers: str | None) -> dict[str, object]:
    ours = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
    if not peers:
        return {"srgan_tf": ours}
    code = (
        "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in "
        "m.distributions() if d.name in ('torch', 'onnxruntime', 'opencv-python-headless')}))"
    )
    found = subprocess.run([peers, "-c", code], capture_output=True, text=True, check=False)
    return {"srgan_tf": ours, "peers": found.stdout.strip()}


def run() -> None:
    """Entry point of the console command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
