"""Where an exported model comes from: package and commit, the run's data, commit and metrics."""

import math
from typing import Any

import tensorflow as tf

import srgan_tf
from srgan_tf import run_folder, source

# Columns of metrics.csv that are no metrics.
_VALIDATION = "validation_"


def of_export() -> dict[str, Any]:
    """Returns what exports: version and git commit (None outside a checkout) of the package."""
    return {
        "package_version": srgan_tf.__version__,
        "commit": source.commit(),
        "tensorflow_version": tf.__version__,
    }


def of_run(run_dir: str, step: int) -> dict[str, Any]:
    """Returns what the run folder says of its training up to `step`.

    `training`: versions and the git commits of all starts; `data`: folder, fingerprint and number
    of records; `metrics`: the last row of metrics.csv up to `step`; `validation`: the last that has
    scores. What an older run did not record is None.
    """
    _, record = run_folder.read_config(run_dir)
    starts = record.get("sessions") or [record.get("environment", {})]
    rows = [row for row in run_folder.read_metrics(run_dir) if int(row["step"]) <= step]
    scored = [row for row in rows if any(_scores(row))]
    return {
        "training": {
            "package_version": record.get("package_version"),
            "commits": list(dict.fromkeys(start.get("commit") for start in starts)),
            "versions": starts[-1].get("versions"),
        },
        "data": record.get("data"),
        "metrics": _numbers(rows[-1]) if rows else None,
        "validation": _numbers(scored[-1]) if scored else None,
    }


def _scores(row: dict[str, str]) -> list[str]:
    return [value for name, value in row.items() if name.startswith(_VALIDATION)]


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    """Returns a row's values that are there: the step, the stage's name and floats."""
    kept = {name: value for name, value in row.items() if value}
    return {name: _number(name, value) for name, value in kept.items()}


def _number(name: str, value: str) -> Any:
    if name == "stage":
        return value
    # JSON has no NaN: what is not finite stays text.
    number = float(value)
    return int(value) if name == "step" else number if math.isfinite(number) else value
