"""Published scores to compare with, by data set: PSNR and SSIM on luma, border of `scale` pixels.

The paper's are Ledig et al. 2017 (arXiv 1609.04802, tables 1 and 2).
"""

import dataclasses
from collections.abc import Iterable

_PAPER = "arXiv 1609.04802"
_BORDER = 4
# Measured here on the same pictures: docs/EVALUATION.md, "The proof".
SSIM_NOTE = (
    "the paper's SSIM is not reproduced by others: for bicubic, which has no weights, the usual "
    "SSIM is .010 lower on Set5 and .044 lower on Set14"
)


@dataclasses.dataclass(frozen=True)
class Score:
    """One method's mean over a data set: PSNR in dB and SSIM, both on luma."""

    method: str
    psnr_y: float
    ssim_y: float
    source: str


@dataclasses.dataclass(frozen=True)
class Reference:
    """Published scores on one data set at one scale, with `border` pixels left out."""

    dataset: str
    border: int
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
    # The test pictures of BSDS300 (Martin et al. 2001); they are the validation ones of BSDS500.
    "BSD100": "3096 8023 12084 14037 16077 19021 21077 24077 33039 37073 38082 38092 41033 "
    "41069 42012 "
    "42049 43074 45096 54082 55073 58060 62096 65033 66053 69015 69020 69040 76053 78004 "
    "85048 86000 86016 86068 87046 89072 97033 101085 101087 102061 103070 105025 106024 "
    "108005 108070 108082 109053 119082 123074 126007 130026 134035 143090 145086 147091 "
    "148026 148089 156065 157055 159008 160068 163085 167062 167083 170057 175032 175043 "
    "182053 189080 196073 197017 208001 210088 216081 219090 220075 223061 227092 229036 "
    "236037 241004 241048 253027 253055 260058 271035 285079 291000 295087 296007 296059 "
    "299086 300091 302008 304034 304074 306005 351093 361010 376043 385039",
}
_ALIASES = {"lena": "lenna", "peppers": "pepper"}


def find(names: Iterable[str], scale: int) -> Reference | None:
    """Returns the published scores for a set of pictures, known by their names, or None.

    Args:
        names: of the pictures, without extension; folders above are ignored.
        scale: upscaling factor; the paper has 4 alone.
    """
    plain = sorted(_plain(name) for name in names)
    dataset = next((key for key, text in _NAMES.items() if plain == sorted(text.split())), None)
    return Reference(dataset, _BORDER, _X4[dataset]) if dataset and scale == 4 else None


def methods() -> list[str]:
    """Returns the names of all methods that there are published scores of."""
    return list(dict.fromkeys(row.method for rows in _X4.values() for row in rows))


def to_lines(reference: Reference, border: int) -> list[str]:
    """Returns the published scores as text, with what they do not share with this evaluation."""
    mine = "" if border == reference.border else f", not the {border} px here"
    rows = [
        f"  {row.method:<16} {row.psnr_y:6.2f} dB  {row.ssim_y:.4f}  {row.source}"
        for row in reference.rows
    ]
    return [f"Published for {reference.dataset} (Y, border {reference.border} px{mine}):", *rows]


def _plain(name: str) -> str:
    plain = name.rsplit("/", 1)[-1].lower()
    return _ALIASES.get(plain, plain)
