"""A server with four times as many clients as it has places: right answers or clear refusals.

SRGAN_LOAD_SECONDS=300 runs it for so long (default: 6); -s shows the figures. The server is a
process of its own, whose memory the system tells.
"""

import collections
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

from srgan_tf.serving import export

SECONDS = float(os.environ.get("SRGAN_LOAD_SECONDS", "6"))
_WORKERS, _QUEUE = 2, 4
_CLIENTS = 4 * (_WORKERS + _QUEUE)
_SIZES = ((24, 31), (48, 40), (65, 64), (17, 120))
# Every so many requests of a client have a deadline that cannot always be met.
_HURRIED, _HURRY_SECONDS = 5, 0.03
_PATIENCE_SECONDS = 60.0
# Of the server's memory, after a quarter of the time. Allocators settle; a leak goes on.
_GROWTH_MB = 80
_CLEAR = ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")


def _jobs(exported: str) -> list[tuple[predict_pb2.PredictRequest, str, object]]:
    """Returns requests of all sizes and signatures, the output to look at, and what it must be."""
    signatures = tf.saved_model.load(exported).signatures
    made = []
    for seed, size in enumerate(_SIZES):
        lr = fixtures.photo_like(*size, seed)[None]
        feeds = {"serving_default": ("lr", lr, "sr")}
        if "upscale_bytes" in signatures:
            files = np.array([tf.io.encode_png(lr[0]).numpy()], object)
            feeds["upscale_bytes"] = ("image_bytes", files, "output_bytes")
        for name, (key, value, output) in feeds.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "tiny", name
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            expected = signatures[name](**{key: tf.constant(value)})[output].numpy()
            made.append((request, output, expected))
    return made


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
                self._ask(stub, *self._jobs[turn % len(self._jobs)], hurried=turn % _HURRIED == 0)

    def _ask(self, stub, request, output, expected, *, hurried: bool):
        begin = time.monotonic()
        try:
            timeout = _HURRY_SECONDS if hurried else _PATIENCE_SECONDS
            response = stub.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            name = error.code().name
            self.counts[name] += 1
            if name not in _CLEAR or (name == "DEADLINE_EXCEEDED" and not hurried):
                self.faults.append(f"{name}: {error.details()}")
            time.sleep(0.02)  # As clients that were refused should.
            return
        self.seconds.append(time.monotonic() - begin)
        made = tf.make_ndarray(response.outputs[output])
        right = made.shape == expected.shape and _same(made, expected)
        self.counts["right" if right else "wrong"] += 1


def _same(made: np.ndarray, expected: np.ndarray) -> bool:
    if made.dtype != object:
        return bool(np.abs(made.astype(int) - expected).max() <= 1)
    pictures = [tf.io.decode_png(file).numpy() for file in (made[0], expected[0])]
    return _same(*pictures)


def _resident_mb(process: subprocess.Popen) -> float:
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_four_times_as_many_clients_as_places(tmp_path):
    exported = export.export(test_export.make_run(tmp_path / "run", steps=(7,)))
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
                after._ask(stub, *jobs[0], hurried=False)
        finally:
            server.terminate()
    assert after.counts == {"right": 1}
    _judge(clients, memory)


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
    assert set(counts) <= {"right", *_CLEAR}
    assert counts["right"] > SECONDS and counts["RESOURCE_EXHAUSTED"]
    assert max(memory[len(memory) // 4 :]) - settled < _GROWTH_MB
