"""The figures of a benchmark: where they come from, as a table, as json, as a chart."""

import datetime
import json
import platform
from typing import Any

import srgan_tf
from srgan_tf.benchmark.contenders import Group, Result
from srgan_tf.machine import cores

Measured = list[tuple[Group, list[Result]]]


def machine() -> dict[str, Any]:
    """Returns what the figures depend on, as plain values."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "instructions": [
            name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if _has(name)
        ],
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "package_version": srgan_tf.__version__,
    }


def to_json(command: str, versions: dict[str, Any], measured: Measured) -> str:
    """Returns everything that was measured, single timings included."""
    groups = [
        {
            "title": group.title,
            "baseline": group.baseline,
            "contenders": [_row(result, _baseline(group, results)) for result in results],
        }
        for group, results in measured
    ]
    record = {"command": command, "machine": machine(), "versions": versions, "groups": groups}
    return json.dumps(record, indent=2) + "\n"


def table(group: Group, results: list[Result]) -> str:
    """Returns a group as lines of text: median, spread, rate, ratio to the baseline, memory."""
    width = max(len(result.label) for result in results) + 2
    head = f"{'':{width}}{'median':>10}{'spread':>9}{'a second':>20}{'speed':>8}{'peak RSS':>11}"
    base = _baseline(group, results)
    lines = [group.title, head, "-" * len(head)]
    for result in results:
        name = f"{result.label:{width}}"
        if result.unavailable:
            lines.append(f"{name}not measured: {result.unavailable}")
            continue
        row = _row(result, base)
        memory = "-" if result.peak_rss_mb is None else f"{result.peak_rss_mb:.0f} MB"
        speed = f"{row['speed']:.2f}x" if row["speed"] else ""
        rate = f"{result.rate:.4g} {result.unit}{'' if result.unit.isupper() else 's'}"
        lines.append(
            f"{name}{_seconds(result.median):>10}{row['spread']:>9.0%}{rate:>20}{speed:>8}"
            f"{memory:>11}"
        )
    return "\n".join(lines)


def write_chart(path: str, measured: Measured) -> None:
    """Writes bars of the rates of every group as PNG (peers grey), if anything was measured."""
    # Imported here: it takes half a second, and only the end needs it.
    from matplotlib.figure import Figure

    shown = [
        (group, [one for one in results if one.seconds])
        for group, results in measured
        if any(one.seconds for one in results)
    ]
    if not shown:
        return
    heights = [len(results) + 1.6 for _, results in shown]
    figure = Figure(figsize=(9, 0.32 * sum(heights) + 0.4), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (group, results) in zip(panels, shown, strict=True):
        _draw(axes, group, results)
    figure.savefig(path, dpi=120)


def _draw(axes, group: Group, results: list[Result]) -> None:
    labels = [result.label for result in results]
    theirs = {contender.label for contender in group.contenders if contender.python}
    colours = ["tab:gray" if label in theirs else "tab:blue" for label in labels]
    bars = axes.barh(labels, [result.rate for result in results], color=colours)
    axes.bar_label(bars, [_about(result) for result in results], fontsize="small")
    axes.invert_yaxis()
    axes.set_title(f"{group.title} ({results[0].unit}s a second)", fontsize="medium", loc="left")
    axes.tick_params(labelsize="small")
    axes.margins(x=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _about(result: Result) -> str:
    memory = f", {result.peak_rss_mb:.0f} MB" if result.peak_rss_mb else ""
    return f" {result.rate:.3g} ({_seconds(result.median)}{memory})"


def _row(result: Result, baseline: Result | None) -> dict[str, Any]:
    if result.unavailable:
        return {"label": result.label, "unavailable": result.unavailable}
    speed = result.rate / baseline.rate if baseline and baseline.seconds else None
    return {
        "label": result.label,
        "median_seconds": result.median,
        "seconds": result.seconds,
        "spread": (max(result.seconds) - min(result.seconds)) / result.median,
        "rate": result.rate,
        "unit": result.unit,
        "speed": speed,
        "peak_rss_mb": result.peak_rss_mb,
    }


def _baseline(group: Group, results: list[Result]) -> Result | None:
    return next((one for one in results if one.label == group.baseline and one.seconds), None)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def _processor() -> str:
    for line in _cpu_info():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _has(instruction: str) -> bool:
    flags = next((line for line in _cpu_info() if line.startswith("flags")), "")
    return instruction in flags.split()


def _cpu_info() -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []
