"""What upscaling files and folders of pictures means: which file goes where, what became of it.

Every output is `STEM_x4.png` in the output folder, below the same subfolders as its input. Outputs
that exist are left alone, so an interrupted folder continues; files that cannot be read are named
at the end while all others are done.
"""

import collections
import dataclasses
import os
from collections.abc import Sequence

from srgan_tf import errors, files, registry

# What --format offers; "same" keeps the input's extension where photos.save can write it.
FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "same": None}
_WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_COMPARE = "_compare"


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture: where it comes from and what is written.

    `named`: the user named this very file, so it has to be a picture.
    """

    source: str
    target: str
    comparison: str | None
    named: bool


@dataclasses.dataclass
class Summary:
    """What became of the jobs."""

    done: int = 0
    skipped: int = 0
    other_files: list[str] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)

    def text(self, output: str) -> str:
        """Returns the closing lines for the terminal; failed pictures come last."""
        text = f"{_count(self.done, 'picture')} upscaled into {output}"
        if self.skipped:
            text += f"; {self.skipped} there already (--overwrite writes them again)"
        if self.other_files:
            text += f"; left out, no pictures: {_some(self.other_files)}"
        failed = [f"{_count(len(self.failed), 'picture')} failed:"] if self.failed else []
        return "\n".join([text, *failed, *(f"  {line}" for line in self.failed)])


def plan(
    inputs: Sequence[str],
    output: str,
    *,
    scale: int,
    file_format: str = "png",
    compare: bool = False,
) -> list[Job]:
    """Finds the pictures and names their outputs.

    Args:
        inputs: files, folders (with their subfolders) and patterns such as `photos/*.jpg`.
        output: the folder for all outputs.
        scale: goes into the names.
        file_format: a key of `FORMATS`.
        compare: whether to write bicubic | SR pictures too.

    Raises:
        errors.InputError: there is nothing to do, or two inputs would be written to one file.
    """
    ending = registry.lookup(FORMATS, file_format, "format")
    found = _find(inputs, output)
    stems = collections.Counter(os.path.splitext(one.name)[0] for one in found)
    jobs: dict[str, Job] = {}
    for one in found:
        stem, extension = os.path.splitext(one.name)
        kept = extension.lower() if extension.lower() in _WRITABLE else ".png"
        if stems[stem] > 1:  # a.jpg and a.png: a_jpg_x4.png and a_png_x4.png.
            stem += extension.replace(".", "_")
        target, comparison = (
            os.path.join(output, f"{stem}_x{scale}{part}{ending or kept}")
            for part in ("", _COMPARE)
        )
        if target in jobs:
            raise errors.InputError(
                f"{jobs[target].source} and {one.path} would both be written to {target}; upscale "
                "them into different --output folders."
            )
        named = one.path in inputs
        jobs[target] = Job(one.path, target, comparison if compare else None, named)
    # An output folder that is an input too holds the results of an earlier run, in any format.
    results = {os.path.splitext(os.path.abspath(target))[0] for target in jobs}
    results |= {stem + _COMPARE for stem in results}
    new = [
        j for j in jobs.values() if os.path.splitext(os.path.abspath(j.source))[0] not in results
    ]
    if not new:
        raise errors.InputError(f"There are no pictures in {', '.join(inputs)}.")
    return new


def _find(inputs: Sequence[str], output: str) -> list[files.Found]:
    """Returns the inputs' files, except those in an output folder below an input folder."""
    output = os.path.abspath(output)
    found = []
    for entry, group in zip(inputs, files.find(inputs), strict=True):
        nested = output.startswith(os.path.join(os.path.abspath(entry), ""))
        found += [
            one
            for one in group
            if not (nested and os.path.abspath(one.path).startswith(output + os.sep))
        ]
    return found


def _some(paths: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(files.shown(path) for path in paths[:limit])
    return shown + (f" and {len(paths) - limit} more" if len(paths) > limit else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
