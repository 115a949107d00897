"""Talks to a TensorFlow Serving server: one request at a time, tried again while it is unavailable.

Nothing but UNAVAILABLE is tried again (HTTP: 503, or no connection). RESOURCE_EXHAUSTED (HTTP: 429)
is not: to send more to a server that has too much makes it worse, and whatever else it says it
would say again. The protocols themselves are in protocols.py.
"""

import dataclasses
import math
import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from srgan_tf import errors
from srgan_tf.config_fields import config_field, require
from srgan_tf.serving import protocols

_FIRST_PAUSE = 0.25  # Seconds; doubled after each try.
_LONGEST_PAUSE = 8.0
_HINTS = {
    protocols.DEADLINE: "; raise --deadline_s, or choose a smaller --tile_size or --in_flight",
    protocols.EXHAUSTED: "; choose a smaller --in_flight, or --tile_size where it is memory",
}

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Options:
    """How a server is asked; each field is a flag of srgan-upscale."""

    model_name: str = config_field("", "The model's name there.")
    model_version: int | None = config_field(
        None, "The model's version there (default: the server's choice, the highest)."
    )
    in_flight: int = config_field(4, "Requests at a time: of tiles, or of small pictures.")
    deadline_s: float = config_field(60.0, "Seconds that a request may take.")
    tries: int = config_field(
        6,
        "Tries of a request while the server is UNAVAILABLE, with pauses that grow from 1/4 s to "
        "8 s; six take 4 to 8 s.",
    )

    def __post_init__(self) -> None:
        if not self.model_name:
            raise errors.InputError(
                "--model_name is needed (model_name in Python): what the server calls the model."
            )
        for name in ("in_flight", "deadline_s", "tries"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"--{name} must be above 0", **{name: value})


class Unavailable(errors.RunError):
    """The server could not be reached, or was not ready, as often as it was tried."""


class RequestError(errors.InputError):
    """The server does not answer this request, but may answer others; `kind` as a `Fault`'s."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind


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

    def describe(self) -> dict[str, Any]:
        """Returns what the model says of itself (description.py).

        Raises:
            errors.InputError: there is no such model, or it was not exported by this package.
            Unavailable: there is no server.
        """
        name = f"--model_name={self.options.model_name}"
        if self.options.model_version is not None:
            name += f" --model_version={self.options.model_version}"
        try:
            return self._retried(self._protocol.describe, f"to describe {name}")
        except RequestError as error:
            if error.kind == protocols.NOT_FOUND:
                raise errors.InputError(f"{self.address} has no {name} ({error}).") from error
            if f'"{protocols.DESCRIBE}" not found' in str(error):
                raise errors.InputError(
                    f"{self.address}, {name}: the model has no signature "
                    f"`{protocols.DESCRIBE}`, by which a client knows how to cut tiles; export it "
                    "again with srgan-export."
                ) from error
            raise

    def upscale(self, rgb: np.ndarray) -> np.ndarray:
        """Returns uint8 `[H * scale, W * scale, 3]` of uint8 `[H, W, 3]`.

        Raises:
            RequestError: the server refuses it, or it takes too long.
            Unavailable: the server is gone.
        """
        what = f"to upscale {rgb.shape[1]}x{rgb.shape[0]} pixels"
        return self._retried(lambda seconds: self._protocol.upscale(rgb, seconds), what)

    def close(self) -> None:
        """Ends the requests in flight, whose threads get a RequestError; there can be no more."""
        self._closed.set()
        self._protocol.close()

    def require_open(self) -> None:
        """Raises RequestError if `close` has been called."""
        if self._closed.is_set():
            raise RequestError(
                protocols.CANCELLED, f"{self.address}: the connection has been closed."
            )

    def _retried(self, ask: Callable[[float], T], what: str) -> T:
        """Returns what `ask` does, which gets the deadline in seconds."""
        last = None
        for count in range(1, self.options.tries + 1):
            self.require_open()
            try:
                return ask(self.options.deadline_s)
            except protocols.Fault as fault:
                self.require_open()  # Whatever a request says that was ended by `close`.
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
        seconds = f"{self.options.deadline_s:g} s"
        text = f"{self.address} refused {what}: {fault.kind}: {fault}"
        if fault.kind == protocols.DEADLINE:
            text = f"{self.address} did not answer within {seconds} when asked {what} ({fault})"
        elif fault.kind == protocols.NO_HOST:
            text = f"{self.address}: there is no such host ({fault})"
        return RequestError(fault.kind, text + _HINTS.get(fault.kind, ""))


def _pause(count: int) -> float:
    """Returns seconds after try `count`: exponential; half of it random, so clients spread out."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (count - 1))
    return longest * random.uniform(0.5, 1.0)
