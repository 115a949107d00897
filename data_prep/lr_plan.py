"""Which LR picture each HR file becomes (srgan-prepare --make_lr), and what must not happen to it.

HR files become PNGs below the same subfolders, under the same stem. A PNG says in a text chunk by
which rule and from which HR file it was made, so a folder that was interrupted continues, and
pictures of another scale or origin are never taken for it.
"""

import dataclasses
import os
from collections.abc import Sequence

from PIL import Image

from srgan_tf import bicubic, errors, files, photos
from srgan_tf.config_fields import config_field

CHUNK = "srgan-prepare"  # Keyword of the text chunk.


@dataclasses.dataclass(frozen=True)
class LrSettings:
    """How LR pictures are made; each field is a flag of srgan-prepare."""

    scale: int = config_field(4, "With --make_lr: shrinks by this whole number, 2 or more.")
    border: str = config_field(
        "clamp",
        "With --make_lr: what lies beyond the edge: clamp (as in the published sets) or mirror "
        "(newer MATLAB).",
    )
    suffix: str = config_field(
        "",
        "With --make_lr: put behind the stem. srgan-evaluate pairs baby.png with baby.png (no "
        "suffix) or with babyx4.png (--suffix=x4 at --scale=4, as DIV2K names them).",
    )

    def __post_init__(self) -> None:
        if self.scale < 2:
            raise errors.InputError(f"scale must be 2 or more: scale={self.scale}.")
        if self.border not in bicubic.BORDERS:
            raise errors.InputError(f"border must be one of {bicubic.BORDERS}: {self.border!r}.")
        if {"/", os.sep} & set(self.suffix):
            raise errors.InputError(f"suffix is part of a name, not of a path: {self.suffix!r}.")

    @property
    def rule(self) -> str:
        """What the text chunk says of the rule."""
        return f"MATLAB imresize bicubic 1/{self.scale}, border {self.border}"


@dataclasses.dataclass(frozen=True)
class Job:
    """One HR file and the LR picture that it becomes; `keep`: there is one that may be right."""

    name: str
    source: str
    target: str
    settings: LrSettings
    max_pixels: int
    keep: bool


def plan(
    inputs: Sequence[str], output: str, settings: LrSettings, *, max_pixels: int, overwrite: bool
) -> list[Job]:
    """Finds the HR files and names their LR pictures; nothing is written.

    Raises:
        errors.InputError: no files, input and output lie in one another, two pictures would become
            one, or a picture is there that was made otherwise.
    """
    found = [one for group in files.find(inputs) for one in group]
    if not found:
        raise errors.InputError(f"no files in {', '.join(inputs)}")
    _refuse_output_among(inputs, found, output)
    sources: dict[str, list[files.Found]] = {}
    for one in found:
        stem = os.path.splitext(one.name)[0]
        sources.setdefault(f"{output}/{stem}{settings.suffix}.png", []).append(one)
    jobs = []
    for target, group in sources.items():
        _refuse_collision(target, group)
        keep = not overwrite and _is_there(target, settings)
        jobs += [Job(one.name, one.path, target, settings, max_pixels, keep) for one in group]
    return sorted(jobs, key=lambda job: job.name)


def origin_of(path: str, *, decode: bool = False) -> str | None:
    """Returns what a PNG says of how it was made, "" if nothing; None when it cannot be read."""
    try:
        with files.open_file(path) as stream, Image.open(stream, formats=("PNG",)) as picture:
            if decode:
                picture.load()
            return picture.info.get(CHUNK, "")
    except Exception:  # Decoders raise nearly anything on broken files.
        return None


def _refuse_output_among(inputs: Sequence[str], found: list[files.Found], output: str) -> None:
    """Keeps LR pictures from overwriting HR ones, and from being taken for them the next time."""
    for one in inputs:  # A file is no folder, so that nothing lies in it.
        if files.lies_in(output, one):
            raise errors.InputError(f"output {output} lies in the input {one}; put it beside it")
    for folder in {os.path.dirname(one.path) for one in found}:
        if files.lies_in(folder, output):
            raise errors.InputError(
                f"the input {folder or '.'} lies in the output {output}; choose another --output"
            )


def _refuse_collision(target: str, group: list[files.Found]) -> None:
    pictures = [one.path for one in group if len(group) > 1 and _is_picture(one.path)]
    if len(pictures) > 1:
        raise errors.InputError(
            f"{' and '.join(map(files.shown, pictures))} would both become {files.shown(target)}; "
            "rename one"
        )


def _is_picture(path: str) -> bool:
    """Returns whether a file begins as a picture does, broken ones included."""
    try:
        photos.load(path, max_pixels=0)  # Read no further than the header.
    except photos.PhotoError as error:
        return error.kind not in ("not an image", "empty")
    return True


def _is_there(target: str, settings: LrSettings) -> bool:
    """Returns whether an earlier run has left a picture, whole or broken.

    Raises:
        errors.InputError: it was made otherwise.
    """
    if not files.exists(target):
        return False
    origin = origin_of(target)
    if origin is not None and not origin.startswith(f"{settings.rule};"):
        by = f"by {origin.partition(';')[0]}" if origin else "by something else"
        raise errors.InputError(
            f"{files.shown(target)} is there already, made {by}; --overwrite replaces it, or "
            "choose another --output"
        )
    return True
