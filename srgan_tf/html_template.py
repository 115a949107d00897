"""The words and the looks of the HTML report (html_report.py): CSS and skeletons, no logic."""

from srgan_tf import references

CAPTION = {"psnr_y": "dB", "ssim_y": "SSIM"}

NOTES = {
    "psnr": "<b>PSNR</b> rewards caution: a model trained as a GAN scores lower than a blurry one, "
    "and may look better all the same.",
    "colour_drift": "<b>Colour drift</b> is the mean of SR, shrunk to the size of LR, minus LR, in "
    "grey levels of 255: per channel (above 0: brighter), and the mean of their sizes.",
    "checkerboard": "<b>Checkerboard</b> is how far the upsampling frequencies stand out of the "
    "spectrum, relative to the original. About 1 is no grid; a visible one is far above.",
    "blockiness": "<b>Blockiness</b> is how far pixels come in blocks: 0 not at all, photos up to "
    "0.1, bicubic enlarged four times about 0.3, repeated pixels 1.",
    "vgg": "<b>VGG distance</b>: lower is closer. It compares only with distances of the same "
    "network, layer and weights.",
}
SSIM_NOTE = f"<b>SSIM</b>: {references.SSIM_NOTE}."

CONVENTIONS = "<h2>Under other conventions</h2>\n<pre>{}</pre>"

# The policy makes browsers refuse whatever is not in the file.
PAGE = """<!DOCTYPE html>
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
{conventions}
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

ARTICLE = """<article id="d{number}">
<h3>{name} <small>{row.width}×{row.height}, detail of {detail.width}×{detail.height} at
({detail.left}, {detail.top})</small></h3>
<div class="figures">
{figures}
</div>
</article>"""

STYLE = """
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
.means, .pictures, pre { overflow-x: auto; }
pre { font-size: .85rem; overflow-wrap: normal; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
thead th { border-bottom: 1px solid var(--quiet); vertical-align: bottom; font-weight: 600; }
th, td { padding: .25rem .5rem; text-align: right; white-space: nowrap; vertical-align: top; }
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
