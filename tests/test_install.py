"""What `pip install` gives: the commands, and one TensorFlow per Python that no extra can move.

Two sets of tests need the package index: the small one skips without it; the full matrix (every
Python 3.10 to 3.13 that is found, every extra) runs only when SRGAN_INSTALL_MATRIX is set.
"""

import functools
import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import sysconfig
from unittest import mock

import pytest
from packaging import requirements

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = ("gpu", "onnx", "openvino", "pretrained", "serving", "web", "dev")
COMMANDS = (
    "srgan-prepare",
    "srgan-train",
    "srgan-evaluate",
    "srgan-export",
    "srgan-upscale",
    "srgan-degrade",
)
MATRIX = pytest.mark.skipif(
    not os.environ.get("SRGAN_INSTALL_MATRIX"), reason="slow; set SRGAN_INSTALL_MATRIX=1 to run it"
)


def tensorflow_minor(python: str) -> str:
    return "2.15" if python in ("3.10", "3.11") else "2.21"


def run(*command, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=900, **kwargs
    )


@functools.cache
def setup_arguments() -> dict:
    pytest.importorskip("setuptools")
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return setup.call_args.kwargs


def copy_of_the_repo(folder: pathlib.Path) -> pathlib.Path:
    """Copies what pip needs, so that building leaves nothing behind in the repo."""
    copy = folder / "repo with spaces"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("srgan_tf", "data_prep", "scripts"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", ("", *EXTRAS))
def test_requirements_allow_one_minor_version_of_tensorflow(python, extra):
    setup = setup_arguments()
    lines = setup["install_requires"] + setup["extras_require"].get(extra, [])
    parsed = [requirements.Requirement(line) for line in lines]
    active = [r for r in parsed if not r.marker or r.marker.evaluate({"python_version": python})]
    pinned = [r for r in active if r.name in ("tensorflow", "tensorflow-serving-api")]
    assert len(pinned) == 1 + (extra in ("gpu", "serving"))
    for requirement in pinned:
        releases = ("2.14.1", "2.15.1", "2.16.2", "2.20.0", "2.21.0", "2.22.0")
        allowed = [release for release in releases if requirement.specifier.contains(release)]
        assert allowed == ["2.15.1" if tensorflow_minor(python) == "2.15" else "2.21.0"]
    addons = "tensorflow-addons" in {r.name for r in active}
    assert addons == (tensorflow_minor(python) == "2.15")


@pytest.mark.parametrize("editable", [False, True], ids=["installed", "editable"])
def test_installed_commands_run(tmp_path, editable):
    copy, venv = copy_of_the_repo(tmp_path), tmp_path / "venv"
    assert run(sys.executable, "-m", "venv", "--without-pip", venv).returncode == 0
    # The dependencies of the tests' own environment, so that nothing is downloaded.
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    how = ["--editable"] if editable else []
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "-q"]
    installed = run(*pip, "--no-deps", "--no-build-isolation", "--ignore-installed", *how, copy)
    assert installed.returncode == 0, installed.stderr
    for command in COMMANDS:
        shown = run(venv / "bin" / command, "--help", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert f"Flags of {command}" in shown.stdout
    page = copy if editable else site
    assert (page / "srgan_tf" / "serving" / "page" / "compare.js").exists()
    where = (
        "import data_prep, srgan_tf, srgan_tf_scripts as s; print(s.__file__, srgan_tf.__file__)"
    )
    found = run(venv / "bin" / "python", "-c", where, cwd=tmp_path).stdout
    assert found.count(str(copy if editable else site)) == 2, found
    data = (copy if editable else site) / "srgan_tf" / "serving"
    assert (data / "photos" / "dogs.png").exists() and (data / "templates").is_dir()
    shutil.copy(ROOT / "docs" / "photos" / "small" / "fig.png", tmp_path)
    upscaled = run(venv / "bin" / "srgan-upscale", "fig.png", cwd=tmp_path)
    assert upscaled.returncode == 0, upscaled.stderr
    assert (tmp_path / "upscaled" / "fig_x4.png").exists()
    stray = run(venv / "bin" / "python", "-c", "import scripts", cwd=tmp_path)
    assert "ModuleNotFoundError" in stray.stderr, "scripts/ must not be a top-level package"


def resolve(python: pathlib.Path | str, target: str, report: pathlib.Path) -> dict[str, str]:
    """Returns name -> version of what pip would install into an empty environment."""
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--dry-run"]
    result = run(*pip, "--ignore-installed", "--report", report, target)
    assert result.returncode == 0, result.stderr
    found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {item["name"].lower().replace("_", "-"): item["version"] for item in found}


def require_index() -> None:
    quick = ("--disable-pip-version-check", "--retries", "0", "--timeout", "15")
    if run(sys.executable, "-m", "pip", "index", "versions", "tensorflow", *quick).returncode:
        pytest.skip("needs the package index, which cannot be reached")


def test_serving_extra_keeps_tensorflow_on_this_python(tmp_path):
    # Unpinned, this extra is the one that was seen to move TensorFlow (2.15 to 2.19).
    require_index()
    python = "{}.{}".format(*sys.version_info)
    copy = copy_of_the_repo(tmp_path)
    versions = resolve(sys.executable, f"{copy}[serving]", tmp_path / "report.json")
    assert versions["tensorflow"].startswith(tensorflow_minor(python))
    assert versions["tensorflow-serving-api"].startswith(tensorflow_minor(python))


@pytest.fixture(scope="module", params=PYTHONS)
def clean_venv(request, tmp_path_factory):
    """Yields (X.Y, interpreter of an empty environment, copy of the repo), or skips."""
    find = f'. "{ROOT}/scripts/setup_env.sh"; find_named python{request.param}'
    found = run("bash", "-c", find)
    if found.returncode:
        pytest.skip(f"python{request.param} is not on this machine")
    require_index()
    folder = tmp_path_factory.mktemp(f"python{request.param}")
    made = run(found.stdout.strip(), "-m", "venv", folder / "venv")
    assert made.returncode == 0, made.stderr
    python = folder / "venv" / "bin" / "python"
    # As scripts/setup_env.sh does: the bundled pip may search without end.
    upgraded = run(python, "-m", "pip", "install", "-q", "--upgrade", "pip")
    assert upgraded.returncode == 0, upgraded.stderr
    yield request.param, python, copy_of_the_repo(folder)
    shutil.rmtree(folder)  # 2.5 GB after the installation.


@MATRIX
@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_keeps_tensorflow(clean_venv, extra, tmp_path):
    version, python, copy = clean_venv
    versions = resolve(python, f"{copy}[{extra}]", tmp_path / "report.json")
    assert versions["tensorflow"].startswith(tensorflow_minor(version))
    assert ("tensorflow-addons" in versions) == (tensorflow_minor(version) == "2.15")


@MATRIX
def test_clean_installation_works(clean_venv):
    version, python, copy = clean_venv
    installed = run(python, "-m", "pip", "install", "-q", copy)
    assert installed.returncode == 0, installed.stderr
    # `import tensorflow_datasets` alone succeeds with a metadata package that it cannot use.
    touch = (
        "import importlib.util, tensorflow as tf, tensorflow_datasets as tfds, matplotlib, h5py\n"
        "tfds.builder_cls('div2k'); tf.summary.create_file_writer('summaries').as_default()\n"
        "tf.summary.scalar('loss', 1.0, step=1)\n"
        "if importlib.util.find_spec('tensorflow_addons'): import tensorflow_addons\n"
        "print(tf.__version__)"
    )
    result = run(python, "-c", touch, cwd=python.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().startswith(tensorflow_minor(version))
    assert run(python.parent / "tensorboard", "--version").returncode == 0
    for command in COMMANDS:
        assert run(python.parent / command, "--help").returncode == 0


def test_an_environment_that_another_checkout_took_is_installed_anew(tmp_path):
    # What is installed runs from the checkout: the other one's code, or none once that is gone.
    (tmp_path / "env").mkdir()
    for name in ("one", "an other"):
        (tmp_path / name).mkdir()
        for file in ("setup.py", "pyproject.toml"):
            (tmp_path / name / file).write_text("the same in both")
    script = f"""
        . "{ROOT}/scripts/setup_env.sh"
        need_space() {{ :; }}
        pip_install() {{ if [ "$2" = -e ]; then echo "$PWD" >>../installed; fi; }}
        install() {{ install_repo "{tmp_path}/$1" "$2" "{tmp_path}/env" || exit 1; }}
        install one dev && install one pretrained && install "an other" pretrained
        install one dev && install one dev
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    installed = (tmp_path / "installed").read_text().splitlines()
    assert installed == [str(tmp_path / name) for name in ("one", "an other", "one")]
