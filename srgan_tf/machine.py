"""What the machine gives to this process, and what TensorFlow should make of it."""

import importlib.metadata
import os
import re

_CPU_FACTS = "/proc/cpuinfo"
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# On processors with one of these TensorFlow turns oneDNN on by itself.
_ONEDNN_FLAGS = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}


def cores() -> int:
    """Returns the processor cores that this process may use."""
    # Not every system has affinities; TensorFlow counts so where there are.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prefer_onednn() -> None:
    """Has TensorFlow 2.15 use oneDNN on processors with AVX2; call before it is imported.

    By itself it does so only where there is AVX512-VNNI or more. Networks of this package take 1.4
    to 1.6 times as long without (docs/PERFORMANCE.md). TensorFlow 2.21 gives oneDNN kernels in a
    layout that it has no fast code for below AVX512, so there the default is right. A
    TF_ENABLE_ONEDNN_OPTS that the user has set wins.
    """
    if _tensorflow_version().startswith("2.15.") and "avx2" in _cpu_flags():
        os.environ.setdefault(_ONEDNN, "1")


def uses_onednn() -> bool:
    """Returns whether TensorFlow computes with oneDNN here; on Linux."""
    chosen = os.environ.get(_ONEDNN)
    if chosen is not None:
        return chosen.lower() in ("1", "true")
    return not _ONEDNN_FLAGS.isdisjoint(_cpu_flags())


def _tensorflow_version() -> str:
    try:
        return importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu_flags() -> set[str]:
    """Returns the first processor's features by Linux's names; none where that cannot be told."""
    try:
        with open(_CPU_FACTS, encoding="ascii", errors="replace") as file:
            found = re.search(r"^flags\s*:(.*)$", file.read(), re.MULTILINE)
    except OSError:
        return set()
    return set(found.group(1).split()) if found else set()
