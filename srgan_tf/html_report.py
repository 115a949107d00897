"""Writes an evaluation down as one HTML page that stands alone: tables, enlarged details, protocol.

`details.Collector` goes along with the evaluation and keeps one detail of each of the worst
pictures; `to_html` then makes the page. It needs no network, script or font, reads well in light
and dark, on a phone and on paper, and a click on a detail enlarges it by CSS alone.
"""

import base64
import html
import math
import re
from collections.abc import Iterator
from typing import Any

from srgan_tf import html_template, report
from srgan_tf.details import Collector, Detail, rank
from srgan_tf.evaluation import Evaluation
from srgan_tf.evaluation_model import BICUBIC
from srgan_tf.references import Reference

# CSS pixels per HR pixel: five details fit beside each other.
_ZOOM = 2
# Where "+0.3 against bicubic" means something; drift and checkerboard have a target, not an order.
_RANKED = ("psnr", "ssim", "vgg")
_ARXIV = re.compile(r"arxiv[:. ]*(?:org/abs/)?(\d{4}\.\d{4,5})", re.IGNORECASE)


def to_html(
    result: Evaluation,
    collector: Collector,
    reference: Reference | None = None,
    *,
    command: str | None = None,
    explanation: str | None = None,
) -> str:
    """Returns the page.

    Args:
        result: the scores.
        collector: what was called with the pictures of the same evaluation.
        reference: published rows for the same data set.
        command: the command line that made the evaluation, for the protocol.
        explanation: the tables of --explain as text.
    """
    title = f"{result.model} on {reference.dataset if reference else result.hr}, x{result.scale}"
    protocol = report.protocol(result) | ({"command": command} if command else {})
    return html_template.PAGE.format(
        title=_text(title),
        style=html_template.STYLE,
        count=len(result.rows),
        pictures="picture" if len(result.rows) == 1 else "pictures",
        summary=_summary(result, reference),
        notes="\n".join(_notes(result, reference)),
        rows=_per_image(result),
        conventions=html_template.CONVENTIONS.format(_text_block(explanation))
        if explanation
        else "",
        chosen=_chosen(len(collector.details), len(result.rows)),
        details="\n".join(
            _figures(number, detail, result) for number, detail in enumerate(collector.details)
        ),
        protocol=_definitions(protocol),
    )


def _text(value: Any) -> str:
    """Escapes for HTML; what cannot be shown (control characters, undecodable names) becomes �."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return html.escape(shown)


def _text_block(text: str) -> str:
    return "\n".join(_text(line) for line in text.splitlines())


def _label(result: Evaluation) -> str:
    """Returns the model's name where there is little room: paths are in title and protocol."""
    return "model" if re.search(r"[/\\]", result.model) else result.model


def _sides(result: Evaluation) -> list[tuple[str, str]]:
    """Returns (label, attribute of Row) of the upscalers; the baseline is not beside itself."""
    model = [] if result.model == BICUBIC else [(_label(result), "model")]
    return [*model, (BICUBIC, "bicubic")]


def _table(head: list[str], bodies: list[str], kind: str) -> str:
    cells = "".join(f'<th scope="col">{_text(title)}</th>' for title in head)
    rows = "\n".join(f"<tbody>\n{body}\n</tbody>" for body in bodies)
    return f'<div class="{kind}"><table>\n<thead><tr>{cells}</tr></thead>\n{rows}\n</table></div>'


def _score(metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    return _text(report.format_score(metric, value).strip().replace("-", "−"))


def _summary(result: Evaluation, reference: Reference | None) -> str:
    """Returns the table of means: model, bicubic, published rows."""
    metrics, base = list(result.mean()), result.mean("bicubic")
    rows = [(_text(label), result.mean(of), of) for label, of in _sides(result)]
    for score in reference.rows if reference else ():
        found = _ARXIV.search(score.source)
        source = _text(score.source)
        if found:
            source = f'<a href="https://arxiv.org/abs/{found[1]}">{source}</a>'
        label = f"{_text(score.method)} <small>{source}</small>"
        rows.append((label, {"psnr_y": score.psnr_y, "ssim_y": score.ssim_y}, "published"))
    lines = []
    for label, scores, kind in rows:
        cells = "".join(
            f"<td>{_score(m, scores.get(m))}"
            + ("" if kind == "bicubic" else _difference(m, scores.get(m), base[m]))
            + "</td>"
            for m in metrics
        )
        lines.append(f'<tr class="{kind}"><th scope="row">{label}</th>{cells}</tr>')
    return _table(["Mean of", *map(report.title, metrics)], ["\n".join(lines)], "means")


def _difference(metric: str, value: float | None, base: float) -> str:
    if value is None or not metric.startswith(_RANKED) or not math.isfinite(value - base):
        return ""
    size = _score(metric, abs(value - base)).lstrip("+")
    sign = "±" if not size.strip("0.") else "+" if value > base else "−"
    return f" <small>{sign}{size}</small>"


def _notes(result: Evaluation, reference: Reference | None) -> Iterator[str]:
    """Yields what to know about those scores that are there."""
    metrics = list(result.mean())
    for kind, note in html_template.NOTES.items():
        if any(metric.startswith(kind) for metric in metrics):
            yield f"<li>{note}</li>"
    if reference and "ssim_y" in metrics:
        yield f"<li>{html_template.SSIM_NOTE}</li>"
    if reference and reference.border != result.border:
        yield (
            f"<li>The published scores leave out a border of {reference.border} pixels, this page "
            f"{result.border}.</li>"
        )


def _per_image(result: Evaluation) -> str:
    """Returns the table of all pictures, worst first, each with a line per upscaler."""
    metrics, bodies = list(result.mean()), []
    for row in sorted(result.rows, key=rank):
        sides, lines = _sides(result), []
        name = f"{_text(row.name)} <small>{row.width}×{row.height}</small>"
        head = f'<th scope="rowgroup" rowspan="{len(sides)}">{name}</th>'
        for label, of in sides:
            scores = getattr(row, of)
            cells = "".join(f"<td>{_score(metric, scores[metric])}</td>" for metric in metrics)
            lines.append(f'<tr class="{of}">{head}<td>{_text(label)}</td>{cells}</tr>')
            head = ""
        bodies.append("\n".join(lines))
    return _table(["Picture", "Upscaler", *map(report.title, metrics)], bodies, "pictures")


def _chosen(shown: int, count: int) -> str:
    if shown < count:
        return f"The {shown} of {count} with the lowest PSNR-Y; more would make this file heavy."
    return "All of them, the lowest PSNR-Y first."


def _figures(number: int, detail: Detail, result: Evaluation) -> str:
    """Returns one picture's overview and details; they link to each other when enlarged."""
    sides = {"lr": "LR", "bicubic": BICUBIC, "sr": _label(result), "hr": "HR"}
    if result.model == BICUBIC:
        del sides["sr"]
    links = "".join(f'<a href="#d{number}-{side}">{_text(n)}</a> ' for side, n in sides.items())
    nav = f'<nav>{links}<a href="#d{number}">close</a></nav>'
    name = _text(detail.row.name)
    figures = [
        f'<figure><img src="{_uri(detail.overview)}" alt="{name}, upscaled, whole">'
        "<figcaption>whole, detail framed</figcaption></figure>"
    ]
    scores = {"bicubic": detail.row.bicubic, "sr": detail.row.model}
    for side, label in sides.items():
        caption = f"<b>{_text(label)}</b>"
        if side in scores:
            shown = (f"{_score(m, scores[side][m])} {u}" for m, u in html_template.CAPTION.items())
            caption += f" <small>{' · '.join(shown)}</small>"
        figures.append(
            f'<figure id="d{number}-{side}" class="detail"><a href="#d{number}-{side}">'
            f'<img src="{_uri(detail.crops[side])}" alt="{name}, detail, {_text(label)}" '
            f'width="{detail.width * _ZOOM}" height="{detail.height * _ZOOM}"></a>'
            f"<figcaption>{caption}</figcaption>{nav}</figure>"
        )
    return html_template.ARTICLE.format(
        number=number, name=name, detail=detail, figures="\n".join(figures), row=detail.row
    )


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _definitions(values: dict[str, Any]) -> str:
    parts = []
    for key, value in values.items():
        shown = _definitions(value) if isinstance(value, dict) and value else _text(value)
        shown = f"<code>{shown}</code>" if key == "command" else shown
        parts.append(f"<dt>{_text(key).replace('_', ' ')}</dt><dd>{shown}</dd>")
    return "<dl>\n" + "\n".join(parts) + "\n</dl>"
