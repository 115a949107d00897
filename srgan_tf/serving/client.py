"""Talks to a TensorFlow Serving server: one request at a time, tried again while it is unavailable.

Nothing but UNAVAILABLE is tried again (HTTP: 503, or no connection): whatever else the server says
it would say again. The protocols themselves are in protocols.py.
"""

import dataclasses
import random
import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from srgan_tf import errors
from srgan_tf.serving import protocols

_FIRST_PAUSE = 0.25  # Seconds; doubled after each try.
_LONGEST_PAUSE = 8.0

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Options:
    """How a server is asked."""

    model_name: str = ""  # By which the server knows the model; needed.
    model_version: int | None = None  # None: the server's choice, which is the highest.
    in_flight: int = 4  # Requests that the server has at a time, at most.
    deadline_s: float = 60.0  # Seconds that one try of a request may take.
    tries: int = 6  # Of a request while the server is unavailable; 6 take 4 to 8 s.

    def __post_init__(self) -> None:
        if not self.model_name:
            raise errors.InputError("--model_name is needed: the name that the server has for it.")
        for name in ("in_flight", "deadline_s", "tries"):
            if getattr(self, name) <= 0:
                raise errors.InputError(f"--{name} must be above 0: {getattr(self, name)}.")


class Unavailable(errors.RunError):
    """The server could not be reached, or was not ready, as often as it was tried."""


class RequestError(errors.InputError):
    """The server does not answer this request, but may answer others."""


def is_address(path: str) -> bool:
    """Returns whether `path` names a server instead of a model's folder."""
    return path.split("://")[0] in protocols.PROTOCOLS and "://" in path


class Client:
    """One model on one server; for any number of threads."""

    def __init__(self, address: str, options: Options):
        """Makes ready for the server at `address`, such as grpc://host:8500; sends nothing.

        Raises:
            errors.InputError: the address is malformed, or the extra `serving` is not installed.
        """
        self.address, self.options = address, options
        self._protocol = protocols.of(address, options.model_name, options.model_version)
        self._closed = threading.Event()

    def describe(self) -> dict[str, int]:
        """Returns what the model says of itself (description.py).

        Raises:
            errors.InputError: there is no such model, or it was not exported by this package.
            Unavailable: there is no server.
        """
        return self._retried(self._protocol.describe, "what the model is")

    def upscale(self, rgb: np.ndarray) -> np.ndarray:
        """Returns uint8 `[H * scale, W * scale, 3]` of uint8 `[H, W, 3]`.

        Raises:
            RequestError: the server refuses it, or it takes too long.
            Unavailable: the server is gone.
        """
        what = f"a picture or tile of {rgb.shape[1]}x{rgb.shape[0]}"
        return self._retried(lambda seconds: self._protocol.upscale(rgb, seconds), what)

    def close(self) -> None:
        """Ends the requests in flight, whose threads get a RequestError; there can be no more."""
        self._closed.set()
        self._protocol.close()

    def _retried(self, ask: Callable[[float], T], what: str) -> T:
        """Returns what `ask` does, which gets the deadline in seconds."""
        for count in range(1, self.options.tries + 1):
            if self._closed.is_set():
                raise RequestError("the connection has been closed")
            try:
                return ask(self.options.deadline_s)
            except protocols.Fault as fault:
                if self._closed.is_set():
                    raise RequestError("the connection has been closed") from fault
                if fault.kind != protocols.UNAVAILABLE:
                    raise self._refused(fault, what) from fault
                last = fault
            if count < self.options.tries:
                self._closed.wait(_pause(count))
        raise Unavailable(
            f"{self.address} is unavailable, tried {self.options.tries} times ({last}). Check that "
            "the server runs; what is done stays, and the same command goes on."
        ) from last

    def _refused(self, fault: protocols.Fault, what: str) -> RequestError:
        if fault.kind == protocols.DEADLINE:
            return RequestError(
                f"{self.address} did not answer {what} within {self.options.deadline_s:g} s; raise "
                "--deadline_s, or choose a smaller --tile_size or --in_flight"
            )
        return RequestError(f"{self.address} refuses {what}: {fault.kind}: {fault}")


def _pause(count: int) -> float:
    """Returns seconds after try `count`: exponential; half of it random, so clients spread out."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (count - 1))
    return longest * random.uniform(0.5, 1.0)
