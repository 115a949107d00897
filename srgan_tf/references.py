"""Published scores to compare with, by data set: PSNR and SSIM on luma, border of `scale` pixels.

The paper's are Ledig et al. 2017 (arXiv 1609.04802, tables 1 and 2). Its SSIM is about 0.02 above
what others measure on the same pictures, by an implementation that it does not describe.
"""

import dataclasses
import re
from collections.abc import Iterable

_PAPER = "arXiv 1609.04802"


@dataclasses.dataclass(frozen=True)
class Score:
    """One method's mean over a data set: PSNR in dB and SSIM, both on luma."""

    method: str
    psnr_y: float
    ssim_y: float
    source: str


@dataclasses.dataclass(frozen=True)
class Reference:
    """Published scores on one data set at one scale."""

    dataset: str
    rows: tuple[Score, ...]


def _paper(*rows: tuple[str, float, float]) -> tuple[Score, ...]:
    return tuple(Score(*row, source=_PAPER) for row in rows)


_X4 = {
    "Set5": _paper(
        ("bicubic", 28.43, 0.8211),
        ("SRResNet-MSE", 32.05, 0.9019),
        ("SRResNet-VGG22", 30.51, 0.8803),
        ("SRGAN-MSE", 30.64, 0.8701),
        ("SRGAN-VGG22", 29.84, 0.8468),
        ("SRGAN-VGG54", 29.40, 0.8472),
    ),
    "Set14": _paper(
        ("bicubic", 25.99, 0.7486),
        ("SRResNet-MSE", 28.49, 0.8184),
        ("SRResNet-VGG22", 27.19, 0.7807),
        ("SRGAN-MSE", 26.92, 0.7611),
        ("SRGAN-VGG22", 26.44, 0.7518),
        ("SRGAN-VGG54", 26.02, 0.7397),
    ),
    "BSD100": _paper(
        ("bicubic", 25.94, 0.6935),
        ("SRResNet-MSE", 27.58, 0.7620),
        ("SRGAN-VGG54", 25.16, 0.6688),
    ),
}
_NAMES = {
    "Set5": "baby bird butterfly head woman",
    "Set14": "baboon barbara bridge coastguard comic face flowers foreman lenna man monarch pepper "
    "ppt3 zebra",
}
_ALIASES = {"lena": "lenna", "peppers": "pepper"}
_BSD_PICTURES = 100


def find(names: Iterable[str], scale: int) -> Reference | None:
    """Returns the published scores for a set of pictures, known by their names, or None.

    Args:
        names: of the pictures, without extension; folders above are ignored.
        scale: upscaling factor; the paper has 4 alone.
    """
    plain = {_plain(name) for name in names}
    dataset = next((key for key, text in _NAMES.items() if plain == set(text.split())), None)
    # BSD100's pictures are called by the numbers of the Berkeley data set.
    if len(plain) == _BSD_PICTURES and all(re.fullmatch(r"\d{4,6}", name) for name in plain):
        dataset = "BSD100"
    return Reference(dataset, _X4[dataset]) if dataset and scale == 4 else None


def _plain(name: str) -> str:
    plain = name.rsplit("/", 1)[-1].lower()
    return _ALIASES.get(plain, plain)
