"""Run by test_fuzz.py in a process of its own: mutated pictures through one way, figures as JSON.

Usage: fuzz_worker.py decode|upscale|graph|bombs COUNT SEED FOLDER
"""

import faulthandler
import io
import json
import os
import random
import resource
import struct
import sys
import time
import zlib

import numpy as np
from PIL import ExifTags, Image

from srgan_tf import metadata, photos

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PIXELS = 250_000
# A picture takes milliseconds.
_HANG_SECONDS = 60


def seeds() -> list[tuple[str, bytes]]:
    """Returns an extension and a whole file for every format and way of storing pixels."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:23, :31]
    colour = np.stack([rows * 11, columns * 8, (rows + columns) * 4], -1).astype(np.uint8)
    colour[5:12, 7:20] = rng.integers(0, 256, (7, 13, 3))
    image = Image.fromarray(colour)
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(colour[..., 0]))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "Maker"
    exif = exif.tobytes()
    wide = np.ascontiguousarray(colour[..., 0]).astype(np.uint16) * 257
    made = [
        *(("png", x, {}) for x in (alpha, image.convert("L"), image.quantize(16), image)),
        ("png", image, {"exif": exif, "dpi": (72, 72)}),
        ("png", Image.fromarray(wide), {}),
        ("jpg", image, {"exif": exif, "quality": 90}),
        ("jpg", image, {"progressive": True}),
        *(("jpg", image.convert(mode), {}) for mode in ("L", "CMYK")),
        ("webp", image, {"exif": exif}),
        ("webp", alpha, {"lossless": True}),
        ("tif", image, {"exif": exif}),
        *(("tif", image, {"compression": f"tiff_{x}"}) for x in ("lzw", "jpeg", "adobe_deflate")),
        ("tif", image.convert("1"), {"compression": "group4"}),
        *(("bmp", x, {}) for x in (image, image.quantize(16), alpha)),
        ("gif", image, {}),
        ("gif", image, {"save_all": True, "append_images": [image.rotate(90)]}),
    ]
    kinds = {"jpg": "JPEG", "tif": "TIFF"}
    files = []
    for extension, picture, options in made:
        stream = io.BytesIO()
        picture.save(stream, kinds.get(extension, extension.upper()), **options)
        files.append((extension, stream.getvalue()))
    return files


def mutants(count: int, seed: int):
    """Yields extension and bytes of `count` broken files; the same ones for the same seed."""
    whole = seeds()
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        extension, data = whole[number % len(whole)]
        data = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            rng.choice((_flip, _cut, _swap, _insert, _drop, _lie, _splice))(data, rng, whole)
        # Otherwise checksums would keep nearly all of it from the decoder.
        mended = _mend(bytes(data)) if rng.random() < 0.7 else bytes(data)
        yield extension, mended


def _flip(data, rng, whole):
    for _ in range(rng.randint(1, 12)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data, rng, whole):
    del data[rng.randrange(len(data) + 1) :]


def _swap(data, rng, whole):
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    data[a:c] = data[b:c] + data[a:b]


def _insert(data, rng, whole):
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.randint(1, 64))


def _drop(data, rng, whole):
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.randint(1, 64)]


def _lie(data, rng, whole):
    """Extreme numbers where headers and tables are."""
    value = rng.choice((0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000))
    packed = value.to_bytes(4, rng.choice(("little", "big")))[: rng.choice((1, 2, 4))]
    at = rng.randrange(min(len(data), 200) + 1)
    data[at : at + len(packed)] = packed


def _splice(data, rng, whole):
    other = rng.choice(whole)[1]
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other)) :]


def _mend(data: bytes) -> bytes:
    """Gives the chunks of a PNG checksums that are right."""
    if not data.startswith(_SIGNATURE):
        return data
    parts, at = [_SIGNATURE], len(_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        if len(body) < 4 + length:
            break
        parts += [data[at : at + 4], body, struct.pack(">I", zlib.crc32(body))]
        at += 12 + length
    return b"".join([*parts, data[at:]])


def decode(count: int, seed: int, folder: str) -> dict:
    """Header, pixels, metadata, and what is written of them."""
    read, wrong, half = 0, [], 0
    for number, (_, data) in enumerate(mutants(count, seed)):
        _watch(folder, data)
        if number == count // 2:
            half = _resident()
        try:
            photos.size(io.BytesIO(data), max_pixels=_MAX_PIXELS)
            photo = photos.load(io.BytesIO(data), max_pixels=_MAX_PIXELS)
            about = metadata.finished(photo.about, photo.rgb.shape[:2], "fuzz")
            ending = ("png", "jpg", "webp", "tif")[number % 4]
            path = os.path.join(folder, f"out.{ending}")
            photos.save(path, photo.rgb, photo.alpha, grey=photo.is_grey, about=about)
            photos.load(path)
            read += 1
        except photos.PhotoError:
            continue
        except Exception as error:
            wrong.append(f"mutant {number}: {error!r}")
    return {"read": read, "wrong": wrong, "growth": _resident() - half}


def _network():
    from srgan_tf import config as config_lib
    from srgan_tf.models import generators

    settings = config_lib.GeneratorConfig(name="srresnet", filters=4, blocks=1)
    return generators.build(settings, 2), settings


def upscale(count: int, seed: int, folder: str) -> dict:
    """Folders of mutants through what srgan-upscale does."""
    from srgan_tf.serving import batch, models, pictures
    from srgan_tf.serving.upscaler import Upscaler

    generator, settings = _network()
    model = Upscaler(models.from_generator(generator, settings, 2), tile_size=64, origin={})
    batch._MAX_PIXELS = 4 * _MAX_PIXELS
    done, wrong, sizes = 0, [], []
    size, files = max(1, count // 8), list(mutants(count, seed))
    for start in range(0, count, size):
        source, output = (os.path.join(folder, f"{name}{start}") for name in ("in", "out"))
        os.makedirs(source)
        part = files[start : start + size]
        for number, (extension, data) in enumerate(part):
            with open(os.path.join(source, f"{number:05d}.{extension}"), "wb") as file:
                file.write(data)
        _watch(folder, b"", seconds=_HANG_SECONDS * 4)
        choice = ("png", "jpeg", "webp", "tiff")[start // size % 4]
        jobs = pictures.plan([source], output, scale=2, file_format=choice)
        summary = batch.run(jobs, model)
        done += summary.done
        written = len(os.listdir(output)) if os.path.exists(output) else 0
        if summary.done + len(summary.failed) != len(part) or written != summary.done:
            wrong.append(f"{start}: {summary}, {written} written")
        sizes.append(_resident())
    return {"read": done, "wrong": wrong, "growth": sizes[-1] - sizes[len(sizes) // 2 - 1]}


def graph(count: int, seed: int, folder: str) -> dict:
    """Batches of mutants, a whole file in each, through the signature upscale_bytes."""
    import tensorflow as tf

    from srgan_tf.serving import served

    module = served.ServedModule(_network()[0], 2, max_pixels=_MAX_PIXELS)
    good = seeds()[3][1]
    files, read, wrong, sizes = [data for _, data in mutants(count, seed)], 0, [], []
    for start in range(0, count, 7):
        part = [*files[start : start + 7], good]
        _watch(folder, b"".join(part))
        answer = module.upscale_bytes(tf.constant(part))
        statuses, outputs = (answer[key].numpy() for key in ("status", "output_bytes"))
        read += int((statuses[:-1] == b"OK").sum())
        for status, output in zip(statuses, outputs, strict=True):
            fine = output.startswith(_SIGNATURE) if status == b"OK" else output == b""
            if not fine or not status or b"\n" in status:
                wrong.append(f"{start}: {status!r}, {len(output)} bytes")
        if statuses[-1] != b"OK":
            wrong.append(f"{start}: the whole file of the batch: {statuses[-1]!r}")
        sizes.append(_resident())
    return {"read": read, "wrong": wrong, "growth": sizes[-1] - sizes[len(sizes) // 2]}


def bombs(count: int, seed: int, folder: str) -> dict:
    """The files bomb.* of the folder: refused by their header."""
    del count, seed
    before, read, wrong = _peak(), 0, []
    for name in sorted(os.listdir(folder)):
        for function in (photos.size, photos.load) if name.startswith("bomb.") else ():
            begun = time.process_time()
            try:
                function(os.path.join(folder, name))
                wrong.append(f"{name} was read")
            except photos.PhotoError as error:
                if error.kind != "too many pixels" or "the limit is 200,000" not in str(error):
                    wrong.append(f"{name}: {error}")
            read += 1
            if time.process_time() - begun > 1:
                wrong.append(f"{name} took more than a second")
    return {"read": read, "wrong": wrong, "growth": _peak() - before}


def _watch(folder: str, data: bytes, seconds: float = _HANG_SECONDS) -> None:
    """Keeps what is in the works, for whoever looks at a crash, and ends what hangs."""
    with open(os.path.join(folder, "current"), "wb") as file:
        file.write(data)
    faulthandler.dump_traceback_later(seconds, exit=True)


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    way, count, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    faulthandler.enable()
    begun = time.monotonic()
    ways = {"decode": decode, "upscale": upscale, "graph": graph, "bombs": bombs}
    result = ways[way](count, seed, folder)
    result |= {"seconds": time.monotonic() - begun, "peak": _peak()}
    with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
