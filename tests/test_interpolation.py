"""serving/interpolation.py: a generator between two."""

import os
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import test_export

from srgan_tf import config as config_lib
from srgan_tf import errors, run_folder
from srgan_tf.models import generators, pretrained
from srgan_tf.serving import export, interpolation, model_record
from srgan_tf.serving.upscaler import Upscaler


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one architecture with batch normalization; their weights differ everywhere."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        test_export.make_run(folder / name, steps=steps)
        for name, steps in (("a", (3, 7)), ("b", (5,)))
    ]


@pytest.fixture
def written(monkeypatch):
    """The weights that would be written, instead of a SavedModel, which takes seconds."""
    kept = []

    def keep(generator, module, target, facts, *, overwrite):
        del module, overwrite
        kept.append((generator.get_weights(), target, facts))

    monkeypatch.setattr(export, "write", keep)
    return kept


def weights_of(run_dir, checkpoint="last"):
    return run_folder.load_generator(run_dir, checkpoint)[0].get_weights()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_every_weight_lies_between(runs, written, tmp_path, alpha):
    a, b = runs
    interpolation.export(f"{a}:3,{b},{alpha}", output=str(tmp_path))
    got, target, _ = written[0]
    assert target == str(tmp_path / "5")
    for one, other, mixed in zip(weights_of(a, "3"), weights_of(b), got, strict=True):
        if alpha == 0.5:
            np.testing.assert_allclose(mixed, (one + other) / 2, rtol=1e-5, atol=1e-7)
        else:
            np.testing.assert_array_equal(mixed, other if alpha else one)
    # Moving statistics of batch normalization are among them, and are not equal in both.
    generator, _, _ = run_folder.load_generator(a)
    names = [weight.name for weight in generator.weights]
    index = next(i for i, name in enumerate(names) if "moving_variance" in name)
    assert not np.array_equal(weights_of(a)[index], weights_of(b)[index])


def test_saved_model_upscales_and_says_what_it_is(runs, tmp_path):
    a, b = runs
    target = interpolation.export(f"{a}, {b}:5 ,0.25", output=str(tmp_path / "between"))
    recorded = model_record.read(target)
    assert recorded["step"] == 5 and recorded["scale"] == 2
    assert recorded["config"]["generator"]["norm"] == "batch"  # Not auto.
    assert recorded["interpolation"] == {
        "alpha": 0.25,
        "a": {
            "source": a,
            "checkpoint": "last",
            "step": 7,
            "weights": "raw",
            "recipe": "paper",
        },
        "b": {"source": b, "checkpoint": "5", "step": 5, "weights": "raw", "recipe": "paper"},
    }
    model = Upscaler.load(str(tmp_path / "between"))
    assert model.origin["interpolation"]["alpha"] == 0.25
    assert model.upscale(fixtures.photo_like(7, 9)).shape == (14, 18, 3)
    with pytest.raises(errors.InputError, match="overwrite"):
        interpolation.export(f"{a},{b},0.5", output=str(tmp_path / "between"))


@pytest.mark.parametrize(("side", "step"), [("a", "7"), ("b", "7"), ("both", "0")])
def test_pretrained_models_on_either_side(written, tmp_path, monkeypatch, side, step):
    # Small stand-ins for the wheel's networks.
    monkeypatch.setattr(pretrained, "SCALE", 2)
    small = config_lib.GeneratorConfig(filters=6, blocks=1)
    fixtures.use_generator(monkeypatch, small)
    monkeypatch.setattr(pretrained, "load_generator", lambda name: generators.build(small, 2))
    run = test_export.make_run(tmp_path / "run", steps=(7,))
    one = "srresnet" if side in ("a", "both") else run
    other = "srgan" if side in ("b", "both") else run
    interpolation.export(f"{one},{other},0.5", output=str(tmp_path / "out"))
    _, target, provenance = written[0]
    assert target == str(tmp_path / "out" / step)
    names = [provenance["interpolation"][key]["source"] for key in "ab"]
    assert names == [one, other]
    assert provenance["config"]["generator"]["filters"] == 6


@pytest.mark.parametrize(
    "between", ["a,b", "a,b,c", "a,b,1.5", "a,b,-0.1", "a,b,nan", "a,b,0.5,", ",b,0.5", "x,a,b,1"]
)
def test_what_is_not_two_names_and_a_share(between, tmp_path):
    with pytest.raises(errors.InputError, match="RUN_A,RUN_B,alpha"):
        interpolation.export(between, output=str(tmp_path))


def test_other_generators_are_refused_with_the_fields(runs, tmp_path):
    a, _ = runs
    other = test_export.make_run(tmp_path / "x3", steps=(1,), scale=3, name="srresnet_seed")
    expected = "name: 'srresnet' -> 'srresnet_seed'; upsampling: .*; scale: 2 -> 3"
    with pytest.raises(errors.InputError, match=expected):
        interpolation.export(f"{a},{other},0.5", output=str(tmp_path))


def test_sources_that_are_not_there(runs, tmp_path):
    a, b = runs
    with pytest.raises(errors.InputError, match="neither a pretrained model .*nor a run folder"):
        interpolation.export(f"{a},{tmp_path}/none,0.5", output=str(tmp_path))
    with pytest.raises(errors.InputError, match="ckpt-3, ckpt-7"):
        interpolation.export(f"{a}:4,{b},0.5", output=str(tmp_path))
    with pytest.raises(errors.InputError, match="no moving average"):
        interpolation.export(f"{a},{b},0.5", output=str(tmp_path), weights="ema")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--interpolate=a,b,0.5"], "needs --output"),
        (["--interpolate=a,b,0.5", "--output=x", "--run_dir=a"], "leave out --run_dir"),
        (["--interpolate=a,b,0.5", "--output=x", "--checkpoint=best"], "RUN_DIR:CHECKPOINT"),
    ],
)
def test_command_refuses_what_contradicts(flags, words, tmp_path):
    command = [sys.executable, str(fixtures.ROOT / "scripts" / "export.py"), *flags]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and words in result.stderr
    assert not os.listdir(tmp_path)
