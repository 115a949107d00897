"""gRPC and REST as TensorFlow Serving speaks them; requests that fail raise a `Fault`.

gRPC sends pixels as they are, to `serving_default`; REST sends PNG in base64, to `upscale_bytes`.
gRPC needs the extra `serving` (and with it TensorFlow); REST the standard library.
"""

import base64
import contextlib
import http.client
import io
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from PIL import Image

from srgan_tf import errors, photos

UNAVAILABLE = "UNAVAILABLE"
DEADLINE = "DEADLINE_EXCEEDED"
EXHAUSTED = "RESOURCE_EXHAUSTED"
NOT_FOUND = "NOT_FOUND"
CANCELLED = "CANCELLED"
NO_HOST = "NO_HOST"

DESCRIBE = "describe"
# The input of that signature, which says nothing: the server's batching needs an axis, and its REST
# part an input.
QUERY = "query"
FACTS = ("scale", "receptive_radius", "alignment", "max_pixels")
FINGERPRINT = "fingerprint"

_KINDS = {
    400: "INVALID_ARGUMENT",
    404: NOT_FOUND,
    408: DEADLINE,
    429: EXHAUSTED,
    503: UNAVAILABLE,
    504: DEADLINE,
}
_PIECE = 1 << 20
# Seconds for a connection, which `close` cannot end; the system's own would be two minutes.
_CONNECT_SECONDS = 5.0
# What there is no name for now, there may be one for later; not so these.
_NO_NAMES = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
}
_NO_NAME = "Domain name not found"  # As gRPC puts it.


class Fault(Exception):
    """A request that failed: `kind` is a gRPC status code's name, or one like it."""

    def __init__(self, kind: str, detail: str):
        # TensorFlow adds where in the graph it was.
        super().__init__(" ".join(detail.split("[[{{")[0].split()) or kind)
        self.kind = kind


class Connection(Protocol):
    """What a protocol offers, for any number of threads; both raise `Fault`."""

    def describe(self, seconds: float) -> dict[str, Any]:
        """Returns the outputs of the signature `describe`."""

    def upscale(self, rgb: np.ndarray, seconds: float) -> np.ndarray:
        """Returns uint8 `[H * scale, W * scale, 3]` of uint8 `[H, W, 3]`."""

    def close(self) -> None:
        """Ends the requests in flight."""


class Grpc:
    """PredictionService.Predict."""

    def __init__(self, host: str, *, secure: bool, path: str, name: str, version: int | None):
        if path:
            raise errors.InputError(
                f"grpc://{host}{path}: a gRPC address has no path; leave it out."
            )
        try:
            import grpc
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise errors.InputError(
                "grpc:// needs the stubs of TensorFlow Serving: run `pip install "
                "tensorflow-serving-api` (the extra `serving` of srgan-tf), or use http://."
            ) from error
        self._error, self._request = grpc.RpcError, predict_pb2.PredictRequest
        self._name, self._version = name, version
        options = [
            # 4 MB otherwise: less than a tile of 600 x 600 that comes back four times as large.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # While there is no connection requests fail at once: Client's pauses are what counts.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        if secure:
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(host, credentials, options=options)
        else:
            self._channel = grpc.insecure_channel(host, options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def describe(self, seconds: float) -> dict[str, Any]:
        outputs = self._predict(DESCRIBE, {QUERY: np.zeros([1], np.int32)}, seconds)
        mark = outputs[FINGERPRINT][0].decode()
        return {name: int(outputs[name][0]) for name in FACTS} | {FINGERPRINT: mark}

    def upscale(self, rgb: np.ndarray, seconds: float) -> np.ndarray:
        return self._predict("serving_default", {"lr": rgb[None]}, seconds)["sr"][0]

    def close(self) -> None:
        self._channel.close()

    def _predict(
        self, signature: str, inputs: dict[str, np.ndarray], seconds: float
    ) -> dict[str, np.ndarray]:
        import tensorflow as tf

        request = self._request()
        request.model_spec.name = self._name
        request.model_spec.signature_name = signature
        if self._version is not None:
            request.model_spec.version.value = self._version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self._stub.Predict(request, timeout=seconds)
        except self._error as error:
            detail = error.details() or ""
            raise Fault(NO_HOST if _NO_NAME in detail else error.code().name, detail) from error
        except ValueError as error:  # The channel is closed.
            raise Fault(CANCELLED, str(error)) from error
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


class Rest:
    """POST /v1/models/NAME:predict, a connection for each request."""

    def __init__(self, host: str, *, secure: bool, path: str, name: str, version: int | None):
        self._host = host
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connect: Callable[..., http.client.HTTPConnection] = kind
        which = f"/versions/{version}" if version is not None else ""
        name = urllib.parse.quote(name, safe="")
        self._path = f"{path.rstrip('/')}/v1/models/{name}{which}:predict"
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._closed = False

    def describe(self, seconds: float) -> dict[str, Any]:
        outputs = self._predict(DESCRIBE, {QUERY: [0]}, seconds)
        mark = outputs[FINGERPRINT][0]
        return {name: int(outputs[name][0]) for name in FACTS} | {FINGERPRINT: mark}

    def upscale(self, rgb: np.ndarray, seconds: float) -> np.ndarray:
        png = io.BytesIO()
        Image.fromarray(rgb).save(png, "PNG", compress_level=1)
        encoded = {"b64": base64.b64encode(png.getbuffer()).decode()}
        outputs = self._predict("upscale_bytes", {"image_bytes": [encoded]}, seconds)
        if outputs["status"] != ["OK"]:
            raise Fault("INVALID_ARGUMENT", outputs["status"][0])
        return photos.load(io.BytesIO(base64.b64decode(outputs["output_bytes"][0]["b64"]))).rgb

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _predict(self, signature: str, inputs: dict[str, Any], seconds: float) -> dict[str, Any]:
        body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
        try:
            status, text = self._post(body, seconds)
        except TimeoutError as error:
            raise Fault(DEADLINE, str(error)) from error
        except ssl.SSLError as error:
            raise Fault("TLS", str(error)) from error
        except socket.gaierror as error:
            kind = NO_HOST if error.errno in _NO_NAMES else UNAVAILABLE
            raise Fault(kind, str(error)) from error
        except (OSError, http.client.IncompleteRead) as error:
            raise Fault(UNAVAILABLE, str(error)) from error
        except http.client.HTTPException as error:
            detail = "what it answers is no HTTP; is that its port for gRPC?"
            raise Fault("NO_HTTP", detail) from error
        try:
            answer = json.loads(text)
            if status == 200:
                return answer["outputs"]
            detail = str(answer["error"])
        except (ValueError, KeyError, TypeError):
            detail = text[:200].decode(errors="replace")
        raise Fault(_KINDS.get(status, f"HTTP_{status}"), detail)

    def _post(self, body: bytes, seconds: float) -> tuple[int, bytes]:
        """Returns the status and the body of the answer, all of it within so many seconds."""
        end = time.monotonic() + seconds
        patience = min(seconds, _CONNECT_SECONDS)
        with contextlib.closing(self._connect(self._host, timeout=patience)) as connection:
            try:
                connection.connect()
            except TimeoutError as error:
                raise Fault(UNAVAILABLE, f"no connection within {patience:g} s") from error
            link = connection.sock
            with self._tracked(link):
                link.settimeout(_left(end))
                connection.request("POST", self._path, body, {"Content-Type": "application/json"})
                link.settimeout(_left(end))
                with connection.getresponse() as response:
                    pieces = []
                    while piece := response.read1(_PIECE):
                        pieces.append(piece)
                        link.settimeout(_left(end))
                    return response.status, b"".join(pieces)

    @contextlib.contextmanager
    def _tracked(self, link: socket.socket) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise Fault(CANCELLED, "closed while it was connecting")
            self._sockets.add(link)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(link)


PROTOCOLS = {
    "grpc": (Grpc, 8500, False),
    "grpcs": (Grpc, 8500, True),
    "http": (Rest, 8501, False),
    "https": (Rest, 8501, True),
}


def of(address: str, name: str, version: int | None) -> Connection:
    """Returns the connection to the model `name` at `address`; without a port, TF Serving's.

    Raises:
        errors.InputError: the address is malformed, or the extra `serving` is not installed.
    """
    kind, default_port, secure = PROTOCOLS[address.split("://")[0]]
    try:
        parts = urllib.parse.urlsplit(address)
        host, port = parts.hostname, parts.port or default_port
    except ValueError as error:
        raise errors.InputError(f"{address} is no address of a server: {error}.") from error
    if not host or parts.query or parts.fragment or parts.username:
        raise errors.InputError(
            f"{address} is no address of a server; expected, for example, grpc://localhost:8500."
        )
    host = f"[{host}]" if ":" in host else host
    path = parts.path if parts.path != "/" else ""
    return kind(f"{host}:{port}", secure=secure, path=path, name=name, version=version)


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer is not complete")
    return left
