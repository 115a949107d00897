"""Super-resolution GAN (SRGAN, arXiv 1609.04802) for TensorFlow 2: photos in, upscaled photos out.

Importing this package is cheap: TensorFlow is imported by the modules that use it.
"""

__version__ = "0.1.0"
