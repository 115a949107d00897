"""serving/tiling.py: tiles cover the picture once, and tiled equals whole."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import images
from srgan_tf.models import generators, receptive
from srgan_tf.serving import tiling


@pytest.mark.parametrize("size", [1, 7, 30, 31, 64, 100])
@pytest.mark.parametrize(("tile_size", "overlap"), [(1, 0), (8, 3), (10, 10), (64, 0)])
def test_spans_cover_an_axis_once(size, tile_size, overlap):
    spans = tiling.spans(size, tile_size=tile_size, overlap=overlap)
    assert spans[0].start == 0
    assert spans[-1].stop == size
    assert [span.stop for span in spans[:-1]] == [span.start for span in spans[1:]]
    for span in spans:
        assert span.read_from == max(0, span.start - overlap)
        assert span.read_to == min(size, span.stop + overlap)
        assert span.read_to - span.read_from <= tile_size + 2 * overlap


@pytest.mark.parametrize("size", [31, 64, 101])
@pytest.mark.parametrize(("tile_size", "overlap"), [(8, 3), (10, 8), (9, 0)])
def test_spans_start_where_the_alignment_says(size, tile_size, overlap):
    free = tiling.spans(size, tile_size=tile_size, overlap=overlap)
    aligned = tiling.spans(size, tile_size=tile_size, overlap=overlap, alignment=4)
    for span, other in zip(aligned, free, strict=True):
        assert span.read_from % 4 == 0
        assert 0 <= other.read_from - span.read_from < 4
        assert (span.start, span.stop, span.read_to) == (other.start, other.stop, other.read_to)


def test_an_axis_that_fits_with_its_rim_is_not_cut():
    assert tiling.spans(14, tile_size=8, overlap=3) == [tiling.Span(0, 0, 14, 14)]
    assert len(tiling.spans(15, tile_size=8, overlap=3)) == 2


def _random(name: str, **options) -> tf.keras.Model:
    """Random kernels, slopes and batch statistics: nothing that a wrong rim could hide behind."""
    model = generators.GENERATORS[name](scale=4, **options)
    random = np.random.RandomState(1)
    for weight in model.weights:
        values = weight.numpy()
        shift = np.abs(random.normal(0, 0.3, values.shape))  # Variances stay positive.
        weight.assign(values + shift if values.ndim == 1 else values * 1.5)
    return model


@pytest.fixture(scope="module")
def generator():
    return _random("srresnet", filters=8, blocks=2)


@pytest.fixture(scope="module")
def strided():
    """Its upsampling is without ICNR, which would make neighbours equal."""
    return _random("autoencoder", filters=4, blocks=1, norm="batch", upsampling="subpixel_plain")


def _signed(model):
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)

    @tf.function(input_signature=[spec])
    def upscale(batch):
        return model(images.uint8_to_unit(batch), training=False)

    return lambda image: upscale(image[None])[0].numpy()


@pytest.mark.parametrize(("height", "width", "tile_size"), [(61, 47, 13), (40, 75, 16)])
def test_tiled_equals_whole(generator, height, width, tile_size):
    lr = fixtures.photo_like(height, width)
    signed = _signed(generator)

    def grey_levels(image):
        return images.signed_to_uint8(signed(image)).numpy()

    radius = receptive.radius(generator, 4)
    options = {"scale": 4, "tile_size": tile_size, "overlap": radius}
    assert len(list(tiling.tiles(height, width, tile_size=tile_size, overlap=radius))) >= 4
    whole = signed(lr)
    assert whole.std() > 0.05
    np.testing.assert_allclose(tiling.upscale(signed, lr, **options), whole, rtol=0, atol=1e-5)
    tiled = tiling.upscale(grey_levels, lr, **options).astype(int)
    assert np.abs(tiled - grey_levels(lr)).max() <= 1
    # The radius is needed, not just enough: half of it leaves seams.
    seams = tiling.upscale(signed, lr, **{**options, "overlap": radius // 2})
    assert np.abs(seams - whole).max() > 1e-4


# Sides that 4 does not divide are padded inside the network, in the tiles as in the whole.
@pytest.mark.parametrize(("height", "width", "tile_size"), [(81, 63, 13), (70, 90, 16)])
def test_tiled_equals_whole_with_strides_if_tiles_are_aligned(strided, height, width, tile_size):
    lr = fixtures.photo_like(height, width)
    signed = _signed(strided)
    radius, alignment = receptive.radius(strided, 4), receptive.alignment(strided)
    options = {"scale": 4, "tile_size": tile_size, "overlap": radius, "alignment": alignment}
    whole = signed(lr)
    assert whole.std() > 0.05
    np.testing.assert_allclose(tiling.upscale(signed, lr, **options), whole, rtol=0, atol=1e-5)
    for wrong in ({"alignment": 1}, {"overlap": radius // 2}):
        seams = tiling.upscale(signed, lr, **{**options, **wrong})
        assert np.abs(seams - whole).max() > 1e-4


def test_the_whole_picture_in_one_tile_is_one_call():
    calls = []

    def double(image):
        calls.append(image.shape)
        return image.repeat(2, axis=0).repeat(2, axis=1)

    lr = fixtures.photo_like(9, 5)
    sr = tiling.upscale(double, lr, scale=2, overlap=4)
    assert calls == [(9, 5, 3)]
    np.testing.assert_array_equal(sr, lr.repeat(2, axis=0).repeat(2, axis=1))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="tile_size=0"):
        tiling.spans(5, tile_size=0, overlap=0)
    with pytest.raises(ValueError, match="alignment=0"):
        tiling.spans(5, tile_size=1, overlap=0, alignment=0)
    with pytest.raises(ValueError, match="scale=3"):
        tiling.upscale(lambda tile: tile, fixtures.photo_like(4, 4), scale=3, overlap=0)
