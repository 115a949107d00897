"""Photos in every format and state that users have them in."""

import io
import pickle
import struct
import zlib

import fixtures
import numpy as np
import pytest
from PIL import Image, ImageCms, features

from srgan_tf import deep_pixels, errors, photos

RGB = fixtures.photo_like(30, 44)
GREY = RGB[..., 0]


def _encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return io.BytesIO(stream.getvalue())


def _loaded(array, kind, **options):
    return photos.load(_encoded(Image.fromarray(array), kind, **options))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_keep_every_pixel(kind):
    photo = _loaded(RGB, kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(photo.rgb, RGB)
    assert photo.alpha is None
    assert not photo.is_grey


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "JPEG2000"])
def test_lossy_formats_are_close(kind):
    smooth = np.asarray(Image.fromarray(RGB).resize((88, 60), Image.Resampling.BICUBIC))
    assert np.abs(_loaded(smooth, kind).rgb.astype(int) - smooth).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation, kind):
    # What a viewer shows for each orientation value, by the EXIF standard's table.
    upright = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(_loaded(RGB, kind, exif=exif).rgb, upright)
    assert photos.size(_encoded(Image.fromarray(RGB), kind, exif=exif)) == upright.shape[:2]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_broken_metadata_do_not_spoil_the_pixels(kind):
    options = {"exif": b"Exif\0\0MM\0*", **({"lossless": True} if kind == "WEBP" else {})}
    file = _encoded(Image.fromarray(RGB), kind, **options)
    assert photos.size(file) == RGB.shape[:2]
    file.seek(0)
    np.testing.assert_array_equal(photos.load(file).rgb, RGB)


def test_size_is_read_from_the_header_alone(tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(_encoded(Image.fromarray(RGB), "PNG").getvalue()[:60])
    assert photos.size(str(path)) == RGB.shape[:2]
    with pytest.raises(photos.PhotoError):
        photos.load(str(path))


def test_grey_becomes_three_equal_channels():
    photo = _loaded(GREY, "PNG")
    np.testing.assert_array_equal(photo.rgb, np.stack([GREY] * 3, -1))
    assert photo.is_grey


def test_bilevel_is_black_and_white():
    photo = photos.load(_encoded(Image.fromarray(GREY > 128), "PNG"))
    np.testing.assert_array_equal(photo.rgb[..., 1], np.where(GREY > 128, 255, 0))
    assert photo.is_grey


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_and_rounded(kind):
    # 257 = 65535 / 255 is exactly one level; 128 is just below, 129 just above half of it.
    wide = np.array([[0, 128, 129, 257, 25700, 65535]], np.uint16)
    photo = photos.load(_encoded(Image.fromarray(wide), kind))
    assert photo.rgb[0, :, 0].tolist() == [0, 0, 1, 1, 100, 255]
    assert photo.is_grey


@pytest.mark.parametrize("grey", [False, True])
def test_alpha_is_kept_apart_and_colours_below_it_too(grey):
    alpha = np.arange(RGB[..., 0].size, dtype=np.uint32).reshape(GREY.shape).astype(np.uint8)
    colours = GREY[..., None] if grey else RGB
    photo = _loaded(np.dstack([colours, alpha]), "PNG")
    np.testing.assert_array_equal(photo.alpha, alpha)
    np.testing.assert_array_equal(photo.rgb, np.broadcast_to(colours, RGB.shape))
    assert photo.is_grey == grey


def test_palette_with_a_transparent_colour():
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    photo = photos.load(_encoded(image, "PNG", transparency=1))
    assert photo.rgb.tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]]
    assert photo.alpha.tolist() == [[255, 0], [255, 0]]


def test_cmyk_without_profile():
    ink = np.zeros([2, 2, 4], np.uint8)
    ink[0, 0] = [0, 255, 255, 0]  # Magenta and yellow are red; all of black is black.
    ink[1, 1] = [0, 0, 0, 255]
    photo = photos.load(_encoded(Image.fromarray(ink, "CMYK"), "TIFF"))
    assert photo.rgb.tolist() == [[[255, 0, 0], [255] * 3], [[255] * 3, [0, 0, 0]]]


def test_cmyk_with_a_useless_profile_is_still_read():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(np.zeros([4, 4, 4], np.uint8), "CMYK")
    assert photos.load(_encoded(image, "TIFF", icc_profile=profile)).rgb.min() == 255


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(kind):
    red, blue = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = photos.load(_encoded(red, kind, save_all=True, append_images=[blue], **options))
    assert (photo.rgb == [255, 0, 0]).all()


def _bytes_of(kind, size=(200, 160)):
    return _encoded(Image.fromarray(fixtures.photo_like(*size)), kind).getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_half_a_file_is_refused(kind):
    data = _bytes_of(kind)
    with pytest.raises(photos.PhotoError) as caught:
        photos.load(io.BytesIO(data[: len(data) // 2]))
    assert caught.value.kind in ("truncated", "corrupt")


def test_flipped_bytes_are_refused():
    data = bytearray(_bytes_of("PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(photos.PhotoError, match="corrupt"):
        photos.load(io.BytesIO(bytes(data)))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"hello world, this is no picture", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"\x89PNG\r\n\x1a\nrubbish", "corrupt"),
    ],
)
def test_what_is_no_photo_says_why(data, kind):
    with pytest.raises(photos.PhotoError) as caught:
        photos.load(io.BytesIO(data))
    assert caught.value.kind == kind
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_heic_is_told_apart():
    with pytest.raises(photos.PhotoError, match="HEIC"):
        photos.load(io.BytesIO(b"\0\0\0\x18ftypheic\0\0\0\0"))


def test_a_bomb_is_refused_from_its_header(tmp_path):
    # 20,000 x 20,000 black pixels in under 60 kB; decoding them would take 400 MB.
    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    with pytest.raises(photos.PhotoError, match="too many pixels: 20000x20000"):
        photos.load(str(bomb))


def test_the_pixel_limit_is_the_callers_and_exact():
    data = _encoded(Image.fromarray(RGB), "PNG")
    assert photos.load(data, max_pixels=30 * 44).rgb.shape == (30, 44, 3)
    with pytest.raises(photos.PhotoError, match="too many pixels"):
        photos.load(data, max_pixels=30 * 44 - 1)
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's own setting is as it was.


def test_floating_point_pixels_are_unsupported():
    with pytest.raises(photos.PhotoError, match="unsupported"):
        _loaded(np.zeros([4, 4], np.float32), "TIFF")


def test_a_missing_file_is_unreadable_not_a_traceback(tmp_path):
    with pytest.raises(photos.PhotoError, match="unreadable: No such file"):
        photos.load(str(tmp_path / "none.png"))


def test_arrays_of_other_types_are_unsupported():
    with pytest.raises(photos.PhotoError, match="float32"):
        photos.from_array(np.zeros([4, 4, 3], np.float32))


@pytest.mark.parametrize("extension", ["png", "tiff", "bmp"])
def test_save_and_load_are_inverse(tmp_path, extension):
    path = str(tmp_path / f"photo.{extension}")
    photos.save(path, RGB)
    np.testing.assert_array_equal(photos.load(path).rgb, RGB)


def test_save_keeps_alpha_and_grey(tmp_path):
    path = str(tmp_path / "photo.png")
    alpha = GREY // 2
    photos.save(path, np.stack([GREY] * 3, -1), alpha, grey=True)
    photo = photos.load(path)
    np.testing.assert_array_equal(photo.alpha, alpha)
    np.testing.assert_array_equal(photo.rgb[..., 2], GREY)
    assert photo.is_grey


def test_jpeg_is_put_on_white(tmp_path):
    path = str(tmp_path / "photo.jpg")
    photos.save(path, np.zeros([16, 16, 3], np.uint8), np.zeros([16, 16], np.uint8))
    assert photos.load(path).rgb.min() >= 254


def test_save_refuses_other_extensions(tmp_path):
    with pytest.raises(errors.InputError, match=r"\.png, \.jpg"):
        photos.save(str(tmp_path / "photo.xyz"), RGB)


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_the_largest_sides_are_those_of_the_encoders(extension, tmp_path):
    path = str(tmp_path / f"wide{extension}")
    limit = photos.LARGEST_SIDES[photos.require_format(path)]
    row = np.zeros([1, limit + 1, 3], np.uint8)
    photos.save(path, row[:, :limit])
    assert Image.open(path).size == (limit, 1)
    with pytest.raises((OSError, ValueError)):
        photos.save(path, row)


def test_find_gives_sorted_paths(tmp_path):
    for name in ("b.png", "a.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert photos.find([str(tmp_path)]) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.png")]


def _png_of_16_bits(array, *chunks):
    """Returns a PNG of uint16 `[H, W, C]`, which Pillow does not write for colours."""
    height, width, channels = array.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    made = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in body
    )
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(made))


def _tiff_of_16_bits(array, order="<", compression=1, **tags):
    """Returns a TIFF of uint16 `[H, W, C]`."""
    return _tiff([array.astype(f"{order}u2").tobytes()], array.shape, order, compression, **tags)


def _tiff(planes, shape, order="<", compression=1, *, bits=16, photometric=2, planar=1):
    """Returns a TIFF, raw or deflated (8), of the pixels in `planes`: one, or each channel's."""
    height, width, channels = shape
    planes = [zlib.compress(one) if compression == 8 else one for one in planes]
    entries = [(256, "I", [width]), (257, "I", [height]), (258, "H", [bits] * channels)]
    entries += [(259, "H", [compression]), (262, "H", [photometric]), (273, "I", planes)]
    entries += [(277, "H", [channels]), (278, "I", [height]), (279, "I", [len(x) for x in planes])]
    entries += [(284, "H", [planar])] + ([(338, "H", [2])] if channels == 4 else [])
    behind, folder = b"", struct.pack(f"{order}H", len(entries))
    start = 8 + 2 + 12 * len(entries) + 4

    def place(data):
        nonlocal behind
        behind += data
        return start + len(behind) - len(data)

    for tag, kind, values in entries:
        if tag == 273:
            values = [place(plane) for plane in values]
        data = struct.pack(f"{order}{len(values)}{kind}", *values)
        data = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", place(data))
        number = {"H": 3, "I": 4}[kind]
        folder += struct.pack(f"{order}HHI", tag, number, len(values)) + data
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    return io.BytesIO(head + folder + bytes(4) + behind)


# 257 is one level of 255; 128 is just below half of it, 129 just above: cut off, both would be 0.
WIDE = np.array([0, 128, 129, 255, 257, 25700 + 128, 25700 + 129, 65535], np.uint16)
NARROW = [0, 0, 1, 1, 1, 100, 101, 255]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_is_rounded(channels):
    array = np.stack([np.roll(WIDE, shift) for shift in range(channels)], -1)[None]
    photo = photos.load(_png_of_16_bits(array))
    expected = np.stack([np.roll(NARROW, shift) for shift in range(channels)], -1)
    assert photo.was_deep and photo.is_grey == (channels < 3)
    np.testing.assert_array_equal(photo.rgb[0], expected[:, : 1 if channels < 3 else 3] * [1, 1, 1])
    if channels in (2, 4):
        np.testing.assert_array_equal(photo.alpha[0], expected[:, -1])
    assert not _loaded(RGB, "PNG").was_deep


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_of_16_bits_is_rounded(order, compression, channels):
    array = np.stack([np.roll(WIDE, shift) for shift in range(channels)], -1)[None]
    photo = photos.load(_tiff_of_16_bits(array, order, compression))
    expected = np.stack([np.roll(NARROW, shift) for shift in range(channels)], -1)
    assert photo.was_deep
    np.testing.assert_array_equal(photo.rgb[0], expected[:, :3])
    assert channels == 3 or photo.alpha[0].tolist() == expected[:, 3].tolist()


@pytest.mark.parametrize("compression", [1, 8])
def test_tiff_of_grey_that_is_stored_in_another_way(compression):
    # White is zero: 0 is white, and 128 of 65535 just white, too.
    inverted = _tiff_of_16_bits(WIDE[None, :, None], "<", compression, photometric=0)
    photo = photos.load(inverted)
    assert photo.rgb[0, :, 0].tolist() == [255, 255, 254, 254, 254, 155, 154, 0]
    assert photo.was_deep and photo.is_grey
    picture = photos.from_picture(Image.open(inverted))
    np.testing.assert_array_equal(picture.rgb, photo.rgb)
    # Of 12 bits two pixels are three bytes. 4095 is white; 8 is 127.8 / 257 of a level, 9 more.
    packed = bytes.fromhex("000008 009010 fff7ff")
    photo = photos.load(_tiff([packed], (1, 6, 1), compression=compression, bits=12, photometric=1))
    assert photo.rgb[0, :, 0].tolist() == [0, 0, 1, 1, 255, 127] and photo.was_deep


def test_tiffs_that_pillow_would_decode_to_something_else_are_refused():
    array = np.arange(48, dtype=np.uint16).reshape(4, 4, 3)
    planes = [array[..., channel].tobytes() for channel in range(3)]
    with pytest.raises(photos.PhotoError, match="unsupported: .* 16 bits a channel in separate"):
        photos.load(_tiff(planes, array.shape, planar=2))
    eight = [array[..., channel].astype(np.uint8).tobytes() for channel in range(3)]
    photo = photos.load(_tiff(eight, array.shape, bits=8, planar=2))
    np.testing.assert_array_equal(photo.rgb, array)
    with pytest.raises(photos.PhotoError, match="damaged, or of a kind that is not read"):
        photos.load(_tiff([array[..., 0].tobytes()], (4, 4, 1), ">", photometric=0))


def test_every_format_of_more_than_8_bits_says_so():
    wide = (np.arange(48, dtype=">u2") * 1300).reshape(4, 4, 3)
    for bits, deep in ((65_535, True), (255, False)):
        pixels = wide.tobytes() if deep else wide.astype(np.uint8).tobytes()
        photo = photos.load(io.BytesIO(f"P6 4 4 {bits} ".encode() + pixels))
        assert photo.was_deep == deep and not photo.is_grey
    # JPEG 2000 of 16-bit colours, of which there is no encoder: the header alone is changed.
    data = bytearray(_encoded(Image.fromarray(RGB), "JPEG2000").getvalue())
    assert not photos.load(io.BytesIO(bytes(data))).was_deep
    assert _loaded(GREY.astype(np.uint16) * 200, "JPEG2000").was_deep
    at = data.index(b"\xff\x4f\xff\x51") + 42
    assert data[at] == 7  # One less than the bits.
    data[at] = 15
    assert deep_pixels.is_deep(Image.open(io.BytesIO(bytes(data))))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_of_more_than_8_bits_says_so():
    data = bytearray(_encoded(Image.fromarray(RGB), "AVIF").getvalue())
    assert not photos.load(io.BytesIO(bytes(data))).was_deep
    data[data.index(b"av1C") + 6] |= 0x40  # high_bitdepth
    at = data.index(b"pixi") + 9  # Behind version, flags and the number of channels: their bits.
    data[at : at + 3] = [10, 10, 10]
    assert deep_pixels.is_deep(Image.open(io.BytesIO(bytes(data))))


def test_further_pages_of_a_tiff_are_noticed():
    page, small = Image.fromarray(RGB), Image.fromarray(RGB[:8, :8])
    several = _encoded(page, "TIFF", save_all=True, append_images=[page])
    photo = photos.load(several)
    np.testing.assert_array_equal(photo.rgb, RGB)
    assert photo.has_more_pages
    data = bytearray(_encoded(page, "TIFF", save_all=True, append_images=[small]).getvalue())
    assert photos.load(io.BytesIO(bytes(data))).has_more_pages
    assert not _loaded(RGB, "TIFF").has_more_pages and not _loaded(RGB, "PNG").has_more_pages


def test_16_bits_are_turned_and_keyed_like_8():
    array = np.arange(12, dtype=np.uint16).reshape(2, 2, 3) * 257
    exif = Image.Exif()
    exif[0x0112] = 6
    chunks = [(b"eXIf", exif.tobytes()[6:]), (b"tRNS", array[0, 1].astype(">u2").tobytes())]
    photo = photos.load(_png_of_16_bits(array, *chunks))
    np.testing.assert_array_equal(photo.rgb, np.rot90(array // 257, -1))
    assert photo.alpha.tolist() == [[255, 255], [255, 0]]  # Top right has become bottom right.
    grey = photos.load(_png_of_16_bits(WIDE[None, :, None], (b"tRNS", b"\x01\x01")))
    assert grey.alpha.tolist() == [[255, 255, 255, 255, 0, 255, 255, 255]]


@pytest.mark.parametrize("ending", ["jpg", "tif", "png", "bmp"])
def test_grey_stays_grey_in_every_format_that_has_it(ending, tmp_path):
    path = str(tmp_path / f"grey.{ending}")
    photos.save(path, np.stack([GREY] * 3, -1), grey=True)
    assert Image.open(path).mode == "L" and photos.load(path).is_grey


def test_pictures_of_pillow_are_read_like_files_and_stay_as_they_are():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(_encoded(Image.fromarray(RGB), "PNG", exif=exif))
    photo = photos.from_picture(image)
    np.testing.assert_array_equal(photo.rgb, np.rot90(RGB, -1))
    assert image.size == (44, 30) and image.getexif()[0x0112] == 6
    np.testing.assert_array_equal(photos.from_picture(Image.fromarray(RGB)).rgb, RGB)
