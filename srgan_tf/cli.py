"""What every command shares: quiet TensorFlow, readable log lines, help, one line per mistake."""

import contextlib
import importlib
import logging as python_logging
import os
import re
import sys
from collections.abc import Callable, Iterator

from absl import app, flags, logging

from srgan_tf import errors, machine

EXIT_RUN_ERROR = 1
EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130

# TensorFlow's errors that say something about files (or memory), not about this package.
_FILE_ERRORS = ("NotFoundError", "PermissionDeniedError", "ResourceExhaustedError")
# These do so unless an operation of a graph raised them, which then is a bug.
_FILE_ERRORS_OUTSIDE_OPS = ("FailedPreconditionError", "AlreadyExistsError", "UnimplementedError")


class _PlainFormatter(python_logging.Formatter):
    """Information as it is; warnings and errors with their name in front."""

    def format(self, record: python_logging.LogRecord) -> str:
        message = super().format(record)
        if record.levelno >= python_logging.WARNING:
            return f"{record.levelname.lower()}: {message}"
        return message


def _is_for_users(record: python_logging.LogRecord) -> bool:
    """Leaves out what TensorFlow notes about its own work, such as how long a callback took."""
    inside = f"{os.sep}tensorflow{os.sep}python{os.sep}" in record.pathname
    return record.levelno >= python_logging.WARNING or not inside


def prepare_tensorflow() -> None:
    """Makes TensorFlow quiet at its start, and fast (machine.py); call before it is imported.

    A TF_CPP_MIN_LOG_LEVEL that the user has set wins. Errors still arrive as exceptions.
    """
    machine.prefer_onednn()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def import_tensorflow() -> None:
    """Imports TensorFlow with its start-up notes kept off the terminal.

    TensorFlow 2.21 writes some before its log level counts, straight to file descriptor 2. What it
    says after the import, and any exception of the import itself, arrives as usual.
    """
    prepare_tensorflow()
    with without_stderr():
        tensorflow = importlib.import_module("tensorflow")
        # Its Python side announces every strategy and every saved function.
        tensorflow.get_logger().setLevel("WARNING")


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Drops what goes to file descriptor 2, which libraries of C++ write to past every log level.

    Exceptions arrive as usual.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def emit(text: str) -> None:
    """Writes a result (not a log line) to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(main: Callable[[list[str]], int | None], *, doc: str | None, module: str) -> None:
    """Runs an absl command: `run(main, doc=__doc__, module=__name__)`.

    Exit codes: 0, what `main` returns, 1 for a run that cannot go on (`errors.RunError`; a file or
    folder that cannot be read or written), 2 for a user's mistake (`errors.InputError`; unknown or
    malformed flags), 130 after Ctrl-C. --verbosity=1 shows the traceback.
    """
    prepare_tensorflow()
    name = os.path.basename(sys.argv[0])
    if {"-h", "-help", "--help", "-?"} & set(sys.argv[1:]):
        emit(_help(name, doc or "", module))
        sys.exit(0)
    _log_plainly()
    flags.FLAGS.set_default("verbosity", logging.INFO)

    def guarded(argv: list[str]) -> int | None:
        try:
            return main(argv)
        except errors.InputError as error:
            sys.stderr.write(f"{name}: error: {error}\n")
            return EXIT_INPUT_ERROR
        except errors.RunError as error:
            sys.stderr.write(f"{name}: error: {error}\n")
            return EXIT_RUN_ERROR
        except KeyboardInterrupt:
            sys.stderr.write(f"{name}: interrupted.\n")
            return EXIT_INTERRUPTED
        except Exception as error:
            reason = machine_reason(error)
            if reason is None:
                raise
            logging.debug("%s", reason, exc_info=True)
            sys.stderr.write(f"{name}: error: {reason}\n")
            return EXIT_RUN_ERROR

    app.run(guarded, flags_parser=_parse_flags)


def log_as_commands_do(verbosity: int = logging.INFO) -> None:
    """Sets logging up in a process that was not started by `run`, such as one on another node."""
    logging.use_absl_handler()
    _log_plainly()
    logging.set_verbosity(verbosity)


def _log_plainly() -> None:
    logging.get_absl_handler().setFormatter(_PlainFormatter())
    logging.get_absl_handler().addFilter(_is_for_users)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; a wrong one is one line, like every other mistake."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        text = " ".join(str(error).split())
        sys.stderr.write(f"{os.path.basename(argv[0])}: error: {text.rstrip('.')}; see --help.\n")
        sys.exit(EXIT_INPUT_ERROR)


def machine_reason(error: Exception) -> str | None:
    """Returns one line about files, disk or memory; None for any other exception (a bug)."""
    if isinstance(error, OSError):
        named = error.strerror and error.filename is not None
        reason = f"{error.filename}: {error.strerror}" if named else str(error)
        return " ".join(reason.split()) or type(error).__name__
    tensorflow = sys.modules.get("tensorflow")  # Where it is not loaded, it did not raise.
    if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
        return None
    from_op = re.search(r"\{\{|\[Op:|^Graph execution error", error.message)
    known = _FILE_ERRORS if from_op else _FILE_ERRORS + _FILE_ERRORS_OUTSIDE_OPS
    if not isinstance(error, tuple(getattr(tensorflow.errors, one) for one in known)):
        return None
    text = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", error.message)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    if not isinstance(error, tensorflow.errors.ResourceExhaustedError):
        return lines[0]
    # Out of memory arrives below a stack trace.
    telling = (line for line in lines if re.search(r"OOM|memory|space|quota", line))
    return f"out of memory or of disk space: {next(telling, lines[0])}"


def _help(name: str, doc: str, module: str) -> str:
    key_flags = flags.FLAGS.get_key_flags_for_module(
        sys.argv[0] if module == "__main__" else module
    )
    return "\n".join([doc.strip(), "", f"Flags of {name}:", *map(_describe, key_flags)])


def _describe(flag: flags.Flag) -> str:
    switch = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    default = "" if flag.default is None else f" (default: {flag.default_as_str})"
    indent = " " * 6
    text = flags.text_wrap(f"{flag.help}{default}", 96, indent=indent, firstline_indent=indent)
    return f"  {switch}\n{text}"
