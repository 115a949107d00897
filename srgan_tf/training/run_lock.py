"""One process trains in a run folder: a lock that the kernel frees when its holder dies.

The lock is on RUN_DIR/.lock (flock), whose text says who holds it. It is not inherited by
processes that this one starts, so a SIGKILL leaves nothing behind. Only training takes it: readers
(export, evaluate, upscale) are not hindered. Remote folders (gs://...) cannot be locked: there it
is up to the user that one process writes; see docs/RELIABILITY.md.
"""

import datetime
import json
import os
import socket
import time

from absl import logging

from srgan_tf import errors, files, run_folder

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None

NAME = ".lock"


class RunLock:
    """Context manager; `take` may be called again once the run folder is made."""

    def __init__(self, run_dir: str, patience: float = 0.0):
        """Args: the run folder, which need not exist; for how many seconds it may be taken."""
        self._patience = patience
        self._run_dir, self._path = run_dir, os.path.join(run_dir, NAME)
        self._descriptor: int | None = None

    def __enter__(self) -> "RunLock":
        """Takes the lock if the folder holds a run already.

        Raises:
            errors.InputError: another process has it.
            errors.RunError: the folder cannot be written.
        """
        if run_folder.is_run_folder(self._run_dir):
            self.take()
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            self._close()

    def take(self) -> None:
        """Takes the lock unless it is held already; makes the folder where it is missing.

        Raises:
            errors.InputError: another process has it.
        """
        if self._descriptor is not None or files.is_remote(self._run_dir) or fcntl is None:
            return
        with run_folder.writing(self._run_dir):
            os.makedirs(self._run_dir, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._flock(descriptor)
        except BlockingIOError as error:
            holder = _holder(os.read(descriptor, 4096))
            os.close(descriptor)
            raise errors.InputError(
                f"{self._run_dir} is being trained in by {holder}; wait for it, stop it, or name "
                "another --run_dir."
            ) from error
        except OSError as error:  # Some network file systems.
            logging.warning(
                "%s cannot be locked (%s): do not start a second training in this folder.",
                self._run_dir,
                error.strerror,
            )
        self._descriptor = descriptor
        # A forked process shares the lock until it has closed the file, too.
        os.register_at_fork(after_in_child=self._close)
        _write(descriptor)

    def _flock(self, descriptor: int) -> None:
        end = time.monotonic() + self._patience
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise
            time.sleep(0.5)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _write(descriptor: int) -> None:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, (json.dumps(holder) + "\n").encode(), 0)


def _holder(text: bytes) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
