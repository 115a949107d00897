"""The page of srgan-web: photo -> part and model -> upscale -> compare -> download (Gradio).

It works without the internet and keeps nothing: uploads and results lie in a temporary folder, of
which a session's part goes with its tab and the rest when the server ends. The work is done by
studio.py; page/ has the style sheet and two elements of our own, for cropping and comparing.
"""

import importlib
import importlib.util
import logging as python_logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

from srgan_tf import cli, errors

_SHUT_SECONDS = 20.0


def require_gradio() -> None:
    """Looks whether Gradio is there, without importing it, which takes seconds.

    Raises:
        errors.InputError: it is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise errors.InputError(
            "The page needs Gradio: pip install 'srgan-tf[web]' (or pip install 'gradio==6.31.*')."
        )


def free_port(host: str, port: int) -> int:
    """Returns `port`, or one that is free for 0.

    Raises:
        errors.InputError: it is taken, or this machine has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return probe.getsockname()[1]
    except OSError as error:
        raise errors.InputError(
            f"--host={host} --port={port} cannot be used: {error.strerror or error}; choose "
            "another --port (0: any that is free)."
        ) from error


def named(text: str) -> tuple[str, str]:
    """Returns the name that people see, and the path, of `PATH` or `NAME=PATH`."""
    name, equals, path = text.partition("=")
    if equals and name and not set(name) & set("/:\\"):
        return name, path
    path = text.rstrip("/")
    folder, base = os.path.split(path)
    # The step of a SavedModel says little: runs/first/saved_model/1650 is "first".
    while base.isdecimal() or base == "saved_model":
        folder, base = os.path.split(folder)
    return base or path, text


def serve(
    models: Mapping[str, Any],
    *,
    host: str,
    port: int,
    max_file_mb: int,
    max_pixels: int,
    max_waiting: int,
) -> None:
    """Serves the page until Ctrl-C or SIGTERM; then nothing of it is left.

    Args:
        models: as `Studio`'s.
        host: the address to listen on.
        port: the port; 0 is any that is free.
        max_file_mb: of an upload, in millions of bytes.
        max_pixels: as `Studio`'s.
        max_waiting: as `Studio`'s.

    Raises:
        errors.InputError: Gradio is missing, or the port is taken.
    """
    from srgan_tf.serving import studio as studio_lib
    from srgan_tf.serving import web_page

    port = free_port(host, port)
    with tempfile.TemporaryDirectory(prefix="srgan-web-", ignore_cleanup_errors=True) as folder:
        gradio = _import_gradio(os.path.join(folder, "uploads"), host)
        studio = studio_lib.Studio(
            models, os.path.join(folder, "sessions"), max_pixels=max_pixels, max_waiting=max_waiting
        )
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        page = web_page.build(gradio, studio)
        page.queue(max_size=4 * (max_waiting + 2), api_open=False)
        page.launch(
            server_name=host,
            server_port=port,
            max_file_size=max_file_mb * 1_000_000,
            max_threads=2 * (max_waiting + 2) + 8,
            app_kwargs={"routes": [web_page.picture_route(studio)]},
            run_history=False,  # It would keep photos in the browser.
            share=False,
            ssr_mode=False,
            inline=False,
            quiet=True,
            prevent_thread_lock=True,
            **web_page.look(gradio),
        )
        shown = f"[{host}]" if ":" in host else host
        cli.emit(f"The page is at http://{shown}:{port} (Ctrl-C ends it).")
        try:
            ended.wait()
        finally:
            page.close(verbose=False)
            studio.shut(_SHUT_SECONDS)
    cli.emit("Ended; nothing was kept.")


def _import_gradio(uploads: str, host: str) -> Any:
    """Imports Gradio, which then asks no other host for anything and keeps uploads in a folder."""
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "GRADIO_TEMP_DIR": uploads,
        # It asks its own server whether it runs; that must not go through a proxy.
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), host, "localhost"])),
    }
    gradio = importlib.import_module("gradio")
    # It tells each of these questions.
    python_logging.getLogger("httpx").setLevel(python_logging.WARNING)
    return gradio
