"""serving/client.py, protocols.py, remote.py: a server gives the pictures of a local model.

The server is serving_server.py, which speaks TensorFlow Serving's protocols.
"""

import contextlib
import dataclasses
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import fixtures
import numpy as np
import pytest
import test_export
from PIL import Image

from srgan_tf import errors
from srgan_tf.serving import batch, client, export, pictures, remote, tiling
from srgan_tf.serving.upscaler import Upscaler

serving_server = pytest.importorskip(
    "serving_server", reason="needs the extra `serving` (tensorflow-serving-api)"
)
PROTOCOLS = ("grpc", "http")
NAME = "tiny"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    made = test_export.make_run(tmp_path_factory.mktemp("client") / "run")
    return os.path.dirname(export.export(made))


@pytest.fixture(scope="module")
def running(model_dir):
    with serving_server.Server(model_dir, NAME, workers=8, queue=8) as server:
        yield server


@pytest.fixture
def server(running, monkeypatch):
    """The server with `runs`: what it does with a request, which tests replace."""
    monkeypatch.setattr(running.servable, "run", running.servable.run)
    yield running
    running.wait_until_idle()  # What one test has left behind the next one would count.


@pytest.fixture(scope="module")
def local(model_dir):
    return Upscaler.load(model_dir)


def load(server, protocol, **options):
    return Upscaler.load(address(server, protocol), model_name=NAME, **options)


def address(server, protocol):
    return f"{protocol}://{getattr(server, f'{protocol}_address')}"


class Slow:
    """Stands before a server's work: notes how many requests are there at a time, and waits.

    The first `quick` ones need not wait, nor does anyone after `end`.
    """

    def __init__(self, servable, seconds=0.05, quick=0):
        self._run, self._seconds, self._quick = servable.run, seconds, quick
        self._lock, self._ended = threading.Lock(), threading.Event()
        self.now = self.most = self.count = 0
        servable.run = self

    def __call__(self, signature, *args, **kwargs):
        if signature == "describe":
            return self._run(signature, *args, **kwargs)
        with self._lock:
            self.now += 1
            self.count += 1
            quick = self.count <= self._quick
            self.most = max(self.most, self.now)
        try:
            self._ended.wait(0 if quick else self._seconds)
            return self._run(signature, *args, **kwargs)
        finally:
            with self._lock:
                self.now -= 1

    def end(self):
        self._ended.set()
        while self.now:
            time.sleep(0.01)


class Failing:
    """Refuses the first requests by `code`."""

    def __init__(self, servable, code, times=99):
        self._run, self.count = servable.run, 0
        self._code, self._times = getattr(serving_server.grpc.StatusCode, code), times
        servable.run = self

    def __call__(self, signature, *args, **kwargs):
        if signature != "describe":
            self.count += 1
            if self.count <= self._times:
                raise serving_server.Refused(self._code, "no, thank you")
        return self._run(signature, *args, **kwargs)


def assert_same(found, expected):
    """Tiles of other sizes may round differently."""
    np.testing.assert_allclose(np.asarray(found).astype(int), np.asarray(expected), atol=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_picture_is_that_of_the_local_model(server, local, protocol):
    lr = fixtures.photo_like(43, 37)
    with load(server, protocol) as whole, load(server, protocol, tile_size=5) as tiled:
        assert whole.scale == local.scale == 2
        assert (whole.origin["kind"], whole.fingerprint) == ("server", local.fingerprint)
        assert_same(whole.upscale(lr), local.upscale(lr))
        slow = Slow(server.servable, 0)
        assert_same(tiled.upscale(lr), local.upscale(lr))
        assert slow.count > 4  # Tiles, indeed.
        alpha = np.dstack([lr, lr[..., :1]])
        assert_same(tiled.upscale(alpha), local.upscale(alpha))
        assert_same(tiled.upscale(lr[..., 0]), local.upscale(lr[..., 0]))


def photos_in(folder):
    """Writes colour, grey, alpha and a larger one; returns the folder."""
    folder.mkdir()
    colour = fixtures.photo_like(11, 14)
    Image.fromarray(colour).save(folder / "colour.png")
    Image.fromarray(colour[..., 0]).save(folder / "grey.png")
    Image.fromarray(np.dstack([colour, colour[..., 1]])).save(folder / "alpha.png")
    Image.fromarray(fixtures.photo_like(40, 50)).save(folder / "large.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return str(folder)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_folder_is_that_of_the_local_model(server, local, protocol, tmp_path):
    source = photos_in(tmp_path / "in")
    for name in ("here", "there"):
        jobs = pictures.plan([source], str(tmp_path / name), scale=2, compare=True)
        with contextlib.ExitStack() as stack:
            model = local
            if name == "there":
                model = stack.enter_context(load(server, protocol, tile_size=9))
            summary = batch.run(jobs, model)
        assert summary.done == 4 and "broken.jpg" in summary.failed[0]
    names = sorted(os.listdir(tmp_path / "here"))
    assert names == sorted(os.listdir(tmp_path / "there")) and len(names) == 8
    for name in names:
        here, there = Image.open(tmp_path / "here" / name), Image.open(tmp_path / "there" / name)
        assert here.mode == there.mode
        assert_same(there, here)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["tiles", "pictures"])
def test_no_more_requests_are_in_flight_than_asked_for(server, protocol, kind, tmp_path):
    slow = Slow(server.servable)
    with load(server, protocol, in_flight=3, tile_size=6) as model:
        if kind == "tiles":
            model.upscale(fixtures.photo_like(60, 60))
        else:
            (tmp_path / "in").mkdir()
            for number in range(8):
                picture = Image.fromarray(fixtures.photo_like(9, 9 + number))
                picture.save(tmp_path / "in" / f"{number}.png")
            jobs = pictures.plan([str(tmp_path / "in")], str(tmp_path / "out"), scale=2)
            assert batch.run(jobs, model).done == 8
    assert slow.count >= 8
    assert slow.most == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_starts_late_is_waited_for(running, model_dir, local, protocol, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found, refused = [], threading.Event()
    # Another server of the model that is loaded, which must outlive it.
    monkeypatch.setattr(serving_server, "Servable", lambda *_: running.servable)
    monkeypatch.setattr(running.servable.session, "close", lambda: None)
    # However long the server takes to start.
    monkeypatch.setattr(client, "_pause", lambda _: refused.set() or 0.05)

    def ask():
        where = f"{protocol}://127.0.0.1:{port}"
        with Upscaler.load(where, model_name=NAME, tries=10_000) as model:
            found.append(model.upscale(fixtures.photo_like(9, 9)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert refused.wait(60)
    options = {"grpc": "grpc_port", "http": "rest_port"}
    with serving_server.Server(model_dir, NAME, **{options[protocol]: port}):
        thread.join(120)
    assert_same(found[0], local.upscale(fixtures.photo_like(9, 9)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_unavailable_is_tried_again_so_many_times(server, protocol, monkeypatch):
    pauses = []
    monkeypatch.setattr(client, "_pause", lambda count: pauses.append(count) or 0.01)
    with load(server, protocol, tries=3) as model:
        failing = Failing(server.servable, "UNAVAILABLE", times=2)
        model.upscale(fixtures.photo_like(9, 9))
        assert failing.count == 3 and pauses == [1, 2]
        failing = Failing(server.servable, "UNAVAILABLE")
        with pytest.raises(errors.RunError, match="unavailable, tried 3 times .*no, thank you"):
            model.upscale(fixtures.photo_like(9, 9))
        assert failing.count == 3


def test_pauses_grow_and_differ():
    pauses = [[client._pause(count) for _ in range(20)] for count in range(1, 9)]
    for count, some in enumerate(pauses):
        longest = min(8.0, 0.25 * 2**count)
        assert longest / 2 <= min(some) < max(some) <= longest


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"])
def test_what_is_refused_is_not_tried_again(server, protocol, code, tmp_path):
    source = tmp_path / "in.png"
    Image.fromarray(fixtures.photo_like(9, 9)).save(source)
    with load(server, protocol) as model:
        failing = Failing(server.servable, code)
        summary = batch.run(pictures.plan([str(source)], str(tmp_path / "out"), scale=2), model)
    assert failing.count == 1 and summary.done == 0
    assert f"refused to upscale 9x9 pixels: {code}: no, thank you" in summary.failed[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_deadline_ends_a_request_and_is_not_tried_again(server, protocol):
    with load(server, protocol) as model:
        patient = model._engine._client  # The first connection may take longer than that.
        patient.options = dataclasses.replace(patient.options, deadline_s=0.4)
        slow = Slow(server.servable, 9.0)
        start = time.monotonic()
        with pytest.raises(errors.InputError, match="within 0.4 s.*--deadline_s"):
            model.upscale(fixtures.photo_like(9, 9))
        assert time.monotonic() - start < 5 and slow.count == 1
        slow.end()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_closing_ends_what_is_in_flight(server, protocol):
    slow = Slow(server.servable, 30.0)
    model = load(server, protocol, tile_size=6, in_flight=2)
    lr = fixtures.photo_like(60, 60)  # Of 80 tiles or so.

    def close():
        while slow.now < 2:
            time.sleep(0.01)
        model.close()

    thread = threading.Thread(target=close)
    thread.start()
    start = time.monotonic()
    with pytest.raises(client.RequestError, match="the connection has been closed"):
        model.upscale(lr)
    assert time.monotonic() - start < 15
    thread.join()
    slow.end()
    with pytest.raises(client.RequestError, match="the connection has been closed"):
        model.upscale(lr)


def test_closing_between_two_strips(server):
    model = load(server, "grpc", tile_size=6, in_flight=2)
    strips = model.strips(fixtures.photo_like(60, 60))
    next(strips)
    model.close()
    with pytest.raises(client.RequestError, match="the connection has been closed"):
        list(strips)


def test_closing_while_a_connection_is_made(server, monkeypatch):
    connecting, go = threading.Event(), threading.Event()
    model = load(server, "http")
    patience, sent = [], []

    class Late(http.client.HTTPConnection):
        def connect(self):
            patience.append(self.timeout)
            connecting.set()
            assert go.wait(30)
            super().connect()

        def send(self, data):
            sent.append(data)
            super().send(data)

    monkeypatch.setattr(model._engine._client._protocol, "_connect", Late)

    def close():
        connecting.wait()
        model.close()
        go.set()

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(client.RequestError, match="the connection has been closed"):
        model.upscale(fixtures.photo_like(9, 9))
    thread.join()
    assert not sent and patience == [5.0]


def test_a_host_that_does_not_exist_is_not_tried_again(monkeypatch):
    pauses = []
    monkeypatch.setattr(client, "_pause", lambda count: pauses.append(count) or 0.01)

    def fails(kind):
        def getaddrinfo(*args, **kwargs):
            raise socket.gaierror(kind, "no name")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    fails(socket.EAI_NONAME)
    with pytest.raises(errors.InputError, match="http://nowhere: there is no such host"):
        Upscaler.load("http://nowhere", model_name=NAME)
    assert not pauses
    fails(socket.EAI_AGAIN)
    with pytest.raises(errors.RunError, match="tried 3 times"):
        Upscaler.load("http://nowhere", model_name=NAME, tries=3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_addresses_and_names_that_are_wrong(server, protocol, tmp_path):
    with pytest.raises(errors.InputError, match="has no --model_name=other.*NOT_FOUND"):
        Upscaler.load(address(server, protocol), model_name="other")
    with pytest.raises(errors.InputError, match="has no --model_name=tiny --model_version=9"):
        load(server, protocol, model_version=9)
    with pytest.raises(errors.InputError, match="--model_name is needed"):
        Upscaler.load(address(server, protocol))
    for wrong in ("//", "//host:port", "//host:99999", "//host?a=b"):
        with pytest.raises(errors.InputError, match="is no address of a server"):
            Upscaler.load(f"{protocol}:{wrong}", model_name=NAME)
    with pytest.raises(errors.InputError, match="--weights: for models in this process only"):
        load(server, protocol, weights="raw")
    with pytest.raises(errors.InputError, match="--deadline_s must be above 0: deadline_s=0"):
        load(server, protocol, deadline_s=0)
    with pytest.raises(errors.InputError, match="--in_flight: for servers only"):
        Upscaler.load(str(tmp_path), in_flight=2)
    for place in (address(server, protocol), str(tmp_path)):
        with pytest.raises(TypeError, match="Upscaler.load has no argument tilesize"):
            Upscaler.load(place, tilesize=3)


def test_a_model_without_a_description_is_named(server, monkeypatch):
    signatures = {k: v for k, v in server.servable.signatures.items() if k != "describe"}
    monkeypatch.setattr(server.servable, "signatures", signatures)
    for protocol in PROTOCOLS:
        with pytest.raises(errors.InputError, match="no signature `describe`.*export it again"):
            load(server, protocol)


def test_requests_are_bounded_by_themselves():
    def engine(radius, most):
        facts = {"scale": 4, "receptive_radius": radius, "alignment": 4, "max_pixels": most}
        options = client.Options(model_name=NAME)
        return remote.Engine(client.Client("http://localhost", options), facts)

    # 320 of a side; 20 are read on each side of what is kept: 17, and up to a multiple of 4.
    assert engine(17, 10**7).planner(None, None)(5000, 3000).tile_size == (280, 280)
    # With a rim of 200 it would be nothing but rim: three of them.
    assert engine(200, 10**7).planner(None, None)(5000, 3000).tile_size == (200, 200)
    # What the server takes: 90 of a side. The last tile is up to 3 wider; of the 47 that are left
    # 44 are a multiple of 4.
    assert engine(17, 90 * 90).planner(None, None)(5000, 3000).tile_size == (44, 44)
    assert engine(17, 90 * 90).planner(None, 44)(50, 3000).tile_size == (44, 44)
    with pytest.raises(errors.InputError, match="takes 8,100 pixels at a time; a tile of 45"):
        engine(17, 90 * 90).planner(None, 45)
    for made in (engine(17, 90 * 90), engine(16, 67 * 67)):
        (side, _), overlap = made.planner(None, None)(5000, 3000).tile_size, made.receptive_radius
        for size in range(1, 400):
            cut = tiling.spans(size, tile_size=side, overlap=overlap, alignment=4)
            assert max(one.read_to - one.read_from for one in cut) ** 2 <= made._max_pixels
    with pytest.raises(errors.InputError, match="a rim of 20 around it"):
        engine(17, 40 * 40).planner(None, None)


def command(*flags, **options):
    return subprocess.Popen(
        [sys.executable, str(fixtures.ROOT / "scripts" / "upscale.py"), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    "flag, sentence",
    [
        ("--model=grpc://host:8500", "--model=grpc://host:8500 is a server; use --server for it."),
        ("--server=host:8500", "--server=host:8500 is no address of a server; expected, for"),
    ],
)
def test_models_and_servers_are_told_apart(flag, sentence, tmp_path):
    asked = command(flag, f"--input={tmp_path}", cwd=tmp_path)
    output, error = asked.communicate(timeout=60)
    assert asked.returncode == 2 and not output
    assert sentence in error and len(error.splitlines()) == 1


def test_a_dead_server_is_one_line_and_an_interrupted_folder_continues(server, local, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(8):
        picture = Image.fromarray(fixtures.photo_like(9, 9, seed=number))
        picture.save(tmp_path / "in" / f"{number}.png")
    with socket.socket() as nobody:  # Bound, but it does not listen.
        nobody.bind(("127.0.0.1", 0))
        dead = command(
            f"--server=http://127.0.0.1:{nobody.getsockname()[1]}",
            "--model_name=tiny",
            "--tries=2",
            f"--input={tmp_path / 'in'}",
            f"--output={tmp_path / 'dead'}",
        )
        flags = [
            f"--server={address(server, 'grpc')}",
            f"--model_name={NAME}",
            "--in_flight=2",
            f"--input={tmp_path / 'in'}",
            f"--output={tmp_path / 'out'}",
        ]
        slow = Slow(server.servable, 30.0, quick=2)
        interrupted = command(*flags)
        while interrupted.poll() is None and not (tmp_path / "out" / "1_x2.png").exists():
            time.sleep(0.05)
        interrupted.send_signal(signal.SIGINT)
        start = time.monotonic()
        stderr = interrupted.communicate(timeout=60)[1]
        assert interrupted.returncode == 130 and "interrupted." in stderr, stderr
        assert "Traceback" not in stderr
        assert time.monotonic() - start < 20  # It does not wait for the requests in flight.
        slow.end()
        output, error = dead.communicate(timeout=60)
        assert dead.returncode == 1 and not output
        assert len(error.splitlines()) == 1 and "is unavailable, tried 2 times" in error
    there = sorted(os.listdir(tmp_path / "out"))
    assert 2 <= len(there) < 8
    for name in there:
        Image.open(tmp_path / "out" / name).load()
    with load(server, "grpc") as model:
        jobs = pictures.plan([str(tmp_path / "in")], str(tmp_path / "out"), scale=2)
        summary = batch.run(jobs, model)
    assert (summary.done, summary.skipped) == (8 - len(there), len(there))
    assert_same(
        Image.open(tmp_path / "out" / "5_x2.png"), local.upscale(fixtures.photo_like(9, 9, seed=5))
    )
