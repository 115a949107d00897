"""Reads and writes photos as users have them; Pillow and NumPy only, no TensorFlow.

What a file holds becomes uint8 RGB `[H, W, 3]`, upright, with alpha kept apart. The pixel count is
checked from the header, before anything is decoded. Colour profiles are kept (metadata.py) but not
applied, except that of CMYK.
"""

import contextlib
import dataclasses
import functools
import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from srgan_tf import deep_pixels, errors, files, metadata, png

DEFAULT_MAX_PIXELS = 200_000_000

# By which pictures are told from other files in a folder; what they hold decides how they are read.
EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"),
)

# No EPS or PDF: Pillow hands those to an external interpreter.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"II*\0", b"MM\0*", b"BM", b"GIF8")
_HEIC = (b"ftyphei", b"ftyphev", b"ftypmif", b"ftypmsf")
# Of JPEG and WebP; Pillow's own 75 shows blocks in what was just made sharp.
DEFAULT_QUALITY = 95
LOSSY = ("JPEG", "WEBP")

_SAVED_AS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
WRITABLE = tuple(_SAVED_AS)
# In pixels, of what `save` writes; the others hold more than fits into memory.
LARGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383}
_GREY = ("1", "L", "LA", "La")
# EXIF orientations that exchange height and width.
_LYING = (5, 6, 7, 8)
_header_lock = threading.Lock()


class PhotoError(errors.InputError):
    """A file cannot be used as a photo: `kind` in a few words, `detail`; the path is not in it."""

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail

    def __reduce__(self):
        return PhotoError, (self.kind, self.detail)


@dataclasses.dataclass(frozen=True)
class Photo:
    """A decoded photo: `rgb` uint8 `[H, W, 3]`, not premultiplied; `alpha` uint8 `[H, W]`.

    `was_deep`: it had more than 8 bits a channel; `has_more_pages`: it is the first of several.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    is_grey: bool
    was_deep: bool = False
    has_more_pages: bool = False
    about: metadata.Metadata = metadata.Metadata()


def find(inputs: Sequence[str]) -> list[str]:
    """Returns the files that `inputs` (files, folders, globs) name, sorted, each once.

    Every file is returned, whether it is a photo or not: `load` says so. See `files.find`.
    """
    return sorted(found.path for group in files.find(inputs) for found in group)


def load(source: str | BinaryIO, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Photo:
    """Decodes a path or a file-like object; the first frame or page of several.

    EXIF orientation is applied; 16 bits a channel are rounded to 8; palettes, CMYK and bilevel
    pictures become RGB; grey is repeated into three channels. A PNG whose chunks beside the pixels
    are broken is read without them.

    Raises:
        PhotoError: it is unreadable, empty, no image, corrupt, truncated, too large or unsupported.
    """
    return _mended(_load, source, max_pixels)


def from_picture(image: Image.Image) -> Photo:
    """Returns the photo in a picture of Pillow's, upright, as `load` does for a file.

    Raises:
        PhotoError: it is corrupt, truncated or unsupported.
    """
    with _decoding_errors():
        _require_supported(image)
        stored = deep_pixels.stored_grey(image)
        image.load()
        about = metadata.read(image, grey=image.mode in _GREY or image.mode.startswith("I"))
        with contextlib.suppress(Exception):
            image = ImageOps.exif_transpose(image)  # Not in place: it is the caller's.
        return dataclasses.replace(_to_photo(image, stored), about=about)


def size(source: str | BinaryIO, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """Returns (height, width) of what `load` would return, from the file's header alone.

    Raises:
        PhotoError: as in `load`, for what the header shows.
    """
    return _mended(_size, source, max_pixels)


def from_array(array: np.ndarray) -> Photo:
    """Returns the photo in `[H, W]` or `[H, W, C]` of uint8 or uint16; C = 1, 2, 3 or 4.

    Raises:
        PhotoError: another shape or type.
    """
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or array.dtype not in (np.uint8, np.uint16):
        raise PhotoError("unsupported", f"an array of {array.dtype}, shape {list(array.shape)}")
    deep = array.dtype == np.uint16
    if deep:
        array = deep_pixels.to_eight(array)
    channels = array.shape[2]
    colours = array[..., : 1 if channels < 3 else 3]
    alpha = array[..., -1].copy() if channels in (2, 4) else None
    rgb = np.ascontiguousarray(np.broadcast_to(colours, (*array.shape[:2], 3)))
    return Photo(rgb, alpha, is_grey=channels < 3, was_deep=deep)


def flatten(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Returns `rgb` as a viewer shows it on white; what lies below transparency is arbitrary."""
    if alpha is None:
        return rgb
    picture = Image.fromarray(np.dstack([rgb, alpha]))
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture))[..., :3].copy()


def save(
    path: str,
    rgb: np.ndarray,
    alpha: np.ndarray | None = None,
    *,
    quality: int = DEFAULT_QUALITY,
    grey: bool = False,
    about: metadata.Metadata | None = None,
) -> None:
    """Writes uint8 RGB `[H, W, 3]` (and alpha `[H, W]`) atomically, in the extension's format.

    JPEG and BMP hold no alpha: the picture is put on white. `quality` (1 to 100) is for JPEG and
    WebP; `grey` writes one channel where the format has it; of `about` goes in what fits.

    Raises:
        errors.InputError: the extension names no format that can be written.
    """
    kind = require_format(path)
    if alpha is not None and kind in ("JPEG", "BMP"):
        rgb, alpha = flatten(rgb, alpha), None
    picture = Image.fromarray(rgb)
    picture = picture.convert("L") if grey else picture
    if alpha is not None:
        picture.putalpha(Image.fromarray(alpha))
    options = {
        "JPEG": {"quality": quality} | ({} if grey else {"subsampling": 0}),
        "WEBP": {"quality": quality, "exact": True},
    }.get(kind, {})
    if kind == "PNG":
        chunks = metadata.png_chunks(about) if about else []
        pixels = np.asarray(picture).reshape(*rgb.shape[:2], -1)
        files.write_atomically(path, png.encode([pixels], *pixels.shape, chunks))
        return
    if about:
        if kind == "WEBP" and grey:  # It has no grey.
            about = dataclasses.replace(about, icc=None)
        options |= metadata.save_options(about, kind)
    encoded = io.BytesIO()
    picture.save(encoded, kind, **options)
    files.write_atomically(path, [encoded.getbuffer()])


def made_by(path: str) -> str | None:
    """Returns the model that has written a picture, by its header; None if it does not say so."""
    with contextlib.suppress(PhotoError), _opened(path, sys.maxsize) as image:
        return metadata.made_by(image)
    return None


def require_format(path: str) -> str:
    """Returns Pillow's name of the format that `path` asks for by its extension.

    Raises:
        errors.InputError: it is none that `save` can write.
    """
    kind = _SAVED_AS.get(os.path.splitext(path)[1].lower())
    if kind is None:
        choices = ", ".join(_SAVED_AS)
        raise errors.InputError(f"cannot write {path}: choose one of the extensions {choices}")
    return kind


_Result = TypeVar("_Result")


def _mended(
    function: Callable[[str | BinaryIO, int], _Result], source: str | BinaryIO, max_pixels: int
) -> _Result:
    """Calls `function`, and once more with a PNG's essential chunks if it finds it broken."""
    start = 0 if isinstance(source, str) else source.tell()
    try:
        return function(source, max_pixels)
    except PhotoError as error:
        if error.kind != "corrupt":
            raise
        try:
            if isinstance(source, str):
                with files.open_file(source) as stream:
                    essential = png.essential(stream)
            else:
                source.seek(start)
                essential = png.essential(source)
            if essential is not None:
                return function(io.BytesIO(essential), max_pixels)
        except (PhotoError, OSError):
            pass
        raise


def _load(source: str | BinaryIO, max_pixels: int) -> Photo:
    with _opened(source, max_pixels) as image, _decoding_errors():
        _require_supported(image)
        modes, stored = deep_pixels.raw_modes(image), deep_pixels.stored_grey(image)
        deep = deep_pixels.is_deep(image)
        image.load()
        grey = image.mode in _GREY or image.mode.startswith("I")
        about = metadata.read(image, grey=grey or deep_pixels.is_grey_alpha(modes))
        _upright(image)
        if deep_pixels.in_two(modes):
            with _opened(source, max_pixels) as lower:
                deep_pixels.ask_for_lower(lower)
                lower.load()
                _upright(lower)
                wide = deep_pixels.joined(image, lower, modes)
            photo = from_array(deep_pixels.keyed(wide, image.info.get("transparency")))
        else:
            photo = _to_photo(image, stored)
        more = False
        if image.format == "TIFF":
            with _opened(source, max_pixels) as pages:
                more = deep_pixels.has_more_pages(pages)
    return dataclasses.replace(
        photo, was_deep=deep or photo.was_deep, has_more_pages=more, about=about
    )


def _require_supported(image: Image.Image) -> None:
    if why := deep_pixels.unsupported(image):
        raise PhotoError("unsupported", f"{why}; save it in another way first")


def _size(source: str | BinaryIO, max_pixels: int) -> tuple[int, int]:
    with _opened(source, max_pixels) as image:
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # Newer Pillows turn the size of a lying TIFF already, older ones do not.
            tags = image.tag_v2
            width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
        with contextlib.suppress(Exception):
            # Asked for its EXIF data, Pillow decodes a whole PNG that has none in front of its
            # pixels; what it makes of XMP is the general part of it.
            png_without = image.format == "PNG" and "exif" not in image.info
            exif = Image.Image.getexif(image) if png_without else image.getexif()
            if exif.get(ExifTags.Base.Orientation) in _LYING:
                return width, height
        return height, width


def _upright(image: Image.Image) -> None:
    """Applies the orientation, after load(): Pillow turns TIFF there and removes the tag."""
    # Broken metadata does not spoil pixels, and Pillow raises what it likes (struct.error).
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


@contextlib.contextmanager
def _opened(source: str | BinaryIO, max_pixels: int) -> Iterator[Image.Image]:
    """Opens a picture, decodes nothing, and refuses one with too many pixels."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # Notes on odd metadata; the pixels are what counts.
        try:
            stream = (
                stack.enter_context(files.open_file(source)) if isinstance(source, str) else source
            )
            image = _open(stream)
        except OSError as error:
            # Pillow's own OSErrors have no number.
            kind = "unreadable" if error.errno else "corrupt"
            raise PhotoError(kind, error.strerror or str(error)) from error
        width, height = image.size
        if width * height > max_pixels:
            limit = f"the limit is {max_pixels:,} pixels"
            raise PhotoError("too many pixels", f"{width}x{height}; {limit}")
        yield image


def _open(stream: BinaryIO) -> Image.Image:
    """Reads the header only."""
    try:
        # Pillow's own limit is a process-wide constant; `load` checks the size by itself.
        with _header_lock:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(stream, formats=_formats())
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError as error:
        raise _why_not_an_image(stream) from error
    except OSError:
        raise
    except Exception as error:
        raise PhotoError("corrupt", f"the header cannot be read ({error})") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _why_not_an_image(stream: BinaryIO) -> PhotoError:
    stream.seek(0)
    start = stream.read(16)
    if not start:
        return PhotoError("empty", "the file has no bytes")
    if start.startswith(_SIGNATURES):
        return PhotoError("corrupt", "damaged, or of a kind that is not read")
    if start[4:].startswith(_HEIC):
        return PhotoError("not an image", "HEIC is not read; convert it to JPEG or PNG first")
    return PhotoError("not an image", "no picture format that is read begins like this")


@contextlib.contextmanager
def _decoding_errors() -> Iterator[None]:
    """Turns what decoders raise on broken files, which is nearly anything, into PhotoError."""
    try:
        yield
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError("too many pixels", "not enough memory to decode it") from error
    except Exception as error:
        kind = "truncated" if "truncated" in str(error).lower() else "corrupt"
        raise PhotoError(kind, " ".join(str(error).split()) or type(error).__name__) from error


def _to_photo(image: Image.Image, stored: deep_pixels.Grey) -> Photo:
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        wide = deep_pixels.greys(image, stored)
        return from_array(deep_pixels.keyed(wide, image.info.get("transparency")))
    if mode in ("I", "F", "LAB"):
        raise PhotoError("unsupported", f"pixels of type {mode!r}; convert it to 8 bits first")
    if mode == "CMYK":
        return from_array(np.asarray(_cmyk_to_rgb(image)))
    if mode == "La":
        image = image.convert("LA")
    grey = mode in _GREY
    transparent = image.has_transparency_data
    target = ("LA" if transparent else "L") if grey else ("RGBA" if transparent else "RGB")
    # convert() copies even where there is nothing to convert.
    return from_array(np.asarray(image if mode == target else image.convert(target)))


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """Goes through the embedded profile where there is one: inks without it come out garish."""
    profile = image.info.get("icc_profile")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            return ImageCms.profileToProfile(
                image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
    return image.convert("RGB")
