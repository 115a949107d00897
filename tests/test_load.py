"""A server with four times as many clients as it has places: right answers or clear refusals.

Pictures are smaller and larger than a tile, and one is larger than the server takes.
SRGAN_LOAD_SECONDS=300 runs it for so long (default: 6); -s shows the figures. The server is a
process of its own, whose memory the system tells.
"""

import collections
import dataclasses
import functools
import itertools
import os
import pathlib
import subprocess
import sys
import threading
import time

import fixtures
import numpy as np
import pytest
import test_export

grpc = pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from srgan_tf.serving import deployment, export, model_record

SECONDS = float(os.environ.get("SRGAN_LOAD_SECONDS", "6"))
_WORKERS, _QUEUE = 2, 4
_CLIENTS = 4 * (_WORKERS + _QUEUE)
_SIZES = ((12, 17), (48, 40), (65, 64), (92, 120))
_MAX_PIXELS, _TOO_LARGE = 92 * 120, (93, 119)
# Every so many requests of a client have a deadline that cannot always be met.
_HURRIED, _HURRY_SECONDS = 5, 0.03
_PATIENCE_SECONDS = 60.0
# Of the server's memory, after a quarter of the time. Allocators settle; a leak goes on.
_GROWTH_MB = 80
_CLEAR = ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")


@dataclasses.dataclass(frozen=True)
class _Job:
    """A request, the output to look at, and what it must be; None where it must be refused."""

    request: predict_pb2.PredictRequest
    output: str
    expected: np.ndarray | None


def _jobs(exported: str) -> list[_Job]:
    """Returns requests of all sizes for both signatures that take pictures."""
    signatures = tf.saved_model.load(exported).signatures
    made = []
    for seed, size in enumerate((*_SIZES, _TOO_LARGE)):
        lr = fixtures.photo_like(*size, seed)[None]
        files = np.array([tf.io.encode_png(lr[0]).numpy()], object)
        for name, key, value, output in (
            ("serving_default", "lr", lr, "sr"),
            ("upscale_bytes", "image_bytes", files, "output_bytes"),
        ):
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "tiny", name
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            if size != _TOO_LARGE:
                expected = signatures[name](**{key: tf.constant(value)})[output].numpy()
                made.append(_Job(request, output, expected))
            elif name == "serving_default":
                made.append(_Job(request, output, None))
            else:  # What is wrong with one picture is no error of the request.
                made.append(_Job(request, "status", _status(size)))
    return made


def _status(size: tuple[int, int]) -> np.ndarray:
    height, width = size
    text = f"has {width}x{height} pixels (width x height): this model takes at most {_MAX_PIXELS}"
    return np.array([text.encode()], object)


class _Client(threading.Thread):
    """Sends one request after the other and counts what becomes of them."""

    def __init__(self, address: str, jobs, end: float, number: int):
        super().__init__()
        self._address, self._jobs, self._end, self._number = address, jobs, end, number
        self.counts = collections.Counter()
        self.seconds = []
        self.faults = []

    def run(self):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._address, options=options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for turn in itertools.count(self._number):
                if time.monotonic() >= self._end:
                    return
                self._ask(stub, self._jobs[turn % len(self._jobs)], hurried=turn % _HURRIED == 0)

    def _ask(self, stub, job: _Job, *, hurried: bool):
        begin = time.monotonic()
        try:
            timeout = _HURRY_SECONDS if hurried else _PATIENCE_SECONDS
            response = stub.Predict(job.request, timeout=timeout)
        except grpc.RpcError as error:
            name = error.code().name
            if job.expected is None and name == "INVALID_ARGUMENT":
                said = f"takes at most {_MAX_PIXELS}" in error.details()
                self.counts["right refusals" if said else "wrong"] += 1
                return
            self.counts[name] += 1
            if name not in _CLEAR or (name == "DEADLINE_EXCEEDED" and not hurried):
                self.faults.append(f"{name}: {error.details()}")
            time.sleep(0.02)  # As clients that were refused should.
            return
        self.seconds.append(time.monotonic() - begin)
        made = tf.make_ndarray(response.outputs[job.output])
        self.counts["right" if _same(made, job) else "wrong"] += 1


def _same(made: np.ndarray, job: _Job) -> bool:
    expected = job.expected
    if expected is None or made.shape != expected.shape:
        return False
    if job.output == "status":
        return bool(np.all(made == expected))
    if made.dtype == object:
        made, expected = (tf.io.decode_png(file).numpy() for file in (made[0], expected[0]))
    return bool(np.abs(made.astype(int) - expected).max() <= 1)


def _resident_mb(process: subprocess.Popen) -> float:
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_four_times_as_many_clients_as_places(tmp_path, monkeypatch):
    # The smallest tiles that there are.
    tiny = functools.partial(export.served.ServedModule, tile_bytes=1)
    monkeypatch.setattr(export.served, "ServedModule", tiny)
    run_dir = test_export.make_run(tmp_path / "run", steps=(7,))
    exported = export.export(run_dir, max_pixels=_MAX_PIXELS)
    record = model_record.read(exported)
    areas = [height * width for height, width in _SIZES]
    assert min(areas) < record["tile_pixels"] < max(areas) / 2 and max(areas) == _MAX_PIXELS
    jobs = _jobs(exported)
    command = [sys.executable, str(fixtures.ROOT / "tests" / "serving_server.py")]
    flags = [f"--base_path={os.path.dirname(exported)}", "--name=tiny"]
    flags += [f"--workers={_WORKERS}", f"--queue={_QUEUE}", "--grpc_port=0", "--rest_port=0"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().split("grpc=")[1].split()[0]
            begin = time.monotonic()
            clients = [_Client(address, jobs, begin + SECONDS, n) for n in range(_CLIENTS)]
            for client in clients:
                client.start()
            memory = []
            while any(client.is_alive() for client in clients):
                time.sleep(min(1.0, SECONDS / 20))
                memory.append(_resident_mb(server))
            after = _Client(address, jobs, 0, 0)
            with grpc.insecure_channel(address) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                for job in jobs:
                    after._ask(stub, job, hurried=False)
        finally:
            server.terminate()
    assert after.counts == {"right": len(jobs) - 1, "right refusals": 1}
    _judge(clients, memory)
    # What a deployment reckons with, for as many requests at a time; pixels have 4 bytes at most.
    answer = _MAX_PIXELS * record["scale"] ** 2 * 4
    alone, _, _ = deployment.memory_mb({**record, "max_answer_bytes": answer})
    resident = deployment.RESIDENT_MB
    assert max(memory) < resident + _WORKERS * (alone - resident)


def _judge(clients: list[_Client], memory: list[float]) -> None:
    counts = sum((client.counts for client in clients), collections.Counter())
    seconds = np.sort(np.concatenate([client.seconds for client in clients]))
    settled = memory[len(memory) // 4]
    median, late = (1e3 * np.quantile(seconds, share) for share in (0.5, 0.99))
    sys.stdout.write(
        f"\n{_CLIENTS} clients, {_WORKERS} workers, {_QUEUE} waiting, {SECONDS:g} s: "
        f"{dict(counts)}; {len(seconds) / SECONDS:.0f} answers/s, median {median:.0f} ms, "
        f"99% below {late:.0f} ms; server {settled:.0f} MB after a quarter, "
        f"{max(memory):.0f} MB at most, {memory[-1]:.0f} MB at the end\n"
    )
    faults = [fault for client in clients for fault in client.faults]
    assert not faults, faults[:3]
    assert set(counts) <= {"right", "right refusals", *_CLEAR}
    assert counts["right"] and counts["RESOURCE_EXHAUSTED"]
    assert max(memory[len(memory) // 4 :]) - settled < _GROWTH_MB
