"""Exports as TensorFlow Serving meets them: loader, warm-up, gRPC, REST, the files for its image.

The real server is not here. What stands in for it (serving_server.py) loads by the TF1-style
loader and speaks by the real protocol's stubs.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import fixtures
import numpy as np
import pytest
import test_export
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from srgan_tf import config as config_lib
from srgan_tf import errors, images, run_folder
from srgan_tf.models import generators, pretrained
from srgan_tf.serving import deployment, describe, export, model_record, verification, warmup

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


def test_saved_model_cli_in_fresh_processes(exported, expected, tmp_path):
    # `run` loads by tf.compat.v1.saved_model.loader, which is what the C++ server does.
    lr, sr = expected
    np.save(tmp_path / "lr.npy", lr)
    cli = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    chosen = ["--dir", exported, "--tag_set", "serve", "--signature_def", "serving_default"]
    feed = ["--inputs", f"lr={tmp_path / 'lr.npy'}", "--outdir", str(tmp_path)]
    lines = {"show": [*cli, "show", *chosen], "run": [*cli, "run", *chosen, *feed]}
    pipe = subprocess.PIPE
    started = {
        name: subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True)
        for name, line in lines.items()
    }
    for name, process in started.items():
        output, problems = process.communicate(timeout=300)
        assert process.returncode == 0, problems
        if name == "show":
            assert "inputs['lr'] tensor_info" in output and "dtype: DT_UINT8" in output
            assert "shape: (-1, -1, -1, 3)" in output and "outputs['sr']" in output
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
    if "upscale_bytes" not in server.servable.signatures:
        pytest.skip("this export has no upscale_bytes")
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


def test_overload_and_deadline_are_said(exported, expected, monkeypatch):
    lr, sr = expected
    enter, leave = threading.Semaphore(0), threading.Event()

    def slowly(self, *arguments, run=serving_server.Servable.run, **options):
        enter.release()
        assert leave.wait(60)
        return run(self, *arguments, **options)

    with serving_server.Server(os.path.dirname(exported), _NAME, workers=1, queue=1) as server:
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
        assert status == 503 and "full" in answer["error"]
        leave.set()
        for answered in (first, second):
            made = tf.make_ndarray(answered.result().outputs["sr"])
            np.testing.assert_allclose(made.astype(int), sr, atol=1)


@pytest.mark.parametrize("name", sorted(verification.RUNS))
def test_each_signature_is_compared(run_dir, exported, monkeypatch, name):
    assert name in model_record.read(exported)["verified"]["signatures"]
    generator, _, _ = run_folder.load_generator(run_dir)
    right = verification.RUNS[name]

    def wrong(signatures, photo):
        sr = right(signatures, photo).numpy().astype(np.float32)
        sr[0, -1, -1, 0] += 3 if sr[0, -1, -1, 0] < 100 else -3
        return tf.constant(sr)

    monkeypatch.setitem(verification.RUNS, name, wrong)
    with pytest.raises(errors.RunError, match=f"differs .*signature {name}"):
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
    for words in shown:
        assert words in text
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


def test_files_for_the_official_image(exported, server, tmp_path):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    record = {**model_record.read(exported), "max_pixels": 1_000_000, "tile_pixels": 10_000}
    deployment.write(str(tmp_path), model=exported, record=record, name=_NAME)
    texts = {name: (tmp_path / name).read_text() for name in deployment.FILES}
    assert "$" not in "".join(texts.values())

    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(texts["models.config"], config)
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == (_NAME, f"/models/{_NAME}")
    assert model.model_version_policy.latest.num_versions == 1
    text_format.Parse(texts["batching_parameters.txt"], _batching_parameters())

    compose = yaml.safe_load(texts["docker-compose.yaml"])["services"][_NAME]
    assert compose["image"] == f"tensorflow/serving:{tf.__version__}"
    source = {volume["target"]: volume["source"] for volume in compose["volumes"]}
    assert source[f"/models/{_NAME}"] == os.path.dirname(exported)
    assert not any("batching" in flag for flag in compose["command"])
    # 4 x 4 at most for gRPC and 2 for REST; 1 million pixels x 2 x 2 x 3 bytes, held four times.
    _, most, _ = deployment.memory_mb(record)
    assert compose["mem_limit"] == f"{most}m" and most > 700 + 6 * 4 * 12
    assert not subprocess.run(_health(compose, server.http_address), timeout=60).returncode

    documents = {one["kind"]: one for one in yaml.safe_load_all(texts["kubernetes.yaml"])}
    data = documents["ConfigMap"]["data"]["models.config"]
    assert text_format.Parse(data, model_server_config_pb2.ModelServerConfig()) == config
    spec = documents["Deployment"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["args"] == compose["command"]
    assert container["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{_NAME}"
    assert container["resources"]["limits"]["memory"] == f"{most}M"
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


def test_names_and_files_that_are_there(tmp_path):
    deployment.check(str(tmp_path), "srgan-x4", overwrite=False)
    for name in ("SRGAN", "my_model", "-x", "x" * 60, ""):
        with pytest.raises(errors.InputError, match="--name"):
            deployment.check(str(tmp_path), name, overwrite=False)
    (tmp_path / "models.config").write_text("mine")
    with pytest.raises(errors.InputError, match="models.config already.*--overwrite"):
        deployment.check(str(tmp_path), "x", overwrite=False)
    deployment.check(str(tmp_path), "x", overwrite=True)


def test_a_pretrained_model_by_its_name(tmp_path, monkeypatch):
    small = config_lib.GeneratorConfig(filters=4, blocks=1)
    monkeypatch.setattr(pretrained, "GENERATOR", small)
    monkeypatch.setattr(pretrained, "load_generator", lambda _: generators.build(small, 4))
    target = export.export_pretrained("srgan", output=str(tmp_path / "srgan"))
    assert target == str(tmp_path / "srgan" / "1")
    record = model_record.read(target)
    assert (record["model"], record["scale"]) == ("srgan", 4)
    assert "srgan (PyPI wheel" in "\n".join(describe.lines(target, record))


def test_the_command_describes_and_writes_deployment_files(exported, tmp_path):
    command = [sys.executable, str(fixtures.ROOT / "scripts" / "export.py")]
    options = [f"--describe={exported}", "--json", f"--deployment={tmp_path}", "--name=x2"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == model_record.read(exported)
    assert 'name: "x2"' in (tmp_path / "models.config").read_text()
    for flags, words in (
        (["--model=srgan"], "--output"),
        (["--model=srgan", "--describe=x"], "exclude"),
        (["--run_dir=x", "--json"], "--json goes with --describe"),
        (["--run_dir=x", "--name=y"], "--name goes with --deployment"),
    ):
        done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=300)
        assert done.returncode == 2 and words in done.stderr, done.stderr
