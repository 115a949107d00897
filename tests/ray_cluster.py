"""A Ray cluster of real processes on loopback: a head that computes nothing, and worker nodes.

    with Cluster(nodes=2, cpus=1) as cluster:
        ray.init(cluster.address)
        cluster.nodes[0].kill()

Each node has its own raylet, object store and processes; to kill one is SIGKILL for all of them.
"""

import contextlib
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import pytest

_STORE_BYTES = 100_000_000
_START_SECONDS = 80.0
# Ray gives a node 30 s to start, which the rest of the suite on the same cores may not leave it.
_TRIES = 2
# A cluster's processes and its drivers must have the same token: whether Ray's file of one is there
# can change while other processes on the machine start a cluster. For this process, too.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A dead node, which refuses at once, is noticed within seconds instead of half a minute; one
    # that only waits for its turn on a busy machine is not taken for dead.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "4",
    # Within this time, 5 s by itself, a new process learns the cluster's id, or is refused for it.
    "RAY_gcs_rpc_server_connect_timeout_s": "60",
    # The suite's own processes fill the machine's memory as they like.
    # Ray gives its workers less of the cores than others get, which here do not lie idle.
    "RAY_worker_niceness": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
}


def why_not() -> str | None:
    """Returns why no cluster can be started here, for a test to skip by; None where it can."""
    try:
        import ray  # noqa: F401
    except ImportError:
        return "needs the extra `ray`"
    if os.name != "posix" or not pathlib.Path("/proc").exists():
        return "needs Linux: nodes are process groups"
    return None


class Node:
    """A head or a worker node: `ray start --block` and its children."""

    def __init__(self, folder: pathlib.Path, *flags: str, cpus: int, number: int, gpus: int = 0):
        folder.mkdir()
        self._log = folder / "log"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *flags]
        command += [f"--num-cpus={cpus}", f"--num-gpus={gpus}", "--disable-usage-stats"]
        # Each its own address: a driver attaches to whichever node has the driver's.
        command += [f"--node-ip-address=127.0.0.{number}", f"--object-store-memory={_STORE_BYTES}"]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,
            )

    def wait(self, words: str) -> None:
        """Returns once the node has said `words`."""
        end = time.monotonic() + _START_SECONDS
        while words not in self._log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no Ray node: {self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def processes(self) -> list[int]:
        """Returns the ids of the node's processes: the first one's session and its descendants."""
        parents, sessions = {}, {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    parents[int(entry.name)] = int(fields[1])
                    sessions[int(entry.name)] = int(fields[3])
        first = self._process.pid
        mine = {pid for pid, session in sessions.items() if session == first} | {first}
        while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
            mine |= more
        return sorted(mine)

    def kill(self) -> None:
        """Kills every process of the node, as a machine that loses its power would."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


class Cluster:
    """A head without cores for tasks, and `nodes` worker nodes of `cpus` logical cores each."""

    def __init__(self, *, nodes: int = 2, cpus: int = 1):
        # Short, for the length that the paths of sockets may have.
        self._folder = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
        self._root, self._count, self._cpus = pathlib.Path(self._folder.name), nodes, cpus
        self.head: Node | None = None
        self.nodes: list[Node] = []
        self._made = 0

    def __enter__(self):
        try:
            self.head = self._start(self._head)
            for _ in range(self._count):
                self.add_node()
        except BaseException as error:
            self.__exit__()
            if isinstance(error, RuntimeError) and "SRGAN_REQUIRE_RAY" not in os.environ:
                pytest.skip(f"no Ray cluster can be started here: {str(error)[-300:]}")
            raise
        return self

    def _head(self, folder: pathlib.Path) -> Node:
        port = _free_port()
        self.address = f"127.0.0.1:{port}"
        flags = ["--head", f"--port={port}", "--include-dashboard=false"]
        flags += [f"--temp-dir={self._root / f't{self._made}'}"]
        return Node(folder, *flags, cpus=0, number=1)

    def _start(self, make: Callable[[pathlib.Path], Node]) -> Node:
        """Returns the node that `make` starts in a folder, once it is there."""
        for attempt in range(_TRIES):
            self._made += 1
            node = make(self._root / f"n{self._made}")
            try:
                node.wait("Ray runtime started")
                return node
            except BaseException as error:
                node.kill()
                if attempt == _TRIES - 1 or not isinstance(error, RuntimeError):
                    raise

    def add_node(self, gpus: int = 0) -> Node:
        """Starts one more worker node and returns it once it is there.

        `gpus` are what Ray counts; that there are any it does not look at.
        """
        flag = f"--address={self.address}"
        node = self._start(
            # Each address once: one that is dead may still be known.
            lambda folder: Node(folder, flag, cpus=self._cpus, number=1 + self._made, gpus=gpus)
        )
        self.nodes.append(node)
        return node

    def __exit__(self, *_):
        for node in (*self.nodes, *([self.head] if self.head else [])):
            node.kill()
        self._folder.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
