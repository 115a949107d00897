"""Finds, opens and atomically writes files; local ones without TensorFlow.

A path with `://` (gs://, s3://) goes through `tf.io.gfile`, which is imported only then, so that
worker processes which handle local photos start in a fraction of a second.
"""

import contextlib
import dataclasses
import errno
import glob
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from absl import logging

from srgan_tf import errors

_BUFFER = 1 << 20  # Bytes that are asked for at a time of a remote file.
# What file managers and archivers leave behind; hidden files and folders are left out as well.
_LEFTOVERS = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
# Machines that share a file system have processes of the same number, containers above all.
_TOKEN = os.urandom(3).hex()


@dataclasses.dataclass(frozen=True)
class Found:
    """A file, and its name relative to the input it was found in (`/` between the parts)."""

    path: str
    name: str


def is_remote(path: str) -> bool:
    """Returns whether only `tf.io.gfile` can read `path`."""
    return "://" in path


def expand(path: str | None) -> str | None:
    """Returns `path` with a leading `~` resolved, which shells leave in `--flag=~/x`."""
    return path if path is None or is_remote(path) else os.path.expanduser(path)


def absolute(path: str) -> str:
    """Returns `path` as processes with another working directory need it."""
    return path if is_remote(path) else os.path.abspath(path)


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


def exists(path: str) -> bool:
    """Returns whether there is a file or folder."""
    return _gfile().exists(path) if is_remote(path) else os.path.exists(path)


def is_folder(path: str) -> bool:
    """Returns whether there is a folder."""
    return _gfile().isdir(path) if is_remote(path) else os.path.isdir(path)


def remove_folder(path: str) -> None:
    """Removes a folder with all that is in it, if it is there."""
    if is_folder(path):
        _gfile().rmtree(path) if is_remote(path) else shutil.rmtree(path, ignore_errors=True)


def make_folder(path: str) -> None:
    """Makes a folder and those above it, unless they are there."""
    _gfile().makedirs(path) if is_remote(path) else os.makedirs(path, exist_ok=True)


def remove(path: str) -> None:
    """Removes a file."""
    _gfile().remove(path) if is_remote(path) else os.remove(path)


def names(folder: str) -> list[str]:
    """Returns what a folder holds; nothing if there is none."""
    if not is_folder(folder):
        return []
    return _gfile().listdir(folder) if is_remote(folder) else os.listdir(folder)


def modified(path: str) -> int:
    """Returns when a file was written, in nanoseconds, by the clock of its file system."""
    return _gfile().stat(path).mtime_nsec if is_remote(path) else os.stat(path).st_mtime_ns


def now(folder: str) -> int:
    """Returns what `modified` says of a file that is written in `folder` now."""
    probe = os.path.join(folder, f".{writer()}.probe")
    write_atomically(probe, [])
    try:
        return modified(probe)
    finally:
        remove(probe)


def lies_in(inner: str, outer: str) -> bool:
    """Returns whether `inner` is `outer` or below it, symbolic links followed."""
    inner, outer = (
        (path if is_remote(path) else os.path.realpath(path)).rstrip("/") for path in (inner, outer)
    )
    return f"{inner}/".startswith(f"{outer}/")


def shown(name: str) -> str:
    """Returns a name that every terminal and file takes: bytes that are no text are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def require_writable(path: str, flag: str) -> None:
    """Makes the folder of a file that will be written, and tries whether it can be.

    Raises:
        errors.InputError: it cannot; `flag` is named.
    """
    if is_folder(path):
        raise errors.InputError(f"--{flag}: {path} is a folder, name a file.")
    try:
        make_folder(os.path.dirname(path) or ".")
        probe = f"{path}.{os.getpid()}.probe"
        write_atomically(probe, [])
        _gfile().remove(probe) if is_remote(probe) else os.remove(probe)
    except Exception as error:  # TensorFlow's file systems raise errors of their own.
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise errors.InputError(f"--{flag}: {path} cannot be written: {reason}.") from error


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading bytes; what goes wrong is an OSError, wherever the file is."""
    return io.BufferedReader(_Remote(path), _BUFFER) if is_remote(path) else open(path, "rb")


class _Remote(io.RawIOBase):
    """A file of `tf.io.gfile` as Python has files: its own `seek` returns nothing."""

    def __init__(self, path: str):
        self._path = path
        with self._as_os_errors():
            self._file = _gfile().GFile(path, "rb")
            self._file.size()  # It is opened now, not when it is read.

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._as_os_errors():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._as_os_errors():
            self._file.seek(offset, whence)
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()

    @contextlib.contextmanager
    def _as_os_errors(self) -> Iterator[None]:
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError as error:
            missing = isinstance(error, tf.errors.NotFoundError)
            code = errno.ENOENT if missing else errno.EIO
            text = (error.message or os.strerror(code)).splitlines()[0]
            raise OSError(code, text, self._path) from error


def writer() -> str:
    """Returns what tells this process from any other, on other machines too."""
    return f"{os.getpid()}-{_TOKEN}"


def sync(path: str) -> None:
    """Waits until a local file, or what a local folder lists, is on the disk."""
    if is_remote(path):
        return  # A remote file is stored when it is closed.
    if os.name == "nt":
        return  # Neither folders nor files that are open for reading can be synced there.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync folders.
        unable = error.errno in (errno.EINVAL, errno.EBADF, errno.ENOTSUP)
        if not (unable and os.path.isdir(path)):
            raise
    finally:
        os.close(descriptor)


def write_atomically(path: str, chunks: Iterable[bytes], *, durable: bool = False) -> None:
    """Writes `chunks` under a temporary name beside `path` and renames; readers see all or nothing.

    The temporary name is hidden and carries the writer's own, so that two do not meet in it.
    `durable` waits for the disk, so that a power failure leaves the old file or the new one.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{writer()}.tmp")
    remote = is_remote(path)
    try:
        with _gfile().GFile(temporary, "wb") if remote else open(temporary, "wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
        if remote:
            _gfile().rename(temporary, path, overwrite=True)
        else:
            if durable:
                sync(temporary)
            os.replace(temporary, path)
            if durable:
                sync(folder or ".")
    except BaseException:
        with contextlib.suppress(Exception):
            _gfile().remove(temporary) if remote else os.remove(temporary)
        raise


def find(inputs: Iterable[str]) -> list[list[Found]]:
    """Returns the files of each input (a file, a folder with all below it, or a glob), sorted.

    Hidden files and the leftovers of file managers are left out; links are followed, loops are
    not; broken links are returned (they fail, by name, when they are opened). A file that two
    inputs reach is returned once, for the first of them.

    Raises:
        errors.InputError: an input does not exist, or a glob matches nothing.
    """
    seen: set[str] = set()
    groups = []
    for one in inputs:
        group = []
        for found in sorted(_expand(expand(one)), key=lambda found: (found.name, found.path)):
            identity = found.path if is_remote(found.path) else os.path.realpath(found.path)
            if identity not in seen:
                seen.add(identity)
                group.append(found)
        groups.append(group)
    return groups


def _expand(one: str) -> Iterator[Found]:
    remote = is_remote(one)
    # lexists, so that a dead link that is named fails when it is opened, like one in a folder.
    exists = _gfile().exists if remote else os.path.lexists
    is_folder = _gfile().isdir if remote else os.path.isdir
    if is_folder(one):
        yield from _below(one, one)
        return
    if exists(one):
        yield Found(one, os.path.basename(one))
        return
    matches = _gfile().glob(one) if remote else glob.glob(one, recursive=True)
    if not matches:
        kind = "matches no file" if glob.has_magic(one) else "does not exist"
        raise errors.InputError(f"input {one} {kind}; give a file, a folder or a glob")
    fixed = one[: next(i for i, character in enumerate(one) if character in "*?[")]
    base = os.path.dirname(fixed) or "."
    for match in matches:
        if is_folder(match):
            yield from _below(match, base)
        elif _is_wanted(_relative(match, base)):
            yield Found(match, _relative(match, base))


def _below(folder: str, base: str) -> Iterator[Found]:
    """Yields the files in and under `folder`, named relative to `base`."""
    walk = _gfile().walk(folder) if is_remote(folder) else _walk_local(folder)
    for parent, _, names in walk:
        for path in (os.path.join(parent, name) for name in names):
            if _is_wanted(_relative(path, folder)):
                yield Found(path, _relative(path, base))


def _is_wanted(relative: str) -> bool:
    return not any(part.startswith(".") or part in _LEFTOVERS for part in relative.split("/"))


def _walk_local(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, following links, each folder once; only regular files and dead links."""
    visited = set()

    def complain(error: OSError) -> None:
        logging.warning("cannot read folder %s: %s", error.filename, error.strerror)

    for parent, folders, names in os.walk(folder, followlinks=True, onerror=complain):
        visited.add(os.path.realpath(parent))
        folders[:] = sorted(
            name
            for name in folders
            if os.path.realpath(os.path.join(parent, name)) not in visited
            and not name.startswith(".")
        )
        paths = {name: os.path.join(parent, name) for name in names}
        yield (
            parent,
            folders,
            [name for name, path in paths.items() if os.path.isfile(path) or os.path.islink(path)],
        )


def _relative(path: str, base: str) -> str:
    if is_remote(path):
        return path[len(base) :].lstrip("/")
    return os.path.relpath(path, base).replace(os.sep, "/")
