"""models/layers.py, Sum: networks give each thread its own pixels, with oneDNN too.

With Keras' own Add the process ended within 5 to 12 s (SIGSEGV, or glibc's malloc).
"""

import os
import subprocess
import sys

import fixtures
import pytest


@pytest.mark.parametrize("name", ["srresnet", "lite"])
def test_threads_do_not_disturb_each_other(name):
    program = fixtures.ROOT / "tests" / "concurrent_runs.py"
    paths = os.pathsep.join([str(fixtures.ROOT), str(fixtures.ROOT / "tests")])
    ran = subprocess.run(
        [sys.executable, program, name, "12"],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, f"{ran.returncode}: {ran.stdout}{ran.stderr[-500:]}"
    assert int(ran.stdout.split()[0]) > 100
