"""html_report.py: a page that stands alone, says what is there, and shows the right places."""

import base64
import dataclasses
import html.parser
import io
import math
import re

import fixtures
import numpy as np
import pytest
from PIL import Image

from srgan_tf import bicubic, details, evaluation, html_report, references

_VOID = {"meta", "img", "br", "hr", "link", "input"}


class _Page(html.parser.HTMLParser):
    """Reads a page: checks that tags nest, keeps attributes, ids and the text of each element."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.ids, self._open = [], [], [], []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if data.strip() and "style" not in self._open:
            self.texts.append((self._open[-1], " ".join(data.split())))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def read(self, tag):
        return [text for name, text in self.texts if name == tag]


def _scores(psnr, **more):
    return {"psnr_y": psnr, "ssim_y": 0.8, "psnr_rgb": psnr - 1, "ssim_rgb": 0.75, **more}


def _row(name, psnr, size=(120, 160)):
    return evaluation.Row(name, *size, _scores(psnr), _scores(25.0))


def _pictures(size=(120, 160), *, scale=4, seed=0):
    hr = fixtures.photo_like(*size, seed)
    lr = bicubic.imresize(hr, 1 / scale)
    return evaluation.Pictures(lr=lr, sr=hr.copy(), hr=hr, bicubic=bicubic.imresize(lr, scale))


def _evaluation(rows, model="srresnet"):
    return evaluation.Evaluation(model, {"kind": "pretrained"}, 4, 4, "data/HR", None, rows)


def _made(rows, *, model="srresnet", reference=None, limit=20, **options):
    collector = details.Collector(limit=limit)
    for row in rows:
        collector(row, _pictures((row.height, row.width)))
    return html_report.to_html(_evaluation(rows, model), collector, reference, **options)


def _decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def _set5():
    paper = "arXiv 1609.04802, table 2"
    rows = (
        references.Score("bicubic", 28.43, 0.8211, paper),
        references.Score("SRResNet-MSE", 32.05, 0.9019, paper),
    )
    return references.Reference("Set5", 4, rows)


def test_the_page_stands_alone():
    page = _made([_row("baby", 31.0), _row("bird", 32.0)], reference=_set5())
    read = _Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in read.tags}
    assert "@import" not in page and "url(" not in page
    assert "default-src 'none'" in page
    for _, attributes in read.tags:
        assert attributes.get("src", "data:").startswith("data:")
        assert "srcset" not in attributes and "background" not in attributes
        # Links are followed only by a person: inside the page, or to the paper.
        href = attributes.get("href", "#")
        assert href.startswith("#") or href == "https://arxiv.org/abs/1609.04802"
    targets = {a["href"][1:] for a in read.all("a") if a["href"].startswith("#")}
    assert targets <= set(read.ids) and len(read.ids) == len(set(read.ids))


def test_every_picture_is_a_png_of_the_size_it_says():
    read = _Page(_made([_row("baby", 31.0)]))
    sizes = []
    for image in read.all("img"):
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64"
        opened = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        assert opened.format == "PNG" and image["alt"].startswith("baby, ")
        sizes.append(opened.size)
        if "width" in image:
            assert (int(image["width"]), int(image["height"])) == (192, 192)  # Enlarged twice.
    # The whole picture of 160x120 as it is, then LR, bicubic, SR and HR.
    assert sizes == [(160, 120)] + 4 * [(96, 96)]


def test_the_crops_show_the_place_of_the_error():
    pictures = _pictures((240, 320))
    # The one block that differs; windows begin at multiples of 4 and are 96 pixels long.
    pictures.sr[140:180, 200:236] = 255 - pictures.hr[140:180, 200:236]
    collector = details.Collector()
    collector(_row("planted", 20.0, (240, 320)), pictures)
    (detail,) = collector.details
    top, left = detail.top, detail.left
    assert (detail.height, detail.width) == (96, 96) and top % 4 == left % 4 == 0
    assert top <= 140 and top + 96 >= 180 and left <= 200 and left + 96 >= 236
    for name in ("bicubic", "sr", "hr"):
        whole = getattr(pictures, name)
        assert np.array_equal(_decoded(detail.crops[name]), whole[top : top + 96, left : left + 96])
    # Every pixel of LR is 4x4 pixels of its crop.
    lr = _decoded(detail.crops["lr"])
    assert np.array_equal(
        lr[::4, ::4], pictures.lr[top // 4 : top // 4 + 24, left // 4 : left // 4 + 24]
    )
    assert np.array_equal(lr, lr[::4, ::4].repeat(4, axis=0).repeat(4, axis=1))


def test_the_window_is_marked_in_the_overview():
    pictures = _pictures((384, 384))
    pictures.sr[:] = pictures.hr[:] = 90
    pictures.sr[192:288, 96:192] = 91
    collector = details.Collector()
    collector(_row("grey", 40.0, (384, 384)), pictures)
    small = _decoded(collector.details[0].overview)
    assert small.shape == (192, 192, 3)  # Half the size: the window is at rows 96, columns 48.
    white = np.argwhere((small == 255).all(axis=-1))
    assert white.min(axis=0).tolist() == [96, 48] and white.max(axis=0).tolist() == [143, 95]


def test_an_error_in_the_border_does_not_attract_the_window():
    hr = np.zeros((240, 240, 3), np.uint8)
    sr = hr.copy()
    sr[:4] = 255  # Not scored, with a border of 4.
    sr[200, 200] = 10
    top, left, height, width = details.worst_window(sr, hr, scale=4, border=4)
    assert top <= 200 < top + height <= 236 and left <= 200 < left + width <= 236
    assert details.worst_window(sr, hr, scale=4, border=0)[0] == 0


@pytest.mark.parametrize(
    "scale, size", [(2, (96, 128)), (3, (99, 60)), (4, (20, 24)), (8, (24, 8))]
)
def test_windows_of_small_pictures_lie_inside_and_on_the_grid_of_lr(scale, size):
    hr = fixtures.photo_like(*size)
    top, left, height, width = details.worst_window(255 - hr, hr, scale=scale, border=min(scale, 4))
    assert not any(number % scale for number in (top, left, height, width))
    assert 0 < height <= size[0] - top and 0 < width <= size[1] - left
    assert max(height, width) <= 96


def test_worst_pictures_come_first_and_only_they_are_kept():
    psnrs = {"fair": 30.0, "worst": 20.0, "equal": math.inf, "bad": 22.0}
    page = _made([_row(name, psnr) for name, psnr in psnrs.items()], limit=2)
    read = _Page(page)
    names = [text for text in read.read("th") if text in psnrs]
    assert names == ["worst", "bad", "fair", "equal"]
    assert read.read("h3") == ["worst", "bad"]
    assert "The 2 of 4 with the lowest PSNR-Y" in page
    assert len(read.all("article")) == 2


def test_a_collector_holds_no_whole_picture():
    collector = details.Collector(limit=3)
    for number in range(6):
        collector(_row(str(number), 30.0 - number), _pictures())
    assert [detail.row.name for detail in collector.details] == ["5", "4", "3"]
    for detail in collector.details:
        held = [getattr(detail, field.name) for field in dataclasses.fields(detail)]
        assert not any(isinstance(value, np.ndarray) for value in held)
        assert all(isinstance(value, bytes) for value in detail.crops.values())


def test_names_and_paths_are_escaped():
    name = "<script>alert('1')</script>&\"\udcff\u202e"
    page = _made(
        [_row(name, 30.0)], model=name, command=f"srgan-evaluate --model={name}", reference=None
    )
    assert page.encode() and "<script" not in page and "\u202e" not in page
    read = _Page(page)
    shown = "<script>alert('1')</script>&\"\ufffd\ufffd"
    assert read.read("h3") == [shown] and read.read("h1")[0].startswith(shown)
    assert read.read("code") == [f"srgan-evaluate --model={shown}"]
    assert read.all("img")[0]["alt"] == f"{shown}, upscaled, whole"


def test_published_rows_and_differences_to_bicubic():
    read = _Page(_made([_row("baby", 31.5)], reference=_set5()))
    assert read.read("h1") == ["srresnet on Set5, x4"]
    methods = [text for text in read.read("th") if text in ("srresnet", "bicubic", "SRResNet-MSE")]
    assert methods == ["srresnet", "bicubic", "bicubic", "SRResNet-MSE"]
    small = read.read("small")
    # Bicubic has 25 here: 31.5 - 25, 32.05 - 25; SSIM .8 against .8, .9019 against .8.
    assert {"+6.50", "±0.0000", "+7.05", "+0.1019"} <= set(small)
    assert any("not reproduced" in text for text in read.read("li"))


def test_without_published_rows_there_is_no_talk_of_them():
    read = _Page(_made([_row("baby", 31.5)]))
    assert read.read("h1") == ["srresnet on data/HR, x4"]
    assert not any("not reproduced" in text for text in read.read("li"))


def test_equal_pictures_have_no_difference():
    page = _made([_row("equal", math.inf)])
    assert "inf" in " ".join(_Page(page).read("td")).lower() or "∞" in page
    assert not re.search(r"[+−±](inf|nan|∞)", page)


def test_only_present_scores_are_explained():
    base = _made([_row("baby", 31.5)])
    assert "Checkerboard" not in base and "Colour drift" not in base
    more = {"colour_drift_r": -0.5, "checkerboard": math.nan, "vgg_distance": 0.3}
    row = evaluation.Row("baby", 120, 160, _scores(30.0, **more), _scores(28.0, **more))
    read = _Page(_made([row]))
    explained = read.read("b")
    assert {"Checkerboard", "Colour drift", "VGG distance"} <= set(explained)
    # A minus of the width of a plus; drift has no difference to bicubic.
    assert any(text.startswith("−0.5") for text in read.read("td"))


def test_bicubic_is_not_shown_beside_itself():
    read = _Page(_made([_row("baby", 25.0)], model="bicubic"))
    assert read.read("h1") == ["bicubic on data/HR, x4"]
    captions = [text for text in read.read("b") if text in ("LR", "bicubic", "model", "HR")]
    assert captions == ["LR", "bicubic", "HR"]
    assert [text for text in read.read("th") if text == "bicubic"] == ["bicubic"]


def test_the_protocol_is_written_down_with_the_command():
    command = "srgan-evaluate --model=srresnet --hr=data/HR --report=report.html"
    read = _Page(_made([_row("baby", 31.5)], command=command))
    assert {"model", "kind", "scale", "border", "hr", "lr", "package version"} <= set(
        read.read("dt")
    )
    assert read.read("code") == [command]
    assert "4" in read.read("dd") and "data/HR" in read.read("dd")


def test_a_path_is_called_model_where_room_is_short():
    read = _Page(_made([_row("baby", 31.5)], model="/runs/first/saved_model/12"))
    assert read.read("h1") == ["/runs/first/saved_model/12 on data/HR, x4"]
    assert "model" in read.read("b")
