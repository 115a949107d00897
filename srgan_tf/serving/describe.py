"""An exported model in words: what it is, where it comes from, what it takes and gives."""

from typing import Any

_WIDTH = 12


def lines(directory: str, record: dict[str, Any]) -> list[str]:
    """Returns lines on the SavedModel in `directory`, by its record (`model_record.read`).

    What is not recorded, as in exports of older versions, is left out.
    """
    config = record.get("config", {})
    parts = {
        "exported by": _exporter(record),
        "model": _model(record),
        "generator": _generator(config.get("generator", {})),
        "format": record.get("format"),
        "scale": f"x{record['scale']}, {record.get('precision', 'float32')}",
        "limit": _limit(record),
        "trained by": _training(record.get("training")),
        "data": _data(record.get("data")),
        "metrics": _row(record.get("metrics")),
        "validation": _row(record.get("validation"), only="validation_"),
    }
    shown = [(name, text) for name, text in parts.items() if text]
    shown += [("signature", _signature(*one)) for one in record.get("signatures", {}).items()]
    verified = record.get("verified", {})
    shown += [("verified", _verified(*one)) for one in verified.get("signatures", {}).items()]
    if "tiles" in verified:
        shown.append(("verified", _tiles(verified["tiles"])))
    return [directory, *(f"  {name:<{_WIDTH}}{text}" for name, text in shown)]


def _exporter(record: dict[str, Any]) -> str:
    package = f"srgan_tf {record.get('package_version', '?')}"
    tensorflow = f"TensorFlow {record.get('tensorflow_version', '?')}"
    return f"{package}{_commits([record.get('commit')])}, {tensorflow}"


def _commits(commits: list[str | None]) -> str:
    known = [commit for commit in commits if commit]
    return f" (commit {', '.join(known)})" if known else ""


def _model(record: dict[str, Any]) -> str:
    if "interpolation" in record:
        mixed = record["interpolation"]
        a, b = mixed["a"]["source"], mixed["b"]["source"]
        return f"interpolated: {1 - mixed['alpha']:g} x {a} + {mixed['alpha']:g} x {b}"
    if "model" in record:
        return f"{record['model']} ({record.get('weights')})"
    return (
        f"step {record.get('step')} ({record.get('checkpoint')}, {record.get('weights')} weights) "
        f"of the recipe {record.get('recipe')}"
    )


def _generator(config: dict[str, Any]) -> str:
    rest = ", ".join(f"{name}={value}" for name, value in config.items() if name != "name")
    return f"{config['name']}: {rest}" if config else ""


def _limit(record: dict[str, Any]) -> str:
    if "max_pixels" not in record:
        return ""
    return f"{record['max_pixels']:,} LR pixels a request (a fourth of them in upscale_float)"


def _training(training: dict[str, Any] | None) -> str:
    if not training:
        return ""
    versions = training.get("versions") or {}
    tensorflow = f", TensorFlow {versions['tensorflow']}" if versions.get("tensorflow") else ""
    package = f"srgan_tf {training.get('package_version')}"
    return f"{package}{_commits(training.get('commits', []))}{tensorflow}"


def _data(data: dict[str, Any] | None) -> str:
    if not data:
        return ""
    return f"{data['dir']}, {data['train_records']} records, fingerprint {data['fingerprint']}"


def _row(row: dict[str, Any] | None, only: str = "") -> str:
    """Returns a row of metrics.csv; `only` those columns whose names begin so."""
    if not row:
        return ""
    values = ", ".join(
        f"{name.removeprefix(only)} {_short(value)}"
        for name, value in row.items()
        if name not in ("step", "stage") and name.startswith(only)
    )
    return f"step {row['step']} ({row.get('stage')}): {values}"


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _signature(name: str, described: dict[str, Any]) -> str:
    inputs, outputs = (_tensors(described[side]) for side in ("inputs", "outputs"))
    return f"{name}: {inputs} -> {outputs}"


def _tensors(specs: dict[str, list[Any]]) -> str:
    return ", ".join(f"{name} {dtype} {_shape(shape)}" for name, (dtype, shape) in specs.items())


def _shape(shape: list[int | None] | None) -> str:
    if shape is None:
        return "[...]"
    return f"[{', '.join('?' if side is None else str(side) for side in shape)}]"


def _verified(name: str, found: dict[str, Any], other: str = "the checkpoint") -> str:
    psnr = "identical" if found["psnr"] is None else f"PSNR {found['psnr']} dB"
    return f"{name}: at most {found['max_difference']:g} of 255 from {other}, {psnr}"


def _tiles(found: dict[str, Any] | str) -> str:
    """Returns how far tiles are from the whole picture, or why that is not known."""
    if isinstance(found, str):
        return f"tiles: {found}"
    return _verified("tiles", found, "the whole picture")
