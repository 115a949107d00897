"""Upscales files and folders of pictures: which file goes where, what is kept of it, what failed.

Every output is `STEM_x4.png` in the output folder, below the same subfolders as its input. Outputs
that exist are left alone, so an interrupted folder continues; files that cannot be read are named
at the end while all others are done.
"""

import collections
import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from srgan_tf import bicubic, errors, files, photos, registry, terminal
from srgan_tf.serving.upscaler import Upscaler

# What --format offers; "same" keeps the input's extension where photos.save can write it.
FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "same": None}
_WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_COMPARE = "_compare"
_MAX_PIXELS = 400_000_000  # Of an output: 1.2 GB while it is put together.


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


def run(jobs: Sequence[Job], upscaler: Upscaler, *, overwrite: bool = False) -> Summary:
    """Does the jobs with a progress bar; a picture that fails does not stop the others."""
    summary = Summary()
    for job in terminal.progress(jobs, total=len(jobs), desc="upscale", unit="image"):
        wanted = [path for path in (job.target, job.comparison) if path]
        wanted = [path for path in wanted if overwrite or not tf.io.gfile.exists(path)]
        if not wanted:
            summary.skipped += 1
            continue
        try:
            _do(job, wanted, upscaler)
            summary.done += 1
        except photos.PhotoError as error:
            # A file that is called like a picture is a broken one.
            looks_like_one = os.path.splitext(job.source)[1].lower() in photos.EXTENSIONS
            if error.kind == "not an image" and not (job.named or looks_like_one):
                summary.other_files.append(job.source)
            else:
                summary.failed.append(f"{job.source}: {error}")
        except (tf.errors.ResourceExhaustedError, MemoryError):
            summary.failed.append(f"{job.source}: not enough memory; try a smaller --tile_size")
        except (OSError, ValueError) as error:  # The encoder's limits, or a full disk.
            summary.failed.append(f"{job.source}: {error}")
    return summary


def comparison(lr: np.ndarray, sr: np.ndarray, scale: int) -> np.ndarray:
    """Returns bicubic | SR side by side at equal zoom, uint8 `[H, W, 3]`, with a caption each."""
    enlarged = bicubic.imresize(lr, scale)
    height, width = sr.shape[:2]
    size = min(max(12, height // 24), 48, max(8, width // 8))
    strip, gap = round(size * 1.6), max(4, size // 4)
    canvas = Image.new("RGB", (2 * width + gap, height + strip), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size)
    for left, picture, caption in ((0, enlarged, "bicubic"), (width + gap, sr, "super-resolved")):
        canvas.paste(Image.fromarray(picture), (left, strip))
        draw.text((left + width // 2, strip // 2), caption, fill="black", font=font, anchor="mm")
    return np.asarray(canvas)


def _do(job: Job, wanted: Sequence[str], upscaler: Upscaler) -> None:
    photo = photos.load(job.source)
    _check_size(photo.rgb, upscaler.scale)
    sr = upscaler.upscale(photo.rgb)
    alpha = None if photo.alpha is None else bicubic.imresize(photo.alpha, upscaler.scale)
    for path in wanted:
        if path == job.target:
            _save(path, sr, alpha, grey=photo.is_grey)
        else:
            lr = photos.flatten(photo.rgb, photo.alpha)
            _save(path, comparison(lr, photos.flatten(sr, alpha), upscaler.scale))


def _check_size(lr: np.ndarray, scale: int) -> None:
    height, width = lr.shape[:2]
    if height * width * scale**2 > _MAX_PIXELS:
        raise photos.PhotoError(
            "too many pixels",
            f"{width}x{height} would become {width * scale}x{height * scale}; the limit of an "
            f"output is {_MAX_PIXELS:,} pixels: shrink it or cut it into parts first",
        )


def _save(
    path: str, rgb: np.ndarray, alpha: np.ndarray | None = None, *, grey: bool = False
) -> None:
    """Writes one output with its folder.

    Raises:
        OSError: it cannot be written; TensorFlow's file errors come as this, too.
    """
    try:
        tf.io.gfile.makedirs(os.path.dirname(path) or ".")
        photos.save(path, rgb, alpha, grey=grey)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


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
