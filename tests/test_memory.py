"""serving/memory.py and network.py: what is planned fits, and the process stays within it."""

import re
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import test_backends
from PIL import Image
from test_export import make_run

from srgan_tf import config, errors
from srgan_tf.models import generators
from srgan_tf.serving import memory, network


def _plan(height, width, available, **changes):
    options = {"cost": memory.Cost(1000.0), "scale": 4, "rim": 40, "memory_mb": 100, **changes}
    return memory.plan(height, width, available=available, **options)


def test_a_picture_that_fits_is_one_tile():
    # 100 x 200 pixels of 1000 bytes, and three strips of 16 * 3 bytes for each: 22.88 MB.
    assert _plan(100, 200, 22_900_000).tile_size == (20, 120)  # And 40 more on each side.
    rows, columns = _plan(100, 200, 22_800_000).tile_size
    assert (rows, columns) < (20, 120)


@pytest.mark.parametrize("size", [(3000, 3000), (200, 9000), (9000, 200)])
@pytest.mark.parametrize("megabytes", [60, 200, 800])
def test_tiles_fill_the_memory_and_no_more(size, megabytes):
    height, width = size
    plan = _plan(height, width, megabytes * 10**6)
    rows, columns = (min(side, tile + 80) for side, tile in zip(size, plan.tile_size, strict=True))
    kept = rows if rows == height else plan.tile_size[0]
    needed = rows * columns * 1000 + 3 * kept * width * 16 * 3
    assert 0.9 * megabytes * 10**6 < needed <= megabytes * 10**6


def test_a_budget_that_is_too_small_says_what_would_do():
    # A tile of 40 + 16 + 40 pixels a side: 9.2 MB; three strips of 16 * 1000 * 16 * 3 bytes: 2.3.
    with pytest.raises(errors.InputError, match="--memory_mb=100 is too little .* needs 107 at"):
        _plan(1000, 1000, 5_000_000)
    _plan(1000, 1000, 12_000_000)


def test_live_bytes_of_the_papers_generator():
    settings = config.GeneratorConfig(name="lite", filters=48, blocks=1)
    # The block's input, which is the head too, its convolution, ReLU and what that may need again.
    assert network.live_bytes(network.steps(generators.build(settings, 4))) == pytest.approx(
        4 * (3 + 4 * 48), rel=0.02
    )


@pytest.mark.parametrize(
    ("name", "layer"),
    [("srresnet", "trunk_add"), ("rrdb", "trunk_add"), ("autoencoder", "crop"), ("lite", None)],
)
def test_where_networks_are_cut(name, layer):
    settings = config.GeneratorConfig(name=name, filters=4, blocks=1, norm="none")
    halves = network.split(network.steps(generators.build(settings, 4)))
    assert (halves[0][-1].layer.name if halves else None) == layer


_MEASURE = """
import sys
from srgan_tf.serving import batch, pictures
from srgan_tf.serving.upscaler import Upscaler

run_dir, source, output, backend, megabytes = sys.argv[1:]
model = Upscaler.load(run_dir, memory_mb=int(megabytes), backend=backend)
summary = batch.run(pictures.plan([source], output, scale=2, compare=True), model)
assert summary.done == 1, summary
with open("/proc/self/status") as status:  # Not ru_maxrss, which counts the parent's memory too.
    peak = next(line for line in status if line.startswith("VmHWM"))
sys.stdout.write(peak.split()[1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["srresnet", "lite"])
@pytest.mark.parametrize(
    "backend", ["tensorflow", pytest.param("openvino", marks=test_backends.needs_openvino)]
)
def test_the_process_stays_within_the_budget(backend, name, tmp_path):
    run_dir = make_run(tmp_path / "run", steps=(1,), name=name)
    source = tmp_path / "large.png"
    Image.fromarray(np.tile(fixtures.photo_like(100, 100), [12, 15, 1])).save(source)
    command = [sys.executable, "-c", _MEASURE, run_dir, source, tmp_path / "out", backend]

    def measure(megabytes):
        return subprocess.run(
            [*map(str, command), str(megabytes)], capture_output=True, text=True, cwd=fixtures.ROOT
        )

    refused = measure(300)  # TensorFlow alone takes more: 450 to 600 MB, by its version.
    assert refused.returncode and "--memory_mb=300 is too little" in refused.stderr
    budget = int(re.search(r"needs (\d+) at least", refused.stderr)[1]) + 60
    done = measure(budget)
    assert done.returncode == 0, done.stderr
    # Untiled: 1.8 million LR pixels of some 200 bytes in 6 channels, and 65 MB of output.
    assert int(done.stdout) * 1024 < budget * 1e6
    assert Image.open(tmp_path / "out" / "large_x2.png").size == (3000, 2400)


def test_without_a_budget_it_does_not_matter_what_else_the_process_holds(monkeypatch):
    monkeypatch.setattr(memory, "_resident", lambda: 10**10)
    # 1,500 MB less TensorFlow's usual 750 and a reserve of 100.
    assert memory.left(None) == 650_000_000
    assert memory.left(1500) < 0
