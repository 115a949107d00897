"""png.py: what is written in strips is the picture, and as small as Pillow would write it."""

import io

import fixtures
import numpy as np
import pytest
from PIL import Image

from srgan_tf import png


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("heights", [(40,), (1, 16, 23), (33, 7)])
def test_strips_make_one_picture(channels, heights, monkeypatch):
    monkeypatch.setattr(png, "_BAND_BYTES", 300)  # Bands of a few rows within a strip.
    colour = fixtures.photo_like(40, 31)
    picture = np.dstack([colour, colour[..., :1]])[..., :channels]
    strips = np.split(picture, np.cumsum(heights)[:-1])
    data = b"".join(png.encode(strips, 40, 31, channels))
    decoded = Image.open(io.BytesIO(data))
    assert decoded.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    np.testing.assert_array_equal(np.asarray(decoded).reshape(picture.shape), picture)


def test_filters_reach_across_strips():
    # The same row again and again: stored once; a strip without the row above would store it anew.
    picture = np.tile(fixtures.photo_like(1, 500), [64, 1, 1])
    whole = io.BytesIO()
    Image.fromarray(picture).save(whole, "PNG")
    data = b"".join(png.encode(np.split(picture, 16), 64, 500, 3))
    assert len(data) < 1.1 * len(whole.getvalue())


def test_strips_that_do_not_make_the_picture():
    strip = fixtures.photo_like(4, 5)
    with pytest.raises(ValueError, match="4 rows in all: height=8"):
        list(png.encode([strip], 8, 5, 3))
    with pytest.raises(ValueError, match="width=6"):
        list(png.encode([strip], 4, 6, 3))
