"""What upscaling files and folders of pictures means: which file goes where, what became of it.

Every output is `STEM_x4.png` in the output folder, below the same subfolders as its input. Outputs
that exist are left alone, so an interrupted folder continues; those that another model has made
(they say it, metadata.py) are named at the end, as are files that cannot be read, while all others
are done. Inputs are never overwritten.
"""

import collections
import dataclasses
import os
from collections.abc import Collection, Sequence

from srgan_tf import errors, files, photos, registry

# What --format offers; "same" keeps the input's extension where photos.save can write it.
FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "same": None}
_COMPARE = "_compare"


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture: where it comes from and what is written.

    `named`: the user named this very file, so it has to be a picture. `over_input`: a file that it
    writes is there already and the picture of one of the jobs, too.
    """

    source: str
    target: str
    comparison: str | None
    named: bool
    over_input: str | None = None


@dataclasses.dataclass
class Summary:
    """What became of the jobs."""

    done: int = 0
    skipped: int = 0
    unmarked: int = 0  # Of those that are skipped: files that do not say which model made them.
    deep: int = 0  # Of those that are done: 16 bits a channel have become 8.
    paged: int = 0  # Of those that are done: they are the first page of several.
    results: list[str] = dataclasses.field(default_factory=list)  # Of earlier runs, found again.
    by_others: list[str] = dataclasses.field(default_factory=list)
    other_files: list[str] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)  # Of those that have failed.

    def fail(self, source: str, reason: str, text: str) -> None:
        """Notes that a picture has failed: the reason in a few words, and all there is to say."""
        self.failed.append(f"{source}: {text}")
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def add(self, other: "Summary") -> None:
        """Adds what became of other jobs."""
        for name, value in vars(other).items():
            if isinstance(value, dict):
                value = dict(collections.Counter(vars(self)[name]) + collections.Counter(value))
                setattr(self, name, value)
            else:
                setattr(self, name, getattr(self, name) + value)

    def table(self) -> str:
        """Returns a line for each of done, skipped and failed: how many, and why."""
        skipped = {
            "there already": self.skipped,
            "made by another model": len(self.by_others),
            "no pictures": len(self.other_files),
            "results of earlier runs": len(self.results),
        }
        rows = (("done", self.done, {}), ("skipped", 0, skipped), ("failed", 0, self.reasons))
        lines = []
        for what, number, reasons in rows:
            common = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
            why = ", ".join(f"{reason}: {count:,}" for reason, count in common if count)
            number = number or sum(reasons.values())
            lines.append(f"{what:<8} {number:>13,}  {why}".rstrip())
        return "\n".join(lines)

    def text(self, output: str) -> str:
        """Returns the closing lines for the terminal; failed pictures come last."""
        text = f"{_count(self.done, 'picture')} upscaled into {output}"
        if self.skipped:
            text += f"; {self.skipped} there already (--overwrite writes them again)"
        if self.unmarked:
            text += f", {self.unmarked} of which do not say which model made them"
        if self.other_files:
            text += f"; left out, no pictures: {_some(self.other_files)}"
        lines = [text]
        if self.deep:
            lines.append(f"{_count(self.deep, 'picture')} had 16 bits a channel; outputs have 8")
        if self.paged:
            lines.append(
                f"{_count(self.paged, 'file')} had more than one page; outputs are of the first"
            )
        if self.results:
            lines.append(
                f"{_count(len(self.results), 'result')} of earlier runs left out (name them as "
                f"inputs to upscale them again): {_some(self.results)}"
            )
        if self.by_others:
            lines.append(
                f"{_count(len(self.by_others), 'picture')} made by another model kept "
                f"(--overwrite, or another --output): {_some(self.by_others)}"
            )
        if self.failed:
            lines.append(f"{_count(len(self.failed), 'picture')} failed:")
        return "\n".join([*lines, *(f"  {line}" for line in self.failed)])

    @property
    def complete(self) -> bool:
        """Whether every picture is there, as this model makes it."""
        return not (self.failed or self.by_others)


def wanted(
    job: Job, model: str, summary: Summary, *, overwrite: bool, since: int | None = None
) -> list[str]:
    """Returns which of the job's files are to be written; notes in `summary` if none is.

    Args:
        job: the picture.
        model: the fingerprint that the files should name.
        summary: what has become of the jobs.
        overwrite: whether files that exist are written again.
        since: when the run began (`files.now`), where another process of it may have done the job
            and died before it could say so.
    """
    paths = [path for path in (job.target, job.comparison) if path]
    there = [path for path in paths if files.exists(path)]
    if since is not None and there == paths and _made_since(paths, since, model):
        summary.done += 1
        return []
    if overwrite and not job.over_input:
        return paths
    if overwrite:
        summary.fail(
            job.source,
            "an input, too",
            f"{job.over_input} is one of the inputs and stays as it is; choose another --output",
        )
        return []
    makers = {path: photos.made_by(path) for path in there}
    others = [path for path, maker in makers.items() if maker not in (None, model)]
    if others:
        summary.by_others.append(others[0])
        return []
    missing = [path for path in paths if path not in there]
    if not missing:
        summary.skipped += 1
        summary.unmarked += None in makers.values()
    return missing


def _made_since(paths: Sequence[str], since: int, model: str) -> bool:
    return all(
        files.modified(path) >= since and photos.made_by(path) in (None, model) for path in paths
    )


def plan(
    inputs: Sequence[str],
    output: str,
    *,
    scale: int,
    file_format: str = "png",
    compare: bool = False,
    summary: Summary | None = None,
) -> list[Job]:
    """Finds the pictures and names their outputs; results of earlier runs are left out.

    Args:
        inputs: files, folders (with their subfolders) and patterns such as `photos/*.jpg`.
        output: the folder for all outputs.
        scale: goes into the names.
        file_format: a key of `FORMATS`.
        compare: whether to write bicubic | SR pictures too.
        summary: where what is left out is noted.

    Raises:
        errors.InputError: there is nothing to do, or two inputs would be written to one file.
    """
    ending = registry.lookup(FORMATS, file_format, "format")
    found, results = _find(inputs, output), []
    # Without the results others may be named in another way: until there are no more of them.
    while True:
        new = _named(found, inputs, output, f"_x{scale}", ending, compare=compare)
        more = _results(new)
        if not more:
            break
        results += more
        found = [one for one in found if one.path not in more]
    if summary:
        summary.results += sorted(results)
    if not new:
        raise errors.InputError(f"There are no pictures in {', '.join(inputs)}.")
    there = {_identity(job.source) for job in new} - {None}
    return [dataclasses.replace(job, over_input=_over_input(job, there)) for job in new]


def _over_input(job: Job, there: Collection[tuple[int, int]]) -> str | None:
    """Returns the file of `job` that is one of the pictures that are `there`."""
    paths = (path for path in (job.target, job.comparison) if path)
    return next((path for path in paths if _identity(path) in there), None)


def _named(
    found: Sequence[files.Found],
    inputs: Sequence[str],
    output: str,
    mark: str,
    ending: str | None,
    *,
    compare: bool,
) -> list[Job]:
    """Returns a job for each file; `mark` goes into the outputs' names, `ending` behind it."""
    stems = collections.Counter(os.path.splitext(one.name)[0] for one in found)
    jobs: dict[str, Job] = {}
    taken: set[str] = set()
    for one in found:
        stem, extension = os.path.splitext(one.name)
        kept = extension.lower() if extension.lower() in photos.WRITABLE else ".png"
        if stems[stem] > 1:  # a.jpg and a.png: a_jpg_x4.png and a_png_x4.png.
            stem += extension.replace(".", "_")
        exact, number = os.path.join(output, f"{stem}{mark}{ending or kept}"), 1
        if exact in jobs:
            raise errors.InputError(
                f"{jobs[exact].source} and {one.path} would both be written to {exact}; upscale "
                "them into different --output folders."
            )
        while True:  # A.png and a.png: A_x4.png and a_2_x4.png, where capitals make no difference.
            name = stem if number == 1 else f"{stem}_{number}"
            target, comparison = (
                os.path.join(output, f"{name}{mark}{part}{ending or kept}")
                for part in ("", _COMPARE)
            )
            if target.casefold() not in taken:
                break
            number += 1
        taken.add(target.casefold())
        jobs[target] = Job(one.path, target, comparison if compare else None, one.path in inputs)
    return list(jobs.values())


def require_lossy(inputs: Sequence[str], file_format: str) -> None:
    """Raises where --quality would say nothing about any output.

    Raises:
        errors.InputError: no output will be JPEG or WebP.
    """
    ending = registry.lookup(FORMATS, file_format, "format")
    names = [f"output{ending}"]
    if not ending:
        found = (one.name.lower() for group in files.find(inputs) for one in group)
        names = [name for name in found if name.endswith(photos.WRITABLE)]
    if not any(photos.require_format(name) in photos.LOSSY for name in names):
        raise errors.InputError(
            f"--quality is for JPEG and WebP, which --format={file_format} does not write here; "
            "leave it out, or choose --format=jpeg or webp."
        )


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


def _results(jobs: Collection[Job]) -> list[str]:
    """Returns the sources that an earlier run has made of others, in any format.

    They are called like it and say so; a BMP cannot say it. What the user named is none.
    """
    targets = {os.path.abspath(job.target) for job in jobs}
    stems = {os.path.splitext(target)[0] for target in targets}
    stems |= {stem + _COMPARE for stem in stems}
    found = []
    for job in jobs:
        path = os.path.abspath(job.source)
        stem, extension = os.path.splitext(path)
        if stem in stems and not job.named:
            mute = extension.lower() == ".bmp" and path.replace(_COMPARE, "") in targets
            if mute or photos.made_by(job.source):
                found.append(job.source)
    return found


def _identity(path: str) -> tuple[int, int] | None:
    """Returns what tells a local file that exists from others, whatever it is called."""
    try:
        found = None if files.is_remote(path) else os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _some(paths: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(files.shown(path) for path in paths[:limit])
    return shown + (f" and {len(paths) - limit} more" if len(paths) > limit else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
