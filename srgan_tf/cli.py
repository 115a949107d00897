"""What every command shares: quiet TensorFlow, readable log lines, help, one line per mistake."""

import importlib
import logging as python_logging
import os
import sys
from collections.abc import Callable

from absl import app, flags, logging

from srgan_tf import errors

EXIT_RUN_ERROR = 1
EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130


class _PlainFormatter(python_logging.Formatter):
    """Information as it is; warnings and errors with their name in front."""

    def format(self, record: python_logging.LogRecord) -> str:
        message = super().format(record)
        if record.levelno >= python_logging.WARNING:
            return f"{record.levelname.lower()}: {message}"
        return message


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's start-up notes off the terminal; call before it is imported.

    A TF_CPP_MIN_LOG_LEVEL that the user has set wins. Errors still arrive as exceptions.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def import_tensorflow() -> None:
    """Imports TensorFlow with its start-up notes kept off the terminal.

    TensorFlow 2.21 writes some before its log level counts, straight to file descriptor 2. What it
    says after the import, and any exception of the import itself, arrives as usual.
    """
    quiet_tensorflow()
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        tensorflow = importlib.import_module("tensorflow")
        # Its Python side announces every strategy and every saved function.
        tensorflow.get_logger().setLevel("WARNING")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def emit(text: str) -> None:
    """Writes a result (not a log line) to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(main: Callable[[list[str]], int | None], *, doc: str | None, module: str) -> None:
    """Runs an absl command: `run(main, doc=__doc__, module=__name__)`.

    Exit codes: 0, what `main` returns, 1 for unknown or malformed flags (absl's) and for a run that
    cannot go on (`errors.RunError`), 2 for a user's mistake (`errors.InputError`), 130 after
    Ctrl-C.
    """
    quiet_tensorflow()
    name = os.path.basename(sys.argv[0])
    if {"-h", "-help", "--help", "-?"} & set(sys.argv[1:]):
        emit(_help(name, doc or "", module))
        sys.exit(0)
    logging.get_absl_handler().setFormatter(_PlainFormatter())
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

    app.run(guarded)


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
