"""Makes the LR picture of every HR picture as MATLAB's imresize does: srgan-prepare --make_lr.

In: the jobs of lr_plan.py; out: lossless PNGs. A picture is decoded as `photos.load` does (upright;
16 bits become 8, rounded), put on white where it is transparent, as srgan-evaluate does, and
cropped to a multiple of the scale. Grey stays grey. No TensorFlow, so that a worker starts at once.
Workers decode and resize; the parent alone writes, so that a killed worker leaves no trace.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from absl import logging
from PIL import Image, PngImagePlugin

from data_prep import lr_plan, pool
from data_prep.lr_plan import Job
from srgan_tf import bicubic, errors, files, photos, terminal


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job: made, not usable (`problem`), or neither: it was there already.

    `png` is the picture on its way to the process that writes it.
    """

    name: str
    target: str
    made: bool = False
    png: bytes = b""
    problem: str = ""


def run(jobs: Sequence[Job], *, workers: int) -> list[Outcome]:
    """Makes the pictures with a progress bar; returns what became of each, by name.

    Raises:
        errors.InputError: no picture could be made, or a worker was killed.
        OSError: a picture cannot be written.
    """
    again = "the same command continues where it stopped"
    outcomes = []
    try:
        made = pool.run(make, jobs, workers=min(workers, len(jobs)))
        bar = terminal.progress(total=len(jobs), desc="Making LR", unit="picture")
        with contextlib.closing(made) as results, bar:
            for outcome in results:
                if outcome.made:
                    files.make_folder(os.path.dirname(outcome.target))
                    files.write_atomically(outcome.target, [outcome.png])
                outcomes.append(dataclasses.replace(outcome, png=b""))
                bar.update()
    except KeyboardInterrupt:
        logging.info("Stopped; %s.", again)
        raise
    except pool.WorkerDiedError as error:
        names = ", ".join(sorted(files.shown(job.name) for job in error.jobs)[:4])
        raise errors.InputError(
            f"a worker process was killed (out of memory?) while at one of: {names}; {again}, "
            "fewer --workers need less memory"
        ) from error
    outcomes.sort(key=lambda outcome: outcome.name)
    if all(outcome.problem for outcome in outcomes):
        first = f"{files.shown(outcomes[0].name)}: {outcomes[0].problem}"
        raise errors.InputError(
            f"none of {len(outcomes)} files can be used, nothing written; the first is {first}"
        )
    return outcomes


def make(job: Job) -> Outcome:
    """Does one job, in a worker process."""
    try:
        encoded = _read(job.source)
        origin = f"{job.settings.rule}; HR sha256 {hashlib.sha256(encoded).hexdigest()}"
        if job.keep and lr_plan.origin_of(job.target, decode=True) == origin:
            return Outcome(job.name, job.target)
        photo = photos.load(io.BytesIO(encoded), max_pixels=job.max_pixels)
        lr = shrink(photo, job.settings.scale, job.settings.border)
    except photos.PhotoError as error:
        return Outcome(job.name, job.target, problem=str(error))
    info = PngImagePlugin.PngInfo()
    info.add_text(lr_plan.CHUNK, origin)
    stream = io.BytesIO()
    Image.fromarray(lr).save(stream, "PNG", pnginfo=info)
    return Outcome(job.name, job.target, made=True, png=stream.getvalue())


def shrink(photo: photos.Photo, scale: int, border: str) -> np.ndarray:
    """Returns the LR picture, uint8 `[h, w, 3]`, or `[h, w]` of a grey photo.

    Raises:
        photos.PhotoError: the photo is smaller than one LR pixel.
    """
    hr = photos.flatten(photo.rgb, photo.alpha)
    height, width = hr.shape[:2]
    hr = bicubic.modulo_crop(hr[..., 0] if photo.is_grey else hr, scale)
    if not hr.size:
        raise photos.PhotoError("too small", f"{width}x{height}; an LR pixel is {scale}x{scale}")
    return bicubic.imresize(hr, Fraction(1, scale), border=border)


def describe(outcomes: Sequence[Outcome], output: str, rule: str, seconds: float) -> str:
    """Returns the closing lines for the terminal; files that were not used come last."""
    problems = [
        f"  {files.shown(outcome.name)}: {outcome.problem}"
        for outcome in outcomes
        if outcome.problem
    ]
    made = sum(outcome.made for outcome in outcomes)
    kept = len(outcomes) - made - len(problems)
    text = f"{_count(made, 'LR picture')} made in {output} ({rule}) in {seconds:.1f} s"
    text += f"; {kept} there already" if kept else ""
    named = [f"{_count(len(problems), 'file')} not used:", *problems] if problems else []
    return "\n".join([f"{text}.", *named])


def _read(path: str) -> bytes:
    try:
        with files.open_file(path) as stream:
            return stream.read()
    except OSError as error:
        raise photos.PhotoError("unreadable", error.strerror or str(error)) from error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
