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

from srgan_tf import report
from srgan_tf.details import Collector, Detail, rank
from srgan_tf.evaluation import BICUBIC, Evaluation
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
) -> str:
    """Returns the page.

    Args:
        result: the scores.
        collector: what was called with the pictures of the same evaluation.
        reference: published rows for the same data set.
        command: the command line that made the evaluation, for the protocol.
    """
    title = f"{result.model} on {reference.dataset if reference else result.hr}, x{result.scale}"
    protocol = report.protocol(result) | ({"command": command} if command else {})
    return _PAGE.format(
        title=_text(title),
        style=_STYLE,
        count=len(result.rows),
        pictures="picture" if len(result.rows) == 1 else "pictures",
        summary=_summary(result, reference),
        notes="\n".join(_notes(list(result.mean()), reference)),
        rows=_per_image(result),
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


def _notes(metrics: list[str], reference: Reference | None) -> Iterator[str]:
    """Yields what to know about those scores that are there."""
    for kind, note in _NOTES.items():
        if any(metric.startswith(kind) for metric in metrics):
            yield f"<li>{note}</li>"
    if reference and "ssim_y" in metrics:
        yield f"<li>{_SSIM_NOTE}</li>"


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
            shown = (f"{_score(m, scores[side][m])} {u}" for m, u in _CAPTION.items())
            caption += f" <small>{' · '.join(shown)}</small>"
        figures.append(
            f'<figure id="d{number}-{side}" class="detail"><a href="#d{number}-{side}">'
            f'<img src="{_uri(detail.crops[side])}" alt="{name}, detail, {_text(label)}" '
            f'width="{detail.width * _ZOOM}" height="{detail.height * _ZOOM}"></a>'
            f"<figcaption>{caption}</figcaption>{nav}</figure>"
        )
    return _ARTICLE.format(
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


_CAPTION = {"psnr_y": "dB", "ssim_y": "SSIM"}

_NOTES = {
    "psnr": "<b>PSNR</b> rewards caution: a model trained as a GAN scores lower than a blurry one, "
    "and may look better all the same.",
    "colour_drift": "<b>Colour drift</b> is the mean of SR, shrunk to the size of LR, minus LR, in "
    "grey levels of 255. 0 is none; above 0 the channel became brighter.",
    "checkerboard": "<b>Checkerboard</b> is the energy at the upsampling frequencies, relative to "
    "the original's. 1 is what the original has, smooth pictures are below; a visible grid is far "
    "above.",
    "vgg": "<b>VGG distance</b>: lower is closer. It compares only with distances of the same "
    "network, layer and weights.",
}
_SSIM_NOTE = (
    "<b>SSIM</b>: others who repeat the SRGAN paper (arXiv 1609.04802) reach its PSNR, but an SSIM "
    "some .02 lower. A model below the paper's SSIM alone is not a worse model."
)

# The policy makes browsers refuse whatever is not in the file.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="quiet">{count} {pictures}. Small figures: the difference to bicubic here.</p>
{summary}
<ul>
{notes}
</ul>
<h2>Every picture, worst first</h2>
{rows}
<h2>Where they differ most</h2>
<p class="quiet">Of each picture the window with the most squared luma error, at equal zoom; scores
are of the whole picture. {chosen}
<span class="screen">A click enlarges; the names below then flip between versions.</span></p>
{details}
<h2>Protocol</h2>
{protocol}
</body>
</html>
"""

_ARTICLE = """<article id="d{number}">
<h3>{name} <small>{row.width}×{row.height}, detail of {detail.width}×{detail.height} at
({detail.left}, {detail.top})</small></h3>
<div class="figures">
{figures}
</div>
</article>"""

_STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #23221f; --quiet: #63615a;
  --line: #dddad2; --link: #1f5c99; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #171716; --ink: #e7e4dc; --quiet: #a29f96; --line: #3a3936; --link: #8bbbe8; }
}
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 1010px; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; font-weight: 600; line-height: 1.25; margin: 0; }
h2 { font-size: 1.2rem; font-weight: 600; margin: 3rem 0 .5rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 2rem 0 .5rem; }
small, .quiet, dt { color: var(--quiet); }
small { font-size: .85em; font-weight: 400; }
a { color: var(--link); }
ul { padding-left: 1.2rem; max-width: 46rem; }
.means, .pictures { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
thead th { border-bottom: 1px solid var(--quiet); vertical-align: bottom; font-weight: 600; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; vertical-align: top; }
tbody { border-bottom: 1px solid var(--line); }
th:first-child { position: sticky; left: 0; padding-left: 0; text-align: left;
  background: var(--paper); font-weight: 400; white-space: normal; min-width: 8.5rem; }
th[scope=rowgroup], tr.model th { font-weight: 600; }
.pictures th:nth-child(2), th[scope=rowgroup] + td, td:first-child { text-align: left; }
tr.bicubic td { color: var(--quiet); }
td small { display: block; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, 192px); gap: 10px; }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; }
.detail img { image-rendering: pixelated; }
figcaption { font-size: .85rem; line-height: 1.3; margin-top: .3rem; }
figcaption small { display: block; }
nav { display: none; }
.detail:target { position: fixed; inset: 0; z-index: 2; padding: 1rem; background: var(--paper);
  display: flex; flex-direction: column; align-items: center; }
.detail:target > a { flex: 1; min-height: 0; width: 100%; }
.detail:target img { width: 100%; height: 100%; object-fit: contain; }
.detail:target figcaption { min-height: 2.4rem; text-align: center; }
.detail:target nav { display: flex; flex-wrap: wrap; gap: 1.5rem; padding: .5rem; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .3rem 1.2rem;
  margin: 0; font-size: .9rem; }
dd { margin: 0; }
code { font: .85rem ui-monospace, monospace; }
@media (max-width: 34rem) { .figures { grid-template-columns: 1fr 1fr; }
  .detail img { width: 100%; } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --quiet: #555;
    --line: #ccc; --link: #000; }
  body { padding: 0; max-width: none; font-size: 10pt; } table { font-size: 7.5pt; }
  th, td { padding: .15rem .35rem; } .screen { display: none; }
  .figures { grid-template-columns: repeat(5, 1fr); gap: 6px; }
  tbody, article { break-inside: avoid; } h2, h3, h2 + p { break-after: avoid; } }
""".strip()
