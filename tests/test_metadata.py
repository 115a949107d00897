"""metadata.py: what files say beside their pixels goes from the input to the output."""

import io
import struct
import zlib

import fixtures
import numpy as np
import PIL
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from srgan_tf import metadata, photos, png

RGB = fixtures.photo_like(30, 44)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" '
    b'exif:PixelXDimension="44"/><tiff:ImageLength>30</tiff:ImageLength></x:xmpmeta>'
)
ENDINGS = ("png", "jpg", "webp", "tif")
Base, IFD = ExifTags.Base, ExifTags.IFD


def _exif(orientation=6):
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    exif[Base.Make], exif[Base.Artist], exif[Base.Software] = "Maker", "Someone", "firmware 1"
    exif[Base.ImageWidth], exif[Base.ImageLength] = 44, 30
    exif[IFD.Exif] = {
        Base.ExifImageWidth: 44,
        Base.ExifImageHeight: 30,
        Base.DateTimeOriginal: "2020:01:02 03:04:05",
    }
    exif[IFD.GPSInfo] = {1: "N", 2: (48.0, 30.0, 1.5)}
    return exif


def _encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return io.BytesIO(stream.getvalue())


def _written(photo, path, size=(88, 60), quality=95):
    """Writes a picture of `size` (height, width) with what `photo` came with; opens it again."""
    about = metadata.finished(photo.about, size, metadata.software("1.0", "abc123"))
    pixels = np.zeros([*size, 3], np.uint8)
    photos.save(str(path), pixels, grey=photo.is_grey, about=about, quality=quality)
    image = Image.open(path)
    image.load()
    return image


def _xmp_of(image):
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    found = found or (image.tag_v2.get(700) if image.format == "TIFF" else None)
    for _, body in [] if found else getattr(image, "applist", ()):  # Pillow before 11.
        if body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            found = body[29:]
    return found.encode() if isinstance(found, str) else bytes(found or b"")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_everything_goes_from_every_format_to_every_format(kind, ending, tmp_path):
    options = {"exif": _exif().tobytes(), "icc_profile": SRGB, "dpi": (300, 300)}
    if kind in ("WEBP", "JPEG"):
        options["xmp"] = XMP
    source = _encoded(Image.fromarray(RGB), kind, **options)
    if kind == "JPEG" and b"ns.adobe.com" not in source.getvalue():
        options["extra"] = b"\xff\xe1" + struct.pack(">H", len(XMP) + 31)
        options["extra"] += b"http://ns.adobe.com/xap/1.0/\0" + XMP
        source = _encoded(Image.fromarray(RGB), kind, **options)
    photo = photos.load(source)
    assert photo.rgb.shape == (44, 30, 3)
    image = _written(photo, tmp_path / f"out.{ending}")
    exif = image.getexif()
    assert exif[Base.Orientation] == 1
    assert (exif[Base.Make], exif[Base.Artist]) == ("Maker", "Someone")
    assert exif[Base.Software] == "srgan_tf 1.0; model abc123"
    details = exif.get_ifd(IFD.Exif)
    assert details[Base.DateTimeOriginal] == "2020:01:02 03:04:05"
    assert (details[Base.ExifImageWidth], details[Base.ExifImageHeight]) == (60, 88)
    assert exif.get_ifd(IFD.GPSInfo)[2] == (48.0, 30.0, 1.5)
    assert exif.get(Base.ImageWidth) in (None, 60)  # TIFF's own is the true one.
    assert len(image.info["icc_profile"]) == len(SRGB)
    if kind != "WEBP" and ending != "webp":  # Which has no resolution of its own.
        assert [round(float(x)) for x in image.info["dpi"]] == [300, 300]
    if "xmp" in options:
        expected = XMP.replace(b'Orientation="6"', b'Orientation="1"')
        expected = expected.replace(b'"44"', b'"60"').replace(b">30<", b">88<")
        assert _xmp_of(image) == expected
    assert photos.made_by(str(tmp_path / f"out.{ending}")) == "abc123"
    assert photos.load(str(tmp_path / f"out.{ending}")).rgb.shape == (88, 60, 3)


def test_thumbnails_are_left_out(tmp_path):
    # A first folder with nothing but the camera and a second one, which is the thumbnail's.
    small = _encoded(Image.fromarray(RGB[:8, :8]), "JPEG").getvalue()
    first = struct.pack("<HHHII", 1, 0x10F, 2, 4, int.from_bytes(b"Cam\0", "little"))
    second = struct.pack("<H", 2) + struct.pack("<HHII", 0x201, 4, 1, 56)
    second += struct.pack("<HHII", 0x202, 4, 1, len(small)) + bytes(4)
    block = b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", 26) + second
    assert len(block) == 56
    block += small
    source = _encoded(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0" + block)
    assert small in source.getvalue()
    photo = photos.load(source)
    _written(photo, tmp_path / "out.jpg")
    data = (tmp_path / "out.jpg").read_bytes()
    assert b"Cam" in data and data.count(b"\xff\xd8\xff") == 1


def test_texts_of_png_stay_and_comments_travel(tmp_path):
    info = {"parameters": "a cat, steps: 20", "Title": "Käse \u4e16"}
    stream = io.BytesIO()
    noted = PngImagePlugin.PngInfo()
    for key, text in info.items():
        noted.add_itxt(key, text)
    noted.add_text("Comment", "hello", zip=True)
    noted.add_text("Raw profile type exif", "exif\n 8\n4d4d")
    Image.fromarray(RGB).save(stream, "PNG", pnginfo=noted)
    photo = photos.load(io.BytesIO(stream.getvalue()))
    image = _written(photo, tmp_path / "out.png")
    assert image.text == {**info, "Comment": "hello", "Software": "srgan_tf 1.0; model abc123"}
    assert _written(photo, tmp_path / "out.jpg").info["comment"] == b"hello"


def test_a_profile_stays_only_where_the_pixels_are_its_own(tmp_path):
    ink = Image.new("CMYK", (8, 8))
    cmyk = SRGB[:16] + b"CMYK" + SRGB[20:]
    for profile in (cmyk, SRGB):
        assert photos.load(_encoded(ink, "JPEG", icc_profile=profile)).about.icc is None
    grey = Image.fromarray(RGB[..., 0])
    photo = photos.load(_encoded(grey, "JPEG", icc_profile=GREY_PROFILE))
    for ending, expected in (("png", GREY_PROFILE), ("jpg", GREY_PROFILE), ("tif", GREY_PROFILE)):
        image = _written(photo, tmp_path / f"grey.{ending}")
        assert image.mode == "L" and (image.info["icc_profile"] == expected) is True
    assert "icc_profile" not in _written(photo, tmp_path / "grey.webp").info
    assert photos.load(_encoded(grey, "PNG", icc_profile=SRGB)).about.icc is None
    colour = Image.fromarray(RGB)
    assert photos.load(_encoded(colour, "PNG", icc_profile=GREY_PROFILE)).about.icc is None
    assert photos.load(_encoded(colour, "PNG", icc_profile=SRGB[:200])).about.icc is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_blocks_larger_than_a_format_holds_do_not_stop_the_picture(ending, tmp_path):
    exif = _exif()
    exif[IFD.Exif] = {Base.MakerNote: bytes(70_000), Base.DateTimeOriginal: "2020:01:02 03:04:05"}
    packet = XMP + b" " * 70_000
    source = _encoded(Image.fromarray(RGB), "WEBP", exif=exif, xmp=packet, lossless=True)
    image = _written(photos.load(source), tmp_path / f"out.{ending}")
    assert image.getexif()[Base.Orientation] == 1 and image.getexif()[Base.Make] == "Maker"
    assert (ending == "jpg") != (len(_xmp_of(image)) > 70_000)


def test_huge_blocks_are_left_out():
    exif = _exif()
    exif[IFD.Exif] = {Base.MakerNote: bytes(metadata.LARGEST["exif"])}
    packet = XMP + b" " * metadata.LARGEST["xmp"]
    about = photos.load(_encoded(Image.fromarray(RGB), "WEBP", exif=exif, xmp=packet)).about
    assert about.xmp is None and len(about.exif or b"") < 1000


def _with_chunks(*chunks):
    data = _encoded(Image.fromarray(RGB), "PNG").getvalue()
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return io.BytesIO(data[:33] + made + data[33:])  # Behind IHDR.


@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"bomb\0\0" + zlib.compress(bytes(80 << 20))),
        (b"iCCP", b"name\0\0" + zlib.compress(bytes(40 << 20))),
        (b"iCCP", b"name\0\x07rubbish"),
        (b"iTXt", b"no end"),
        (b"pHYs", b"\0"),
        (b"cHRM", b"\0" * 7),
        (b"gAMA", b""),
        (b"sRGB", b""),
        (b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    ],
    ids=lambda chunk: chunk[0].decode(),
)
def test_broken_chunks_do_not_spoil_a_png(chunk):
    file = _with_chunks(chunk)
    assert photos.size(file) == (30, 44)
    file.seek(0)
    photo = photos.load(file)
    np.testing.assert_array_equal(photo.rgb, RGB)
    assert sum(map(len, filter(None, [photo.about.icc, photo.about.exif]))) < 100


def test_what_is_essential_is_what_pixels_need():
    file = _with_chunks((b"tEXt", b"a\0b"))
    same = png.essential(file) == _encoded(Image.fromarray(RGB), "PNG").getvalue()
    assert same
    assert png.essential(io.BytesIO(b"\xff\xd8\xff")) is None


def test_colours_of_a_png_without_profile_stay(tmp_path):
    gamma = (b"gAMA", struct.pack(">I", 100_000))
    photo = photos.load(_with_chunks(gamma))
    assert _written(photo, tmp_path / "out.png").info["gamma"] == 1.0


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_picture_without_anything_says_who_made_it(ending, tmp_path):
    path = tmp_path / f"out.{ending}"
    _written(photos.load(_encoded(Image.fromarray(RGB), "PNG")), path)
    assert photos.made_by(str(path)) == "abc123"
    exif = Image.open(path).getexif()
    assert IFD.Exif not in exif and IFD.GPSInfo not in exif
    Image.fromarray(RGB).save(path)
    assert photos.made_by(str(path)) is None
    path.write_bytes(b"the user's own")
    assert photos.made_by(str(path)) is None


def test_orientation_that_only_xmp_tells():
    if int(PIL.__version__.split(".")[0]) < 11:
        pytest.skip("older Pillows do not read it")
    file = _encoded(Image.fromarray(RGB), "WEBP", xmp=XMP)
    assert photos.size(file) == photos.load(io.BytesIO(file.getvalue())).rgb.shape[:2] == (44, 30)
    png_file = _with_chunks((b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP))
    assert photos.size(png_file) == photos.load(io.BytesIO(png_file.getvalue())).rgb.shape[:2]
