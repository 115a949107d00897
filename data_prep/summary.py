"""What srgan-prepare says at the end: a few lines from the manifest."""

import collections
from typing import Any

_MAX_NAMED = 3
_NO_VALIDATION = (
    "Next: srgan-train needs a validation split; prepare again with --overwrite,\n"
    "two usable photos or more and --validation_percent above 0."
)


def skips(entries: list[dict[str, Any]]) -> str:
    """Returns `2 skipped: 1 truncated (a.jpg), 1 too small (b.png)`, most frequent reason first."""
    reasons = collections.defaultdict(list)
    for entry in entries:
        if "skipped" in entry:
            reasons[entry["skipped"]].append(entry["id"])
    if not reasons:
        return "none skipped"
    parts = []
    for reason, names in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])):
        named = ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")
        parts.append(f"{len(names)} {reason} ({named})")
    return f"{sum(map(len, reasons.values()))} skipped: {', '.join(parts)}"


def describe(manifest: dict[str, Any], output: str, seconds: float | None) -> str:
    """Returns the closing summary; `seconds` is None when the data set was there already."""
    entries = manifest["sources"]
    used = [entry for entry in entries if "skipped" not in entry]
    flat = sum(entry.get("flat", 0) for entry in used)
    first = (
        f"{output} is complete already; nothing was done."
        if seconds is None
        else f"Prepared {output} in {seconds:.1f} s."
    )
    lines = [first, f"  photos      {len(entries)} found, {len(used)} used, {skips(entries)}"]
    for split, shards in manifest["splits"].items():
        photos = _count(sum(entry["split"] == split for entry in used), "photo")
        side = manifest["settings"]["crop_size"]
        crops = f"{_count(_records(shards), 'crop')} of {side}x{side} from {photos}"
        what = f"{crops} ({flat} flat left out)" if split == "train" else f"{photos}, whole"
        size = sum(shard["bytes"] for shard in shards) / 1e6
        lines.append(f"  {split:<11} {what}; {_count(len(shards), 'shard')}, {size:.1f} MB")
    if "validation" not in manifest["splits"]:
        return "\n".join([*lines, "  validation  none", _NO_VALIDATION])
    return "\n".join([*lines, f"Next: srgan-train --data={output} --run_dir=RUN_DIR"])


def _records(shards: list[dict[str, Any]]) -> int:
    return sum(shard["records"] for shard in shards)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
