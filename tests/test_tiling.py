"""serving/tiling.py and engine.py: tiles cover the picture once, and tiled equals whole."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf
from test_folding import trained_like
from test_pretrained import needs_wheel

from srgan_tf import config, images
from srgan_tf.models import generators, pretrained, receptive, upsampling
from srgan_tf.serving import models, tiling
from srgan_tf.serving.upscaler import Upscaler


@pytest.mark.parametrize("size", [1, 7, 30, 31, 64, 100])
@pytest.mark.parametrize(("tile_size", "overlap"), [(1, 0), (8, 3), (10, 10), (64, 0)])
@pytest.mark.parametrize("alignment", [1, 4])
def test_spans_cover_an_axis_once_and_read_a_rim(size, tile_size, overlap, alignment):
    spans = tiling.spans(size, tile_size=tile_size, overlap=overlap, alignment=alignment)
    assert spans[0].start == 0
    assert spans[-1].stop == size
    assert [span.stop for span in spans[:-1]] == [span.start for span in spans[1:]]
    for span in spans:
        assert 0 <= span.read_from <= max(0, span.start - overlap)
        assert min(size, span.stop + overlap) <= span.read_to <= size
        assert span.read_from % alignment == 0


def test_tiles_have_one_size_and_the_fewest_that_do():
    # Tiles that read 8 + 2 * 3 pixels keep 11, 8, ..., 8, 11: five of them 46, six of them 54.
    spans = tiling.spans(47, tile_size=8, overlap=3)
    assert len(spans) == 6
    # Six equal ones keep ceil((47 - 6) / 6) = 7 and read 13; the last begins at 47 - 13.
    assert {span.read_to - span.read_from for span in spans} == {13}
    assert spans[-1] == tiling.Span(34, 38, 47, 47)
    assert spans[1] == tiling.Span(7, 10, 17, 20)


def test_no_tile_begins_before_the_picture():
    # The tile size counts as 4, to which the rims of 8 add up to 20: more than the axis has.
    assert tiling.spans(18, tile_size=1, overlap=8, alignment=4) == [tiling.Span(0, 0, 18, 18)]


def test_an_axis_that_fits_with_its_rim_is_not_cut():
    assert tiling.spans(14, tile_size=8, overlap=3) == [tiling.Span(0, 0, 14, 14)]
    assert len(tiling.spans(15, tile_size=8, overlap=3)) == 2


# By how much the overlap has to be too small for the difference to show. The farthest pixels count
# little behind the 15 convolutions of rrdb; for the autoencoder overlaps are multiples of 4, and
# with deconvolution its radius is not tight (test_receptive.py).
_TOO_SMALL = {"rrdb": 15, "autoencoder": 12}


@pytest.mark.parametrize("name", sorted(generators.GENERATORS))
@pytest.mark.parametrize("kind", sorted(set(upsampling.UPSAMPLINGS) - {"subpixel"}))
def test_tiled_equals_whole_for_every_network(name, kind):
    settings = config.GeneratorConfig(name=name, filters=4, blocks=1, upsampling=kind)
    generator = trained_like(settings, 2)
    radius, alignment = receptive.radius(generator, 2), receptive.alignment(generator)
    lr = fixtures.photo_like(2 * radius + 20, 2 * radius + 25)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def signed(batch):
        return generator(images.uint8_to_unit(batch), training=False)

    def tiled(overlap):
        strips = tiling.strips(
            tiling.keeping(lambda tile: signed(tile[None])[0].numpy(), 2),
            lr,
            scale=2,
            overlap=overlap,
            tile_size=(12, 15),
            alignment=alignment,
        )
        return np.concatenate(list(strips))

    whole = signed(lr[None])[0].numpy()
    assert whole.std() > 0.05
    np.testing.assert_allclose(tiled(radius), whole, rtol=0, atol=2e-6)
    too_small = tiled(radius - _TOO_SMALL.get(name, 1))
    assert np.abs(too_small - whole).max() > 1e-4
    # The same through what users call: batch normalization folded, trunk and tail apart.
    grey = Upscaler(models.from_generator(generator, settings, 2), tile_size=12, origin={})
    _assert_same_pictures(grey.upscale(lr), whole)


def _assert_same_pictures(grey: np.ndarray, signed: np.ndarray) -> None:
    """Compares uint8 pixels with float ones, but for those that lie between two grey levels."""
    levels = np.clip((signed + 1) * 127.5, 0, 255)
    clear = np.abs(levels % 1 - 0.5) > 2e-3
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(grey[clear], np.round(levels)[clear])


@pytest.mark.parametrize(
    "name", ["lite", *(pytest.param(name, marks=needs_wheel) for name in ("srresnet", "srgan"))]
)
def test_tiled_equals_whole_with_published_weights(name):
    generator = pretrained.load_generator(name)
    lr = fixtures.photo_like(30, 110)
    whole = generator(images.uint8_to_unit(lr[None]), training=False)[0].numpy()
    # Three tiles of 92 columns, which begin at 0, 12 and 18.
    _assert_same_pictures(Upscaler.load(name, tile_size=12).upscale(lr), whole)


def test_alignment_is_needed():
    settings = config.GeneratorConfig(
        name="autoencoder", filters=4, blocks=1, upsampling="subpixel_plain"
    )
    generator = trained_like(settings, 2)
    assert receptive.alignment(generator) == 4
    lr = fixtures.photo_like(90, 33)
    whole = generator(images.uint8_to_unit(lr[None]), training=False)[0].numpy()
    signed = tiling.keeping(
        lambda tile: generator(images.uint8_to_unit(tile[None]), training=False)[0].numpy(), 2
    )
    options = {"scale": 2, "overlap": 29, "tile_size": (13, 90)}
    aligned, free = (
        np.concatenate(list(tiling.strips(signed, lr, alignment=alignment, **options)))
        for alignment in (4, 1)
    )
    np.testing.assert_allclose(aligned, whole, rtol=0, atol=2e-6)
    assert np.abs(free - whole).max() > 1e-4


def test_the_whole_picture_in_one_tile_is_one_call():
    calls = []

    def double(image):
        calls.append(image.shape)
        return image.repeat(2, axis=0).repeat(2, axis=1)

    lr = fixtures.photo_like(9, 5)
    tile = tiling.keeping(double, 2)
    (sr,) = tiling.strips(tile, lr, scale=2, overlap=4, tile_size=(9, 9))
    assert calls == [(9, 5, 3)]
    np.testing.assert_array_equal(sr, lr.repeat(2, axis=0).repeat(2, axis=1))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="tile_size=0"):
        tiling.spans(5, tile_size=0, overlap=0)
    with pytest.raises(ValueError, match="alignment=0"):
        tiling.spans(5, tile_size=1, overlap=0, alignment=0)
    with pytest.raises(ValueError, match="scale=3"):
        lr = fixtures.photo_like(4, 4)
        tile = tiling.keeping(lambda tile: tile, 3)
        next(tiling.strips(tile, lr, scale=3, overlap=0, tile_size=(9, 9)))
