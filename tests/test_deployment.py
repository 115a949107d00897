"""Exports as TensorFlow Serving meets them: loader, warm-up, gRPC, REST, the files for its image.

The real server is not here. What stands in for it (serving_server.py) loads by the TF1-style
loader and speaks by the real protocol's stubs.
"""

import base64
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent import futures

import fixtures
import numpy as np
import pytest
import test_export
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from srgan_tf import config as config_lib
from srgan_tf import errors, images, run_folder
from srgan_tf.models import generators, pretrained
from srgan_tf.serving import (
    client,
    deployment,
    describe,
    export,
    model_record,
    verification,
    warmup,
)

grpc = pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

import serving_server
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

_NAME = "tiny"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run that has recorded what a real one does."""
    made = test_export.make_run(tmp_path_factory.mktemp("deployment") / "run", steps=(7,))
    config, _ = run_folder.read_config(made)
    data = {"dir": "data", "fingerprint": "f" * 64, "train_records": 9, "validation_records": 1}
    starts = [{"commit": "a1"}, {"commit": "b2", "versions": {"tensorflow": "2.15.1"}}]
    run_folder.write_config(made, config, data=data, environment=starts[0], sessions=starts)
    rows = ["stage,step,learning_rate,generator_loss,validation_psnr"]
    rows += ["pretrain,5,0.1,0.5,31.25", "pretrain,7,0.1,nan,", "pretrain,8,0.1,9,9"]
    pathlib.Path(made, run_folder.METRICS).write_text("\n".join(rows) + "\n")
    return made


@pytest.fixture(scope="module")
def exported(run_dir):
    return export.export(run_dir)


@pytest.fixture(scope="module")
def server(exported):
    with serving_server.Server(os.path.dirname(exported), _NAME) as server:
        yield server


@pytest.fixture(scope="module")
def expected(run_dir):
    """A batch of pictures and what the checkpoint makes of it."""
    lr = np.stack([fixtures.photo_like(6, 5, seed) for seed in range(2)])
    generator, _, _ = run_folder.load_generator(run_dir)
    sr = images.signed_to_uint8(generator(images.uint8_to_unit(lr), training=False)).numpy()
    return lr, sr


def _stub(server):
    channel = grpc.insecure_channel(server.grpc_address)
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def _request(lr, *, name=_NAME, signature="", key="lr"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    request.inputs[key].CopyFrom(tf.make_tensor_proto(lr))
    return request


def _rest(server, body, *, path=f"/v1/models/{_NAME}:predict"):
    """Returns HTTP status and JSON."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://{server.http_address}{path}", data, 60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_loader_of_the_real_server_in_a_fresh_process(exported, expected, tmp_path):
    # saved_model_cli uses tf.compat.v1.saved_model.loader, as the C++ server does.
    lr, sr = expected
    np.save(tmp_path / "lr.npy", lr)
    cli = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "run"]
    chosen = ["--dir", exported, "--tag_set", "serve", "--signature_def", "serving_default"]
    feed = ["--inputs", f"lr={tmp_path / 'lr.npy'}", "--outdir", str(tmp_path)]
    done = subprocess.run([*cli, *chosen, *feed], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "sr.npy").astype(int), sr, atol=1)


def test_warm_up_is_the_real_protocols_and_replayed_by_the_server(exported, server):
    asked = []
    for record in tf.data.TFRecordDataset(os.path.join(exported, warmup.PATH)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        asked.append(log.predict_log.request.model_spec.signature_name)
        signature = model_record.read(exported)["signatures"][asked[-1]]
        (name,) = log.predict_log.request.inputs
        array = tf.make_ndarray(log.predict_log.request.inputs[name])
        assert name in signature["inputs"] and array.size
    for_clients = set(server.servable.signatures) - {"describe"}
    # Halves without tiles or limits would let one request take all memory.
    assert not {"trunk", "tail"} & set(server.servable.signatures)
    assert sorted(asked) == sorted(for_clients) == sorted(server.servable.warmed)


def test_warm_up_is_byte_for_byte_that_of_the_real_definition():
    tensor = tf.constant(fixtures.photo_like(9, 9)[None])  # Long enough for a varint of two bytes.
    log = prediction_log_pb2.PredictionLog()
    request = _request(tensor.numpy(), name="", signature="serving_default")
    log.predict_log.request.CopyFrom(request)
    assert warmup.prediction_log("serving_default", {"lr": tensor}) == log.SerializeToString()


def test_grpc(server, expected):
    lr, sr = expected
    stub = _stub(server)
    response = stub.Predict(_request(lr), timeout=60)
    made = tf.make_ndarray(response.outputs["sr"])
    np.testing.assert_allclose(made.astype(int), sr, atol=1)
    assert response.model_spec.version.value == 7
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = _NAME
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert stub.GetModelMetadata(asked).metadata["signature_def"].Unpack(signatures)
    assert list(signatures.signature_def["serving_default"].inputs) == ["lr"]
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = _NAME
    channel = grpc.insecure_channel(server.grpc_address)
    (state,) = (
        model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status).model_version_status
    )
    assert (state.version, state.state) == (7, get_model_status_pb2.ModelVersionStatus.AVAILABLE)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": "other"}, "NOT_FOUND"),
        ({"signature": "other"}, "INVALID_ARGUMENT"),
        ({"key": "hr"}, "INVALID_ARGUMENT"),
        ({"lr": np.zeros([4, 4, 3], np.uint8)}, "INVALID_ARGUMENT"),
        ({"lr": np.zeros([1, 4, 4, 3], np.float32)}, "INVALID_ARGUMENT"),
    ],
)
def test_grpc_refusals(server, change, code):
    lr = change.pop("lr", np.zeros([1, 4, 4, 3], np.uint8))
    with pytest.raises(grpc.RpcError) as caught:
        _stub(server).Predict(_request(lr, **change), timeout=60)
    assert caught.value.code().name == code
    assert "\n" not in caught.value.details()


def test_rest(server, expected):
    lr, sr = expected
    status, rows = _rest(server, {"signature_name": "serving_default", "instances": lr.tolist()})
    assert status == 200 and list(rows) == ["predictions"]
    np.testing.assert_allclose(rows["predictions"], sr, atol=1)
    named = {"instances": [{"lr": one} for one in lr.tolist()]}
    assert _rest(server, named) == (200, rows)
    outputs = {"outputs": rows["predictions"]}
    assert _rest(server, {"inputs": lr.tolist()}) == (200, outputs)
    assert _rest(server, {"inputs": {"lr": lr.tolist()}}) == (200, outputs)
    _, state = _rest(server, None, path=f"/v1/models/{_NAME}")
    assert state["model_version_status"][0]["state"] == "AVAILABLE"
    _, metadata = _rest(server, None, path=f"/v1/models/{_NAME}/versions/7/metadata")
    assert "serving_default" in metadata["metadata"]["signature_def"]["signature_def"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "instances"),
        ({"instances": []}, "instances"),
        ({"instances": [[[[0.5, 1, 1]]]]}, "uint8"),
        ({"instances": [[[[256, 1, 1]]]]}, "uint8"),
        ({"instances": [[[[1, 1, 1]], [[1, 1]]]]}, "lr"),
        ({"inputs": {"hr": [1]}}, "hr"),
        ({"signature_name": "other", "instances": [1]}, "other"),
    ],
)
def test_rest_refusals(server, body, words):
    status, answer = _rest(server, body)
    assert (status, list(answer)) == (400, ["error"])
    assert words in answer["error"]
    assert _rest(server, body, path="/v1/models/other:predict")[0] == 404


def test_files_by_rest_and_grpc(server, expected):
    lr, sr = expected
    files = [tf.io.encode_png(one).numpy() for one in lr] + [b"no picture"]
    request = _request(np.array(files, object), signature="upscale_bytes", key="image_bytes")
    made = _stub(server).Predict(request, timeout=60).outputs
    pictures = tf.make_ndarray(made["output_bytes"])
    statuses = [status.decode() for status in tf.make_ndarray(made["status"])]
    assert statuses[:2] == ["OK", "OK"] and statuses[2] not in ("OK", "") and not pictures[2]
    for picture, wanted in zip(pictures, sr, strict=False):
        np.testing.assert_allclose(tf.io.decode_png(picture).numpy().astype(int), wanted, atol=1)
    encoded = [{"b64": base64.b64encode(file).decode()} for file in files]
    body = {"signature_name": "upscale_bytes", "instances": encoded}
    _, answer = _rest(server, body)
    assert [row["status"] for row in answer["predictions"]] == statuses
    for row, picture in zip(answer["predictions"], pictures, strict=True):
        assert base64.b64decode(row["output_bytes"]["b64"]) == picture
    body = {"signature_name": "upscale_bytes", "inputs": {"image_bytes": encoded}}
    assert _rest(server, body)[1]["outputs"]["status"] == statuses


def _wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_overload_and_deadline_are_said(server, expected, monkeypatch):
    lr, sr = expected
    enter, leave = threading.Semaphore(0), threading.Event()

    def slowly(self, *arguments, run=serving_server.Servable.run, **options):
        enter.release()
        assert leave.wait(60)
        return run(self, *arguments, **options)

    # One worker and one place to wait.
    monkeypatch.setattr(server, "_places", threading.Semaphore(2))
    monkeypatch.setattr(server, "_pool", futures.ThreadPoolExecutor(1))
    monkeypatch.setattr(serving_server.Servable, "run", slowly)
    stub = _stub(server)
    first = stub.Predict.future(_request(lr), timeout=60)
    assert enter.acquire(timeout=60)
    # It waits for the only worker, and gives up.
    with pytest.raises(grpc.RpcError) as late:
        stub.Predict(_request(lr), timeout=0.3)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    _wait_for(lambda: server._places._value == 1)
    second = stub.Predict.future(_request(lr), timeout=60)
    _wait_for(lambda: server._places._value == 0)
    with pytest.raises(grpc.RpcError) as full:
        stub.Predict(_request(lr), timeout=60)
    assert full.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    status, answer = _rest(server, {"instances": lr.tolist()})
    assert status == 429 and "full" in answer["error"]
    leave.set()
    for answered in (first, second):
        made = tf.make_ndarray(answered.result().outputs["sr"])
        np.testing.assert_allclose(made.astype(int), sr, atol=1)


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(exported)


@pytest.mark.parametrize("name", sorted(verification.RUNS))
def test_each_signature_is_compared(run_dir, exported, loaded, monkeypatch, name):
    assert name in model_record.read(exported)["verified"]["signatures"]
    generator, _, _ = run_folder.load_generator(run_dir)
    right = verification.RUNS[name]

    def wrong(signatures, photo):
        sr = right(signatures, photo).numpy().astype(np.float32)
        sr[0, -1, -1, 0] += 3 if sr[0, -1, -1, 0] < 100 else -3
        return tf.constant(sr)

    monkeypatch.setitem(verification.RUNS, name, wrong)
    monkeypatch.setattr(tf.saved_model, "load", {exported: loaded}.get)
    with pytest.raises(errors.RunError, match=rf"differs .*\b{name}[;,]"):
        verification.verify(generator, exported, 1)


def test_record_and_its_description(run_dir, exported):
    record = model_record.read(model_record.find(run_dir))
    assert record["training"]["commits"] == ["a1", "b2"]
    assert record["data"]["fingerprint"] == "f" * 64
    # The rows up to the step that was exported; JSON has no NaN.
    assert (record["metrics"]["step"], record["metrics"]["generator_loss"]) == (7, "nan")
    assert record["validation"]["validation_psnr"] == 31.25
    assert record["signatures"]["serving_default"] == {
        "inputs": {"lr": ["uint8", [None, None, None, 3]]},
        "outputs": {"sr": ["uint8", [None, None, None, 3]]},
    }
    assert record["verified"]["photos"] == ["dogs.png", "fig.png"]
    assert set(record["verified"]["signatures"]) == (set(record["signatures"]) - {"describe"}) | {
        "trunk",
        "tail",
    }
    text = "\n".join(describe.lines(exported, record))
    shown = ["b2", "f" * 64, "lr uint8 [?, ?, ?, 3] -> sr", "psnr 31.25", "of 255 from the check"]
    shown += ["tiles: at most", "of 255 from the whole picture"]
    for words in shown:
        assert words in text
    why = {**record, "verified": {**record["verified"], "tiles": "not compared: too long"}}
    assert " tiles: not compared: too long" in describe.lines(exported, why)[-1]
    # Older exports recorded less.
    old = {"scale": 4, "receptive_radius": 3, "step": 1}
    assert len(describe.lines("old", old)) == 4


def test_a_limit_below_the_photos_is_refused(run_dir, tmp_path):
    sizes = [photo.lr.shape[1] * photo.lr.shape[2] for photo in verification.photos()]
    assert max(sizes) == verification.MOST_PIXELS
    with pytest.raises(errors.InputError, match="max_pixels=2744"):
        export.export(run_dir, output=str(tmp_path), max_pixels=2744)


def test_find(run_dir, exported, tmp_path):
    for path in (exported, os.path.dirname(exported), run_dir):
        assert model_record.find(path) == exported
    with pytest.raises(errors.InputError, match="has no SavedModel"):
        model_record.find(str(tmp_path))


def _batching_parameters():
    """Returns the message BatchingParameters of tensorflow_serving's session_bundle_config.proto.

    tensorflow-serving-api does not come with it; fields and numbers are the server's.
    """
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", syntax="proto3")
    value = file.message_type.add(name="Int64Value")
    value.field.add(name="value", number=1, type=3, label=1)
    message = file.message_type.add(name="BatchingParameters")
    fields = {"max_batch_size": 1, "batch_timeout_micros": 2, "num_batch_threads": 3}
    for name, number in {**fields, "max_enqueued_batches": 5}.items():
        message.field.add(name=name, number=number, type=11, label=1, type_name=".Int64Value")
    message.field.add(name="pad_variable_length_inputs", number=7, type=8, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))()


# Of 400,000 pixels at x4, with transparency: 400,000 x 16 x 4 bytes.
_FACTS = {"tile_bytes": 300_000_000, "max_answer_bytes": 25_600_000, "max_pixels": 400_000}


def _written(folder, model, **options):
    """Returns the texts of a deployment's files, of which none has a placeholder left."""
    options = {"record": _FACTS, "name": _NAME, "tag": deployment.TAG, **options}
    deployment.write(str(folder), model=model, **options)
    texts = {name: (folder / name).read_text() for name in deployment.FILES}
    assert "$" not in "".join(texts.values())
    return texts


def test_files_for_the_official_image(exported, server, tmp_path):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    texts = _written(tmp_path, exported, record=model_record.read(exported) | _FACTS)

    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(texts["models.config"], config)
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == (_NAME, f"/models/{_NAME}")
    assert model.model_version_policy.latest.num_versions == 1
    text_format.Parse(texts["batching_parameters.txt"], _batching_parameters())

    compose = yaml.safe_load(texts["docker-compose.yaml"])["services"][_NAME]
    assert compose["image"] == f"tensorflow/serving:{deployment.TAG}"
    source = {volume["target"]: volume["source"] for volume in compose["volumes"]}
    assert source[f"/models/{_NAME}"] == os.path.dirname(exported)
    assert not any("batching" in flag for flag in compose["command"])
    # A thread of gRPC's that is not there is a request refused: two clients must find theirs.
    threads = dict(flag.split("=") for flag in compose["command"])["--grpc_max_threads"]
    assert int(threads) >= 2 * client.Options(model_name=_NAME).in_flight + 2
    # 10 + 2 threads, each with 300 MB of tiles and 26 MB of answer six times: 12 x 456 + 1000.
    assert compose["mem_limit"] == "6472m"
    healthy = _health(compose, server.http_address)
    assert not subprocess.run(healthy, timeout=60).returncode
    with socket.socket() as nobody:  # Bound, but it does not listen.
        nobody.bind(("127.0.0.1", 0))
        dead = _health(compose, f"127.0.0.1:{nobody.getsockname()[1]}")
        assert subprocess.run(dead, timeout=60, stderr=subprocess.DEVNULL).returncode

    documents = {one["kind"]: one for one in yaml.safe_load_all(texts["kubernetes.yaml"])}
    data = documents["ConfigMap"]["data"]["models.config"]
    assert text_format.Parse(data, model_server_config_pb2.ModelServerConfig()) == config
    spec = documents["Deployment"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["args"] == compose["command"]
    # What is asked by HTTP waits behind pictures: only before there can be any.
    assert container["startupProbe"]["httpGet"]["path"] == f"/v1/models/{_NAME}"
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe].keys() == {"tcpSocket", "periodSeconds"}
        assert container[probe]["tcpSocket"] == {"port": "grpc"}
    assert container["resources"]["limits"]["memory"] == "6472M"
    labels = spec["template"]["metadata"]["labels"]
    assert labels == spec["selector"]["matchLabels"] == documents["Service"]["spec"]["selector"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    ports = {port["name"] for port in container["ports"]}
    assert ports == {port["targetPort"] for port in documents["Service"]["spec"]["ports"]}


def _health(compose, address):
    """Returns the health check's command, for a server at another address."""
    command = compose["healthcheck"]["test"][1:]
    assert "/127.0.0.1/8501" in command[-1]
    return [part.replace("127.0.0.1/8501", address.replace(":", "/")) for part in command]


def test_a_large_limit_is_advised_against(tmp_path):
    # Five times the pixels, so an answer of 128 MB: 12 x (300 + 6 x 128) + 1000 = 13,816 MB; with
    # 400,000 pixels it would be what the test above has.
    large = {**_FACTS, "max_answer_bytes": 128_000_000, "max_pixels": 2_000_000}
    for name, text in _written(tmp_path, "/models/1", record=large).items():
        if name.endswith(".yaml"):
            assert "13816" in text and "--max_pixels=400000, which needs 6472 MB" in text
    for old in ({"scale": 4}, {"max_pixels": 9, "tile_pixels": 4}):
        with pytest.raises(errors.InputError, match="--deployment: .*export again"):
            deployment.memory_mb(old)


def test_names_and_files_that_are_there(tmp_path):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")

    def check(name="x", tag="2.19.0-gpu", place="models", overwrite=False):
        deployment.check(str(tmp_path), name, tag, place=place, overwrite=overwrite)

    # Kubernetes: 63 characters with "-serving". Without quotes YAML reads null and truth.
    for name in ("srgan-x4", "x" * 55, "null", "on"):
        check(name)
        texts = _written(tmp_path / name, "/models/1", name=name)
        assert list(yaml.safe_load(texts["docker-compose.yaml"])["services"]) == [name]
        for one in yaml.safe_load_all(texts["kubernetes.yaml"]):
            assert one["metadata"]["name"] == f"{name}-serving"
    for name in ("SRGAN", "my_model", "-x", "x-", "x" * 56, "", "1", "4x", "x\n"):
        with pytest.raises(errors.InputError, match="--name"):
            check(name)
    for tag in ("", "a b", "-x", "2.19.0\n"):
        with pytest.raises(errors.InputError, match="--serving_tag"):
            check(tag=tag)
    with pytest.raises(errors.InputError, match="gs://bucket/srgan cannot be mounted"):
        check(place="gs://bucket/srgan")
    (tmp_path / "models.config").write_text("mine")
    with pytest.raises(errors.InputError, match="models.config already.*--overwrite"):
        check()
    check(overwrite=True)


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Returns what publishes a file that says by whom, as version 7."""

    def save(module, directory):
        os.makedirs(directory)
        pathlib.Path(directory, "by").write_text(module)

    monkeypatch.setattr(export, "_save", save)
    monkeypatch.setattr(verification, "verify", lambda *_: {"signatures": {}})
    target = str(tmp_path / "7")
    return lambda by, overwrite: export.write(
        None, by, target, {"precision": "float32"}, overwrite=overwrite
    )


@pytest.mark.parametrize(
    ("moment", "overwrite", "stays"),
    [
        ("_sync", False, "second"),
        # The later one replaces the other.
        ("_sync", True, "first"),
        # What was there is away, and the new one not yet there.
        ("_move", True, "second"),
    ],
)
def test_two_exports_of_one_version_do_not_meet(
    tmp_path, monkeypatch, publish, moment, overwrite, stays
):
    if moment == "_move":
        publish("before", False)
    right = getattr(export, moment)

    def meanwhile(*arguments):
        monkeypatch.setattr(export, moment, right)
        publish("second", overwrite)
        right(*arguments)

    monkeypatch.setattr(export, moment, meanwhile)
    if stays == "first":
        publish("first", overwrite)
    else:
        with pytest.raises(errors.InputError, match="7 has appeared .*and is kept"):
            publish("first", overwrite)
    assert os.listdir(tmp_path) == ["7"]
    assert (tmp_path / "7" / "by").read_text() == stays


def test_what_killed_exports_have_left_is_removed_after_a_day(tmp_path, publish):
    def leave(name, hours):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("half")
        begun = time.time() - 3600 * hours
        os.utime(tmp_path / name, (begun, begun))

    for name in (".7.1-ab.new", ".7.1-ab.old", ".7.new", ".70.1-ab.new", ".7.notes"):
        leave(name, 25)
    leave(".7.2-cd.new", 23)
    publish("me", False)
    assert set(os.listdir(tmp_path)) == {"7", ".7.2-cd.new", ".70.1-ab.new", ".7.notes"}


def test_a_version_that_a_server_would_not_serve_is_said(tmp_path, monkeypatch):
    warned = []
    monkeypatch.setattr(export.logging, "warning", lambda text, *rest: warned.append(text % rest))
    for name in ("3", "12", "notes"):
        (tmp_path / name).mkdir()
    assert model_record.next_version(str(tmp_path)) == 13
    export._warn_of_later_versions(str(tmp_path / "12"))
    assert not warned
    export._warn_of_later_versions(str(tmp_path / "3"))
    assert len(warned) == 1 and "the highest number, 12" in warned[0]


def test_a_pretrained_model_by_its_name(tmp_path, monkeypatch):
    small = config_lib.GeneratorConfig(filters=4, blocks=1)
    fixtures.use_generator(monkeypatch, small)
    monkeypatch.setattr(pretrained, "load_generator", lambda _: generators.build(small, 4))
    monkeypatch.setattr(export, "_save", lambda _, directory: os.makedirs(directory))
    monkeypatch.setattr(verification, "verify", lambda *_: {"signatures": {}})
    (tmp_path / "srgan" / "3").mkdir(parents=True)
    target = export.export_pretrained("srgan", output=str(tmp_path / "srgan"))
    assert target == str(tmp_path / "srgan" / "4")
    record = model_record.read(target)
    assert (record["model"], record["scale"]) == ("srgan", 4)
    assert "srgan (PyPI wheel" in "\n".join(describe.lines(target, record))


def test_the_command_describes_and_writes_deployment_files(exported, tmp_path):
    command = [sys.executable, str(fixtures.ROOT / "scripts" / "export.py")]
    options = [f"--deployment={tmp_path}", "--name=x2", "--serving_tag=2.20.0"]
    cases = (
        ([f"--describe={exported}", "--json", *options], None),
        (["--model=srgan"], "--output"),
        (["--model=srgan", "--describe=x"], "exclude"),
        (["--run_dir=x", "--json"], "--json goes with --describe"),
        (["--run_dir=x", "--name=y"], "--name goes with --deployment"),
        (["--run_dir=x", "--serving_tag=y"], "--serving_tag goes with --deployment"),
        (
            ["--describe=x", "--deployment=y", "--max_pixels=4000", "--precision=float32"],
            "leave out --precision, --max_pixels",
        ),
        (["--model=srgan", "--output=gs://x/y", f"--deployment={tmp_path}"], "cannot be mounted"),
    )
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([*command, *flags], stdout=pipe, stderr=pipe, text=True)
        for flags, _ in cases
    ]
    for process, (_, words) in zip(started, cases, strict=True):
        output, problems = process.communicate(timeout=300)
        if words is None:
            assert process.returncode == 0, problems
            assert json.loads(output) == model_record.read(exported)
        else:
            assert process.returncode == 2 and words in problems, problems
    assert 'name: "x2"' in (tmp_path / "models.config").read_text()
    assert "image: tensorflow/serving:2.20.0" in (tmp_path / "docker-compose.yaml").read_text()
