"""Draws metrics.csv: losses, accuracies and validation PSNR against steps, the stages marked."""

import io
import os

import tensorflow as tf

from srgan_tf import run_folder

CURVES = "curves.png"
_NO_LINES = ("stage", "step", "learning_rate")


def write_curves(run_dir: str, bicubic_psnr: float) -> str | None:
    """Writes RUN_DIR/curves.png and returns its path; None when metrics.csv has no rows.

    Args:
        run_dir: the run folder.
        bicubic_psnr: dB of bicubic upscaling on the validation images, drawn as a line.
    """
    # Imported here: it takes half a second, and only the end of a run needs it.
    from matplotlib.figure import Figure

    rows = run_folder.read_metrics(run_dir)
    if not rows:
        return None
    series = {name: _series(rows, name) for name in rows[0] if name not in _NO_LINES}
    accuracies = [name for name in series if name.endswith("_accuracy") and series[name][0]]
    # Runs without a discriminator have no accuracies.
    count = 3 if accuracies else 2
    figure = Figure(figsize=(10, 3.5 * count), layout="constrained")
    losses, *middle, scores = figure.subplots(count, 1, sharex=True)
    for name, (steps, values) in series.items():
        if name == "validation_psnr_y":
            scores.plot(steps, values, marker=".", label="SR")
        elif name in accuracies:
            middle[0].plot(steps, values, linewidth=0.8, label=name)
        elif steps and not name.startswith("validation"):
            losses.plot(steps, values, linewidth=0.8, label=name)
    for axes in middle:
        axes.set_ylabel("the discriminator is right")
        axes.set_ylim(-0.05, 1.05)
    scores.axhline(bicubic_psnr, color="grey", linestyle="--", label="bicubic")
    # Losses can be negative (labels above 1); where none is, a plain logarithm shows more.
    negative = any(min(line.get_ydata()) <= 0 for line in losses.get_lines())
    losses.set_yscale("symlog" if negative else "log")
    losses.set_ylabel("loss")
    scores.set_ylabel("validation PSNR (Y), dB")
    scores.set_xlabel("step")
    for axes in (losses, *middle, scores):
        _mark_stages(axes, rows)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return _save(figure, os.path.join(run_dir, CURVES))


def _series(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    points = [(int(row["step"]), row[name]) for row in rows if row[name]]
    try:
        return [step for step, _ in points], [float(value) for _, value in points]
    except ValueError:
        return [], []


def _mark_stages(axes, rows: list[dict[str, str]]) -> None:
    first = {}
    for row in rows:
        first.setdefault(row["stage"], int(row["step"]))
    for stage, step in first.items():
        axes.axvline(step, color="black", linewidth=0.6)
        # Upright: a short stage is narrower than its name.
        axes.annotate(
            f"{stage} ",
            (step, 1.0),
            xycoords=("data", "axes fraction"),
            rotation=90,
            ha="right",
            va="top",
            fontsize="small",
        )


def _save(figure, path: str) -> str:
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=110)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(encoded.getvalue())
    return path
