"""A small TensorFlow Serving in Python: gRPC PredictionService and REST, for tests and demos.

It stands in for tensorflow_model_server, which is what is used in production. It loads the newest
version below a folder by the TF1-style loader, as the C++ server does, replays the warm-up file,
and speaks the same protocols; whoever is one too many is refused (RESOURCE_EXHAUSTED, HTTP 429).

    with serving_server.Server("RUN_DIR/saved_model", "srgan", workers=2, queue=8) as server:
        server.grpc_address, server.http_address  # "127.0.0.1:port"

    python tests/serving_server.py --base_path=RUN_DIR/saved_model --name=srgan --grpc_port=8500
"""

import argparse
import base64
import json
import os
import re
import signal
import socketserver
import threading
import time
from concurrent import futures
from http import server as http_server

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
# What the handlers may wait beyond a request's deadline, to say so rather than be cut off.
_POLL = 0.05
# gRPC gives a request without a deadline one in the year 292 billion.
_NO_DEADLINE = 1e6


class Refused(Exception):
    """A request that is answered by an error."""

    def __init__(self, code: grpc.StatusCode, text: str):
        super().__init__(text)
        self.code = code


def invalid(text: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, text)


class Servable:
    """One version of a SavedModel in a graph and a session of its own."""

    def __init__(self, directory: str, version: int):
        self.version = version
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            meta = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], directory)
        self.signatures = dict(meta.signature_def)
        self.signatures.pop("__saved_model_init_op", None)
        self.warmed = self._warm_up(os.path.join(directory, WARMUP))

    def _warm_up(self, path: str) -> list[str]:
        """Replays the warm-up file, as the real server does; returns the signatures it used."""
        if not os.path.exists(path):
            return []
        warmed = []
        for record in tf.compat.v1.io.tf_record_iterator(path):
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            self.run(request.model_spec.signature_name, inputs)
            warmed.append(request.model_spec.signature_name)
        return warmed

    def signature(self, name: str):
        name = name or "serving_default"
        if name not in self.signatures:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def run(self, signature_name, inputs, *, wanted=(), seconds=None) -> dict[str, np.ndarray]:
        """Runs a signature on arrays by name; `wanted` limits the outputs."""
        signature = self.signature(signature_name)
        _check_inputs(signature, inputs)
        names = list(wanted) or list(signature.outputs)
        unknown = sorted(set(names) - set(signature.outputs))
        if unknown:
            raise invalid(f"output tensor alias not found in signature: {', '.join(unknown)}")
        options = tf.compat.v1.RunOptions(timeout_in_ms=int(seconds * 1000) + 1 if seconds else 0)
        feeds = {signature.inputs[name].name: value for name, value in inputs.items()}
        fetches = {name: signature.outputs[name].name for name in names}
        try:
            return self.session.run(fetches, feeds, options=options)
        except tf.errors.OpError as error:
            raise Refused(_CODES[error.error_code], error.message) from error


def _check_inputs(signature, inputs) -> None:
    """The real server's checks; Python's session would convert types without a word."""
    if set(inputs) != set(signature.inputs):
        raise invalid(
            f"input tensors must be {{{', '.join(sorted(signature.inputs))}}}, not "
            f"{{{', '.join(sorted(inputs))}}}"
        )
    for name, info in signature.inputs.items():
        wanted = tf.dtypes.as_dtype(info.dtype)
        given = np.asarray(inputs[name])
        found = tf.string if given.dtype == object else tf.dtypes.as_dtype(given.dtype)
        if found != wanted:
            raise invalid(f"input {name} must be {wanted.name}, not {found.name}")
        if not tf.TensorShape(info.tensor_shape).is_compatible_with(given.shape):
            sides = [axis.size for axis in info.tensor_shape.dim]
            raise invalid(f"input {name} must have the shape {sides}, not {list(given.shape)}")


class Server:
    """Serves the newest version in `base_path` (`<base_path>/<number>/`) as the model `name`.

    `workers` requests run at a time and `queue` wait; more are refused. `rest_seconds` is the
    deadline of REST requests, as --rest_api_timeout_in_ms is. `served` counts what was computed.
    """

    def __init__(
        self, base_path, name, *, workers=2, queue=8, grpc_port=0, rest_port=0, rest_seconds=30.0
    ):
        versions = [int(entry) for entry in os.listdir(base_path) if entry.isdigit()]
        if not versions:
            raise ValueError(f"{base_path} holds no versions (folders named by whole numbers).")
        self.name, self.rest_seconds, self.served = name, rest_seconds, 0
        self.servable = Servable(os.path.join(base_path, str(max(versions))), max(versions))
        self._count, self._places = workers + queue, threading.Semaphore(workers + queue)
        self._pool = futures.ThreadPoolExecutor(workers)
        # Enough handlers that those who are one too many need not wait to be told so.
        handlers = 2 * (workers + queue) + 8
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(handlers),
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
            maximum_concurrent_rpcs=handlers,
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(self), self._grpc
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(self), self._grpc)
        self.grpc_address = f"127.0.0.1:{self._grpc.add_insecure_port(f'127.0.0.1:{grpc_port}')}"
        handler = type("Handler", (_RestHandler,), {"owner": self})
        self._http = _HttpServer(("127.0.0.1", rest_port), handler)
        self.http_address = f"127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self):
        self._grpc.start()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._grpc.stop(grace=0.5).wait()
        self._http.shutdown()
        self._http.server_close()
        self._pool.shutdown(cancel_futures=True)
        self.servable.session.close()

    def wait_until_idle(self, seconds: float = 60.0) -> None:
        """Waits for the requests that are there, also those whose clients have gone."""
        for _ in range(self._count):
            assert self._places.acquire(timeout=seconds), "a request does not end"
        self._places.release(self._count)

    def find(self, name: str, version: int | None = None) -> Servable:
        if name != self.name or version not in (None, self.servable.version):
            which = f"Specific({name}, {version})" if version is not None else f"Latest({name})"
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {which}")
        return self.servable

    def predict(self, prepare, *, seconds: float | None):
        """Returns the outputs of what `prepare` gives: (servable, signature, inputs, wanted).

        `prepare` is called when there is a place only, so that what waits to be refused is small.
        """
        endless = seconds is None or seconds > _NO_DEADLINE
        end = None if endless else time.monotonic() + seconds
        if not self._places.acquire(blocking=False):
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "The server's queue is full; try again later."
            )
        try:
            task = self._pool.submit(self._run, *prepare(), end)
        except BaseException:
            self._places.release()
            raise
        # A request that is given up keeps its place until its worker is through with it.
        task.add_done_callback(lambda _: self._places.release())
        try:
            return task.result(None if end is None else max(0, end - time.monotonic()) + _POLL)
        except futures.TimeoutError:
            task.cancel()
            raise _too_late() from None

    def _run(self, servable: Servable, signature: str, inputs, wanted, end: float | None):
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            raise _too_late()
        made = servable.run(signature, inputs, wanted=wanted, seconds=left)
        self.served += 1
        return made


def _too_late() -> Refused:
    return Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "The request's deadline has passed.")


def _metadata(servable: Servable, name: str) -> get_model_metadata_pb2.GetModelMetadataResponse:
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, signature in servable.signatures.items():
        signatures.signature_def[key].CopyFrom(signature)
    response.metadata["signature_def"].Pack(signatures)
    return response


def _status(servable: Servable) -> get_model_status_pb2.GetModelStatusResponse:
    response = get_model_status_pb2.GetModelStatusResponse()
    entry = response.model_version_status.add()
    entry.version = servable.version
    entry.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    entry.status.SetInParent()
    return response


class _Service:
    def __init__(self, owner: Server):
        self._owner = owner

    def _find(self, spec) -> Servable:
        version = spec.version.value if spec.HasField("version") else None
        return self._owner.find(spec.name, version)

    def _answer(self, context, make):
        try:
            return make()
        except Refused as error:
            context.abort(error.code, str(error))


class _PredictionService(_Service, prediction_service_pb2_grpc.PredictionServiceServicer):
    def Predict(self, request, context):
        def prepare():
            try:
                inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            except (ValueError, TypeError) as error:
                raise invalid(f"An input cannot be parsed: {error}") from error
            return servable, request.model_spec.signature_name, inputs, request.output_filter

        def make():
            nonlocal servable
            servable = self._find(request.model_spec)
            outputs = self._owner.predict(prepare, seconds=context.time_remaining())
            response = predict_pb2.PredictResponse()
            response.model_spec.CopyFrom(request.model_spec)
            response.model_spec.version.value = servable.version
            for name, value in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return response

        servable = None
        return self._answer(context, make)

    def GetModelMetadata(self, request, context):
        return self._answer(
            context, lambda: _metadata(self._find(request.model_spec), self._owner.name)
        )


class _ModelService(_Service, model_service_pb2_grpc.ModelServiceServicer):
    def GetModelStatus(self, request, context):
        return self._answer(context, lambda: _status(self._find(request.model_spec)))


class _HttpServer(socketserver.ThreadingMixIn, http_server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _RestHandler(http_server.BaseHTTPRequestHandler):
    """tensorflow.org/tfx/serving/api_rest; errors are `{"error": text}`."""

    protocol_version = "HTTP/1.1"
    owner: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._body_left = int(self.headers.get("Content-Length") or 0)
        self._answer(self._get)

    def do_POST(self):
        self._body_left = int(self.headers.get("Content-Length") or 0)
        self._answer(self._post)

    def _find(self, pattern: str) -> Servable:
        path = rf"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+))?{pattern}"
        match = re.fullmatch(path, self.path.split("?")[0])
        if not match:
            raise invalid(f"Malformed request: {self.command} {self.path}")
        version = match["version"]
        return self.owner.find(match["name"], int(version) if version else None)

    def _get(self):
        if self.path.endswith("/metadata"):
            return _to_dict(_metadata(self._find("/metadata"), self.owner.name))
        return _to_dict(_status(self._find("")))

    def _post(self):
        servable = self._find(":predict")
        rows = False

        def prepare():
            nonlocal rows
            signature_name, inputs, rows = _parse(self._read(), servable)
            return servable, signature_name, inputs, ()

        return _to_json(self.owner.predict(prepare, seconds=self.owner.rest_seconds), as_rows=rows)

    def _read(self) -> bytes:
        body, self._body_left = self.rfile.read(self._body_left), 0
        return body

    def _answer(self, make):
        try:
            status, content = 200, make()
        except Refused as error:
            status, content = _HTTP.get(error.code, 500), {"error": str(error)}
        while self._body_left > 0:  # Thrown away unread, but the client may not stop sending.
            piece = self.rfile.read(min(self._body_left, 1 << 16))
            self._body_left -= len(piece) or self._body_left
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _to_dict(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _parse(body: bytes, servable: Servable):
    """Returns signature name, inputs by name, and whether they came as rows."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise invalid('Request must be an object with either "instances" or "inputs"')
    name = request.get("signature_name", "")
    wanted = servable.signature(name).inputs
    rows = "instances" in request
    given = request["instances"] if rows else request["inputs"]
    if rows:
        if not isinstance(given, list) or not given:
            raise invalid('"instances" must be a list with at least one element')
        if all(_is_named(row) for row in given):
            if any(row.keys() != given[0].keys() for row in given):
                raise invalid("All instances must have the same inputs")
            given = {key: [row[key] for row in given] for key in given[0]}
    if not _is_named(given):
        if len(wanted) != 1:
            raise invalid(f"The signature has {len(wanted)} inputs; name them")
        given = {next(iter(wanted)): given}
    return name, {key: _to_array(key, given[key], wanted) for key in given}, rows


def _is_named(value) -> bool:
    return isinstance(value, dict) and set(value) != {"b64"}


def _to_array(name: str, value, wanted) -> np.ndarray:
    if name not in wanted:
        raise invalid(f"input {name} is not in the signature, which has {', '.join(wanted)}")
    dtype = tf.dtypes.as_dtype(wanted[name].dtype)
    try:
        if dtype == tf.string:
            return np.array(_to_bytes(value), object)
        array = np.array(value)
        if array.dtype.kind not in ("iu" if dtype.is_integer else "iuf"):
            raise ValueError(f"is not of the type {dtype.name}")
        if dtype.is_integer and not np.all((dtype.min <= array) & (array <= dtype.max)):
            raise ValueError(f"has values outside {dtype.name}")
        return array.astype(dtype.as_numpy_dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise invalid(f"JSON value of {name}: {error}") from error


def _to_bytes(value):
    if isinstance(value, list):
        return [_to_bytes(one) for one in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    if isinstance(value, str):
        return value.encode()
    raise ValueError('is neither a string nor {"b64": ...}')


def _to_json(outputs: dict[str, np.ndarray], *, as_rows: bool):
    values = {name: _to_plain(name, value.tolist()) for name, value in outputs.items()}
    if not as_rows:
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    if len({len(value) for value in values.values()}) != 1:
        raise invalid("The outputs differ in their batch size; use the columnar format")
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    rows = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}


def _to_plain(name: str, value):
    if isinstance(value, list):
        return [_to_plain(name, one) for one in value]
    if not isinstance(value, bytes):
        return value
    # Names that end so are binary by convention, all others text.
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    return value.decode()


def main() -> None:
    tf.get_logger().setLevel("ERROR")  # The TF1 loader is deprecated, but it is what Serving uses.
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base_path", required=True)
    parser.add_argument("--name", required=True)
    for flag, default in (("grpc_port", 8500), ("rest_port", 8501), ("workers", 2), ("queue", 8)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    arguments = vars(parser.parse_args())
    with Server(arguments.pop("base_path"), arguments.pop("name"), **arguments) as server:
        print(f"serving grpc={server.grpc_address} http={server.http_address}", flush=True)  # noqa: T201
        stop.wait()


if __name__ == "__main__":
    main()
