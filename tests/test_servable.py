"""serving/served.py: signatures in the graph that tile, refuse, and tell what is wrong."""

import io
import itertools
import os
import struct
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_folding import trained_like

from srgan_tf import config, errors
from srgan_tf.serving import folding, graph_tiling, served, tiling, verification

_SCALE = 2
_MAX_PIXELS = 40_000
_RGB = fixtures.photo_like(20, 31)


def _folded(name, kind="auto"):
    settings = config.GeneratorConfig(name=name, filters=4, blocks=1, upsampling=kind)
    return folding.fold(trained_like(settings, _SCALE), settings, _SCALE)


def _module(name="lite", kind="auto", **options):
    return served.ServedModule(_folded(name, kind), _SCALE, max_pixels=_MAX_PIXELS, **options)


@pytest.fixture(scope="module")
def module():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "_PNG_SIDE", 500 * _SCALE)
        yield _module(tile_bytes=1)  # As small as tiles may be.


@pytest.fixture(scope="module")
def saved(module, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("served"))
    tf.saved_model.save(module, directory, signatures=module.signatures())
    return directory


@pytest.mark.parametrize(("rim", "alignment"), [(0, 1), (3, 1), (8, 4), (10, 2)])
def test_tiles_are_those_of_the_client(rim, alignment):
    graph = tf.function(
        lambda size, tile: graph_tiling.spans(size, tile, rim=rim, alignment=alignment),
        input_signature=[tf.TensorSpec([], tf.int64)] * 2,
    )
    for size, tile in itertools.product([1, 2, 19, 20, 21, 64, 100, 257], [1, 5, 8, 64]):
        wanted = tiling.spans(size, tile_size=tile, overlap=rim, alignment=alignment)
        found = graph(size, tile).numpy()
        assert [tiling.Span(*map(int, row)) for row in found] == wanted, (size, tile)


@pytest.mark.parametrize(
    ("size", "pixels", "sides"),
    [
        ((100, 300), 50 * 50, (50, 50)),
        ((20, 300), 50 * 50, (20, 125)),  # 2500 // 20
        ((300, 20), 50 * 50, (125, 20)),
        ((60, 30), 50 * 50, (60, 30)),
    ],
)
def test_tiles_are_as_square_as_the_picture_allows(size, pixels, sides):
    found = graph_tiling._sides(*(tf.constant(x, tf.int64) for x in (*size, pixels)))
    assert tuple(map(int, found)) == sides


# One of each kind; that rims and alignment are every generator's own tests/test_tiling.py shows.
_KINDS = {
    ("lite", "auto"): (1, False),
    ("autoencoder", "auto"): (4, True),
}


@pytest.mark.parametrize(("name", "kind"), _KINDS)
def test_tiled_equals_untiled(name, kind):
    module = _module(name, kind, tile_bytes=1)
    facts = module.facts(_SCALE)
    # Alignment, and whether it is run in halves.
    assert (facts["alignment"], "part_pixels" in facts) == _KINDS[name, kind]
    side = int(facts["tile_pixels"] ** 0.5)
    lr = np.stack([fixtures.photo_like(side + 13, side + 3, seed) for seed in range(2)])
    whole = module.upscale(lr)["sr"].numpy().astype(int)
    assert whole.std() > 5
    np.testing.assert_allclose(module.serve(lr)["sr"].numpy(), whole, atol=1)
    unit = module.upscale_float(lr[:1] / np.float32(255))["sr"].numpy()
    assert unit.dtype == np.float32
    # Half a grey level of rounding, but for what is clipped.
    np.testing.assert_allclose(unit * 255, whole[:1], atol=0.51)


def test_a_shift_of_all_pixels_is_no_rounding():
    # 10 log10(255**2 / 40**2).
    score = verification._score([np.full([9, 9, 3], 40.0)])
    assert score == {"max_difference": 40.0, "psnr": 16.09}
    verification._judge(score, "it", 48, 16)
    with pytest.raises(errors.RunError, match=r"16.09 dB \(it\) where rounding leaves 30"):
        verification._judge(score, "it", 48, 30)


def test_many_small_pictures_are_done_in_groups_without_a_seam(module):
    sizes = []

    def double(images):
        sizes.append(images.shape[:3])
        return images.repeat(2, axis=1).repeat(2, axis=2)

    def traced(batch):
        made = tf.numpy_function(double, [batch], tf.uint8)
        return tf.ensure_shape(made, [None, None, None, 3])

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def tiled(batch):
        return graph_tiling.apply(traced, batch, scale=2, rim=1, pixels=100)

    lr = np.stack([fixtures.photo_like(5, 6, seed) for seed in range(8)])
    np.testing.assert_array_equal(tiled(lr), lr.repeat(2, axis=1).repeat(2, axis=2))
    assert sizes == [(3, 5, 6), (3, 5, 6), (2, 5, 6)]  # 30 pixels each.
    sizes.clear()
    np.testing.assert_array_equal(tiled(lr[:3]), lr[:3].repeat(2, axis=1).repeat(2, axis=2))
    assert sizes == [(3, 5, 6)]
    sizes.clear()
    large = fixtures.photo_like(30, 31)[None]
    np.testing.assert_array_equal(tiled(large), large.repeat(2, axis=1).repeat(2, axis=2))
    assert max(np.prod(size) for size in sizes) <= 100


def test_one_trace_for_all_sizes_and_what_the_client_needs_alone(module):
    for size in ((1, 9, 7), (2, 60, 50)):
        lr = np.zeros([*size, 3], np.uint8)
        module.serve(lr)
        module.upscale_float(lr.astype(np.float32))
        module.upscale_bytes([_png(picture) for picture in lr])
    for function in (
        module.serve,
        module.upscale_float,
        module.upscale_bytes,
        module._run_in_tiles,
    ):
        assert function.experimental_get_tracing_count() == 1
    facts = module.facts(_SCALE)
    assert facts["max_pixels"] == _MAX_PIXELS
    assert facts["max_answer_bytes"] == 4 * 4 * _MAX_PIXELS  # RGBA, twice as high and wide.
    assert facts["tile_bytes"] > facts["tile_pixels"] > 0
    assert served.default_max_pixels(4) == 2**23  # Of 2**27 pixels a sixteenth.


def test_requests_over_the_limit_are_refused_by_name(module):
    for function, dtype, most, wide in (
        (module.serve, np.uint8, 40000, 401),
        (module.upscale_float, np.float32, 10000, 101),
    ):
        for shape, text in (
            ([1, 100, wide, 3], f"lr has {wide}x100 pixels.*at most {most}; cut"),
            ([4, 100, wide // 4 + 1, 3], f"4 pictures of .*at most {most} in all; send fewer"),
            ([1, 0, 5, 3], "no pixels"),
        ):
            with pytest.raises(tf.errors.InvalidArgumentError, match=text):
                function(np.zeros(shape, dtype))
    assert served._admit(tf.zeros([4, 25, 10, 3]), 1000).shape == [4, 25, 10, 3]


def test_files_share_one_limit(module):
    large, small = (_png(np.zeros([100, wide, 3], np.uint8)) for wide in (390, 20))
    made = module.upscale_bytes([large, small, b"bad", small[:-40], _png(_RGB)])
    status = made["status"].numpy()
    # 39,000 of 40,000 pixels, then 2,000 that do not fit, then 620 that do.
    assert [text == b"OK" for text in status] == [True, False, False, False, True]
    assert b"by itself" in status[1] and b"decoded" in status[3]


def test_numbers_of_files_and_of_queries_are_limited(module):
    assert module.upscale_bytes([b""] * 64)["status"].shape == [64]
    with pytest.raises(tf.errors.InvalidArgumentError, match="has 65 files.*at most 64"):
        module.upscale_bytes([b""] * 65)
    describe = module.signatures()["describe"]
    assert describe(tf.zeros([64], tf.int32))["scale"].shape == [64]
    with pytest.raises(tf.errors.InvalidArgumentError, match="has 65 values: at most 64"):
        describe(tf.zeros([65], tf.int32))


def test_a_limit_that_no_answer_holds_is_refused():
    # 2**31 bytes, less 1 MB, of five a pixel (RGBA, and a byte a row) of twice the sides.
    with pytest.raises(errors.InputError, match="max_pixels=107321754 .* hold 107321753 pixels"):
        served.ServedModule(_folded("lite"), _SCALE, max_pixels=107_321_754)


def _file(picture, kind, **options):
    stream = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _png(picture, **options):
    return _file(picture, "PNG", **options)


def _good():
    """Returns files by name; what Pillow reads from them has no transparency."""
    image = Image.fromarray(_RGB)
    palette = image.quantize(12)
    frames = [Image.fromarray(fixtures.photo_like(20, 31, seed)) for seed in range(3)]
    return {
        "rgb": _png(_RGB),
        "grey": _png(image.convert("L")),
        "1bit": _png(image.convert("1")),
        "palette": _png(palette),
        "opaque": _png(image.convert("RGBA")),
        "jpeg": _file(_RGB, "JPEG"),
        "progressive": _file(_RGB, "JPEG", progressive=True),
        "bmp": _file(_RGB, "BMP"),
        "masked": _masked_bmp(0xFF0000, 0xFF00, 0xFF),
        "bmp32": _file(image.convert("RGBA"), "BMP"),
        "gif": _file(palette, "GIF"),
        "animated": _file(frames[0], "GIF", save_all=True, append_images=frames[1:]),
    }


def _bad():
    """Returns files by what is said of them."""
    png, jpeg, gif, bmp = (_file(_RGB, kind) for kind in ("PNG", "JPEG", "GIF", "BMP"))
    canvas = gif[:6] + struct.pack("<HH", 32, 20) + gif[10:]  # The frame has 31 x 20.
    return {
        "is empty": [b""],
        "is not a PNG": [b"\x89", b"text" * 9, _file(_RGB, "TIFF"), _file(_RGB, "WEBP")],
        "truncated header": [png[:20], jpeg[:30], gif[:12], gif[: len(gif) // 2], bmp[:20]],
        "cannot be decoded": [png[:-90], png[:33], jpeg[:-90], bmp[:-90], _resized(png, 9, 9)],
        "other than 24 or 32 bits": [_file(Image.fromarray(_RGB).convert("L"), "BMP")],
        "are not blue, green, red": [_masked_bmp(0xFF000000, 0xFF0000, 0xFF00)],
        "first frame is not the whole": [canvas],
        "too many small blocks": [gif[:10] + b"\0\0\0\x21\xfe" + 500 * b"\x01a"],
        "501x1 pixels (width x height): this model takes at most 500 on a": [
            _png(np.zeros([1, 501, 3], np.uint8))
        ],
        "at most 40000": [
            # Each a thousandth of what it would take.
            *(_file(Image.new("L", (3000, 3000)), kind) for kind in ("PNG", "JPEG", "GIF")),
            _resized(png, 2**31 - 1, 2**31 - 1),
            bmp[:18] + struct.pack("<ii", 10**6, -(2**31)) + bmp[26:],
        ],
    }


def _masked_bmp(*masks):
    """Returns a BMP file of 2 x 2 pixels whose bits lie where `masks` (red, green, blue) say."""
    head = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 32, 3, 16, 0, 0, 0, 0)
    head += struct.pack("<III", *masks)
    pixels = struct.pack("<I", 0x11223344) * 4
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + 16, 0, 0, 14 + len(head)) + head + pixels


def _resized(png, width, height):
    """Returns a PNG file that says that it has this size."""
    return png[:16] + struct.pack(">II", width, height) + png[24:]


def test_files_become_what_their_pixels_become(module):
    made = module.upscale_bytes(list(_good().values()))
    for (name, file), output, status in zip(
        _good().items(), made["output_bytes"].numpy(), made["status"].numpy(), strict=True
    ):
        assert status == b"OK", name
        lr = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        found = Image.open(io.BytesIO(output))
        assert (found.format, found.mode) == ("PNG", "RGB"), name
        wanted = module.upscale(lr[None])["sr"][0].numpy().astype(int)
        # Two JPEG decoders may differ by a grey level of colour.
        atol = 12 if name in ("jpeg", "progressive") else 1
        np.testing.assert_allclose(np.asarray(found), wanted, atol=atol, err_msg=name)


def test_transparency_is_enlarged_too(module):
    alpha = np.tile(np.arange(0, 248, 8, dtype=np.uint8), [20, 1])
    rgba = np.dstack([_RGB, alpha])
    palette = Image.fromarray(_RGB).quantize(12)
    files = [_png(rgba), _png(palette, transparency=3)]
    made = [Image.open(io.BytesIO(x)) for x in module.upscale_bytes(files)["output_bytes"].numpy()]
    assert [x.mode for x in made] == ["RGBA"] * 2
    # Linear in x: the two new pixels lie a quarter of a step off. Bicubic keeps lines.
    columns = np.asarray(made[0])[10, 8:-8, 3].astype(int)
    np.testing.assert_allclose(columns, np.arange(4, 27).repeat(2) * 8 + [-2, 2] * 23, atol=1)
    opaque = np.asarray(made[1])[..., 3]
    assert opaque.min() == 0 and opaque.max() == 255


def test_colours_beneath_transparency_leave_no_fringe(module):
    colour = np.array([250, 180, 90], np.uint8)
    y, x = np.ogrid[:40, :40]
    alpha = np.where((y - 20) ** 2 + (x - 20) ** 2 < 100, 255, 0).astype(np.uint8)
    rgba = np.dstack([np.where(alpha[..., None] > 0, colour, 0).astype(np.uint8), alpha])
    (output,) = module.upscale_bytes([_png(rgba)])["output_bytes"].numpy()
    made = np.asarray(Image.open(io.BytesIO(output))).astype(int)
    wanted = module.upscale(np.tile(colour, [1, 40, 40, 1]))["sr"][0].numpy()
    seen = made[..., 3] > 0
    assert 1200 < seen.sum() < 1700  # 400 pi and an edge.
    np.testing.assert_allclose(made[seen][:, :3], wanted[seen], atol=1)


def test_png_files_are_a_million_pixels_wide_at_most():
    # `served._PNG_SIDE`. One more raises InternalError, after which TensorFlow 2.15's heap is
    # damaged: nobody may come to that, and no test of this process.
    assert tf.io.encode_png(tf.zeros([1, 1_000_000, 1], tf.uint8)).shape == []


def test_16_bits_are_rounded(module):
    deep = np.linspace(0, 65535, 20 * 31).astype(np.uint16).reshape(20, 31)
    lr = np.round(deep / 257).astype(np.uint8)  # 65535 / 255
    both = [_png(deep), _png(lr)]
    one, other = module.upscale_bytes(both)["output_bytes"].numpy()
    assert one == other


def test_bad_files_are_named_and_spoil_nothing(module):
    good = _png(_RGB)
    wanted = [(text, file) for text, files in _bad().items() for file in files]
    files = [x for _, file in wanted for x in (file, good)]
    made = module.upscale_bytes(files)
    statuses, outputs = made["status"].numpy(), made["output_bytes"].numpy()
    for (text, _), status in zip(wanted, statuses[::2], strict=True):
        assert text in status.decode() and b"\n" not in status
    assert set(statuses[1::2]) == {b"OK"}
    assert set(outputs[::2]) == {b""}
    assert len(set(outputs[1::2])) == 1
    assert module.upscale_bytes(tf.zeros([0], tf.string))["status"].shape == [0]


def test_export_compares_tiles(saved, monkeypatch):
    loaded, lr = tf.saved_model.load(saved), verification.photos()[0].lr
    found = verification._compare_tiles(loaded, lr)
    # A rim of 5 pixels, 3 x 5 + 1 a tile, and a little more than that.
    assert found["size"] == [19, 21] and found["max_difference"] <= 1

    def seam(picture):
        sr = loaded.upscale(picture)["sr"].numpy()
        sr[0, -1, -1, 0] ^= 64
        return {"sr": tf.constant(sr)}

    loaded.upscale_in_small_tiles = seam
    assert verification._compare_tiles(loaded, lr)["max_difference"] == 64
    monkeypatch.setattr(verification, "_MOST_TILED", 19 * 21 - 1)
    assert "not compared: with a rim of 5" in verification._compare_tiles(loaded, lr)


# What the C++ server does: the graph in a session, without any of TensorFlow's Python functions.
_SESSION = """
import os, sys
import numpy as np
import tensorflow.compat.v1 as tf

session = tf.Session(graph=tf.Graph())
with session.graph.as_default():
    signatures = tf.saved_model.loader.load(session, ["serve"], sys.argv[1]).signature_def

def call(name, value):
    (given,) = signatures[name].inputs.values()
    outputs = {key: tensor.name for key, tensor in signatures[name].outputs.items()}
    return session.run(outputs, {given.name: value})

data = dict(np.load(sys.argv[2], allow_pickle=True))
found = {"default": call("serving_default", data["lr"])["sr"]}
found["float"] = call("upscale_float", data["lr"].astype(np.float32) / 255)["sr"]
answer = call("upscale_bytes", data["files"])
try:
    call("serving_default", np.zeros([1, 100, 401, 3], np.uint8))
except tf.errors.InvalidArgumentError as error:
    found["refused"] = str(error)

def held():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("Threads")).split()[1])

before = held(), len(os.listdir("/proc/self/fd"))
for _ in range(100):
    call("upscale_bytes", data["files"][:3])
found["leaks"] = [held() - before[0], len(os.listdir("/proc/self/fd")) - before[1]]
np.savez(sys.argv[3], **found, **{key: np.array(x, object) for key, x in answer.items()})
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_in_a_session_of_a_fresh_process(module, saved, tmp_path):
    lr = np.stack([fixtures.photo_like(50, 60, seed) for seed in range(2)])
    files = [_png(_RGB), b"", _file(_RGB, "JPEG")[:-90], *_good().values()]
    given, taken = str(tmp_path / "in.npz"), str(tmp_path / "out.npz")
    np.savez(given, lr=lr, files=np.array(files, object))
    subprocess.run(
        [sys.executable, "-c", _SESSION, saved, given, taken],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    found = dict(np.load(taken, allow_pickle=True))
    whole = module.upscale(lr)["sr"].numpy().astype(int)
    np.testing.assert_allclose(found["default"], whole, atol=1)
    np.testing.assert_allclose(found["float"] * 255, whole, atol=0.51)
    assert "401x100 pixels" in str(found["refused"])
    wanted = module.upscale_bytes(files)
    assert list(found["status"]) == list(wanted["status"].numpy())
    assert list(found["output_bytes"]) == list(wanted["output_bytes"].numpy())
    threads, handles = found["leaks"]
    assert threads <= 2 and handles <= 0
