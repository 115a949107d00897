"""Super-resolution GAN (SRGAN, arXiv 1609.04802) for TensorFlow 2: photos in, upscaled photos out.

    from srgan_tf import Upscaler

    Upscaler.load("srgan").upscale("photo.jpg").save("large.png")

Importing this package is cheap: TensorFlow is imported by the modules that use it.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["Upscaler", "__version__"]

# Imported when they are first asked for.
_LAZY = {"Upscaler": "srgan_tf.serving.upscaler"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module("srgan_tf.machine").prefer_onednn()  # If TensorFlow is not there yet.
    globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
