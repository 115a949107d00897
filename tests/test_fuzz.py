"""Mutated pictures through decoding, upscaling and the serving graph: no crash, hang or leak.

Each way runs in a process of its own, so that a segmentation fault is a failed test. By default a
few dozen mutants; SRGAN_LONG_TESTS=1 makes them 2,000 for each way, SRGAN_FUZZ_SEED=N others.
"""

import importlib.util
import io
import json
import os
import pathlib
import struct
import subprocess
import sys
import zlib

import fuzz_worker
import pytest
from PIL import Image

LONG = bool(os.environ.get("SRGAN_LONG_TESTS"))
SEED = os.environ.get("SRGAN_FUZZ_SEED", "0")
_COUNTS = {"decode": 264, "upscale": 44, "graph": 44}
# What caches and an allocator's pools may take in the second half.
_MOST_GROWTH = 100_000_000
_WORKER = pathlib.Path(fuzz_worker.__file__)


@pytest.mark.parametrize("way", sorted(_COUNTS))
def test_mutants_are_read_or_refused(way, tmp_path):
    if way == "graph" and importlib.util.find_spec("srgan_tf.serving.served") is None:
        pytest.skip("needs the signature upscale_bytes (srgan_tf.serving.served)")
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("reads its memory from /proc")
    count = 2000 if LONG else _COUNTS[way]
    result = subprocess.run(
        [sys.executable, str(_WORKER), way, str(count), SEED, str(tmp_path)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=3600 if LONG else 300,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, f"see {tmp_path}/current\n{result.stderr[-3000:]}"
    found = json.loads((tmp_path / "result.json").read_text())
    assert not found["wrong"], "\n".join(found["wrong"][:20])
    # Broken as they are, some are read: the mutants reach the decoders.
    assert 0.02 * count < found["read"] < count
    assert found["growth"] < _MOST_GROWTH, found
    sys.stdout.write(f"{way}: {count} mutants, {found}\n")


def test_the_same_seed_gives_the_same_mutants():
    first, again, other = (list(fuzz_worker.mutants(30, seed)) for seed in (1, 1, 2))
    same = first == again
    assert same and len({data for _, data in first}) > 25 and first != other


def _lying(kind: str) -> bytes:
    """Returns a small file whose header claims at least 268 million pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, kind)
    data = bytearray(stream.getvalue())
    if kind == "PNG":
        data[16:24] = struct.pack(">II", 60_000, 60_000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 60_000, 60_000)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", 65_000, 65_000)
    elif kind == "TIFF":
        for tag in (256, 257):
            at = data.index(struct.pack("<HH", tag, 4))
            data[at + 8 : at + 12] = struct.pack("<I", 60_000)
    return bytes(data)


def test_bombs_are_refused_before_anything_is_decoded(tmp_path):
    """In a process of its own, whose peak is that of nothing else."""
    for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF"):
        (tmp_path / f"bomb.{kind}").write_bytes(_lying(kind))
    subprocess.run(
        [sys.executable, str(_WORKER), "bombs", "0", "0", str(tmp_path)],
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    found = json.loads((tmp_path / "result.json").read_text())
    assert not found["wrong"], found["wrong"]
    assert found["read"] == 10  # Each kind's size and pixels.
    # Decoded they would take 268 MB at least, each.
    assert found["growth"] < 50_000_000
