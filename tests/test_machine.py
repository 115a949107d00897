"""Which processors and TensorFlows get oneDNN."""

import os
import subprocess
import sys

import pytest

import srgan_tf
from srgan_tf import machine


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "restored after the test")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")


def test_the_library_asks_for_it(monkeypatch):
    asked = []
    monkeypatch.setattr(machine, "prefer_onednn", lambda: asked.append(1))
    monkeypatch.delitem(vars(srgan_tf), "Upscaler", raising=False)
    assert srgan_tf.Upscaler.load and asked


@pytest.mark.parametrize(
    ("version", "flags", "before", "after"),
    [
        ("2.15.1", "fpu avx2 fma", None, "1"),
        ("2.15.1", "fpu avx2 avx512f avx512_vnni", None, "1"),  # TensorFlow's own choice.
        ("2.15.1", "fpu avx", None, None),
        ("2.15.1", "fpu avx2 fma", "0", "0"),
        ("2.21.0", "fpu avx2 fma", None, None),
        ("", "fpu avx2 fma", None, None),
    ],
)
def test_onednn_where_it_is_faster(monkeypatch, tmp_path, version, flags, before, after):
    facts = tmp_path / "cpuinfo"
    facts.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    monkeypatch.setattr(machine, "_CPU_FACTS", str(facts))
    monkeypatch.setattr(machine, "_tensorflow_version", lambda: version)
    if before:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", before)
    machine.prefer_onednn()
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == after


@pytest.mark.parametrize(
    ("flags", "chosen", "uses"),
    [
        ("fpu avx2 fma", None, False),
        ("fpu avx2 avx512f avx512_vnni", None, True),
        ("fpu avx2 fma", "1", True),
        ("fpu avx2 avx512f avx512_vnni", "0", False),
    ],
)
def test_whether_tensorflow_uses_onednn(monkeypatch, flags, chosen, uses):
    monkeypatch.setattr(machine, "_cpu_flags", lambda: set(flags.split()))
    if chosen:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen)
    assert machine.uses_onednn() == uses


def test_a_system_without_cpuinfo_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_CPU_FACTS", str(tmp_path / "none"))
    machine.prefer_onednn()
    assert "TF_ENABLE_ONEDNN_OPTS" not in os.environ


def test_it_is_decided_before_tensorflow_starts():
    # As cli.import_tensorflow does it, in a process of its own; the switch is read but once.
    code = (
        "import os; os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None)\n"
        "from srgan_tf import cli; cli.import_tensorflow()\n"
        "from srgan_tf import machine\n"
        "from tensorflow.python.framework import test_util\n"
        "asked = machine._tensorflow_version().startswith('2.15.')\n"
        "asked = asked and 'avx2' in machine._cpu_flags()\n"
        "assert test_util.IsMklEnabled() or not asked\n"
        "assert test_util.IsMklEnabled() == machine.uses_onednn()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
