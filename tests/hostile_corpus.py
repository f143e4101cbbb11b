"""Files that break tools: each kind with the reason that is expected, or OPENED."""

import io
import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.base.reasons import Reason
from faceops.dataset.synthetic.people import png_chunk, png_header
from faceops.photos.formats import PhotoLimits
from faceops.photos.pixels import ORIENTATION

LIMITS = PhotoLimits(max_pixels=100_000_000, max_bytes=200_000)
OPENED = "opened"
Make = Callable[[Path], object]


def pixels(side: int = 64, mode: str = "RGB") -> Image.Image:
    """A picture of smooth noise without a face."""
    noise = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    return picture.convert(mode)


def encoded(form: str, mode: str = "RGB", side: int = 64, **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels(side, mode).save(buffer, form, **options)
    return buffer.getvalue()


def content(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def cut(form: str, share: float, **options: object) -> bytes:
    """The first part of a picture."""
    whole = encoded(form, **options)  # type: ignore[arg-type]
    return whole[: int(len(whole) * share)]


def png_of_size(width: int, height: int) -> bytes:
    """A few bytes that declare many pixels."""
    return png_header(width, height, 8, 2) + png_chunk(b"IDAT", zlib.compress(b"\0" * 999))


def flipped_bits() -> bytes:
    data = bytearray(encoded("PNG"))
    at = data.index(b"IDAT") + 8
    data[at : at + 8] = bytes(255 - byte for byte in data[at : at + 8])
    return bytes(data)


def bomb_in_a_comment(path: Path) -> None:
    """A PNG whose text would fill memory when unpacked."""
    whole = encoded("PNG")
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    path.write_bytes(whole[:33] + text + whole[33:])


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


def animation(form: str) -> bytes:
    buffer = io.BytesIO()
    frames = [pixels().rotate(90 * turn) for turn in range(3)]
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


JPEG, PNG = encoded("JPEG"), encoded("PNG")

NOT_A_PHOTO = {
    "one byte": b"\xff",
    "text": b"this is a letter",
    "web page": b"<html><body>404 not found",
    "pdf": b"%PDF-1.7\n%\xe2\xe3",
    "zip archive": b"PK\x03\x04" + bytes(60),
    "film": b"\0\0\0\x18ftypmp42" + bytes(64),
    "sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(24),
    "program": b"\x7fELF\2\1\1" + bytes(60),
    "sqlite database": b"SQLite format 3\0" + bytes(84),
    "zeros": bytes(5000),
    "noise": np.random.default_rng(2).bytes(5000),
    "jpeg without its start": JPEG[2:],
}
UNSUPPORTED = {
    "svg drawing": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n",
}
UNREADABLE = {
    "camera raw of zeros": b"II\x1a\0\0\0HEAPCCDR\2\0\1\0" + bytes(200),
    "jpeg cut in half": cut("JPEG", 0.5),
    "jpeg header only": JPEG[:20],
    "jpeg of zeros after the header": JPEG[:200] + bytes(len(JPEG) - 200),
    "progressive jpeg cut": cut("JPEG", 0.4, progressive=True),
    "png cut in half": cut("PNG", 0.5),
    "png header only": PNG[:33],
    "png with flipped bits": flipped_bits(),
    "png with a wrong checksum": PNG[:29] + bytes([PNG[29] ^ 255]) + PNG[30:],
    "gif cut": cut("GIF", 0.5, mode="P"),
    "gif of garbage": b"GIF89a" + b"\xff" * 9,
    "bmp cut": cut("BMP", 0.5),
    "tiff cut": cut("TIFF", 0.5),
    "tiff of garbage": b"II*\0" + b"\xff" * 60,
    "webp cut": cut("WEBP", 0.5),
    "webp of garbage": b"RIFF\xff\0\0\0WEBPVP8 " + bytes(40),
    "heic of garbage": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    "avif cut": cut("AVIF", 0.5),
    "avif of garbage": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(100),
    "no width": png_of_size(0, 100),
}
TOO_LARGE = {
    "bomb of 60,000 x 60,000": png_of_size(60_000, 60_000),
    "just over the pixel limit": png_of_size(12_000, 10_000),
    "more bytes than the limit": bytes(300_000),
}
OPENING = {
    "grey": encoded("JPEG", "L"),
    "cmyk": encoded("JPEG", "CMYK"),
    "palette": encoded("PNG", "P"),
    "black and white": encoded("PNG", "1"),
    "transparent": encoded("PNG", "RGBA"),
    "grey with transparency": encoded("PNG", "LA"),
    "16 bits": encoded("PNG", "I;16"),
    "32 bits": encoded("TIFF", "I"),
    "floating point": encoded("TIFF", "F"),
    "lab colours": encoded("TIFF", "LAB"),
    "animated gif": animation("GIF"),
    "animated webp": animation("WEBP"),
    "tiff of several pages": animation("TIFF"),
    "webp": encoded("WEBP"),
    "avif": encoded("AVIF"),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "png that is called jpg": PNG,
    "bytes after the end": JPEG + b"appended" * 50,
    "turned by 90 degrees": encoded("JPEG", exif=orientation(6)),
    "mirrored": encoded("JPEG", exif=orientation(2)),
    "orientation 99": encoded("JPEG", exif=orientation(99)),
    "broken exif": encoded("JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40),
    "broken colour profile": encoded("JPEG", icc_profile=b"no profile"),
}
NO_FILES: dict[str, tuple[Make, Reason]] = {
    "empty": (lambda path: path.touch(), Reason.EMPTY),
    "bomb in a comment": (bomb_in_a_comment, Reason.UNREADABLE),
    "folder": (lambda path: path.mkdir(), Reason.NOT_A_PHOTO),
    "pipe": (lambda path: os.mkfifo(path), Reason.NOT_A_PHOTO),
    "socket": (unix_socket, Reason.NOT_A_PHOTO),
    "gone": (lambda path: None, Reason.VANISHED),
    "dangling link": (lambda path: path.symlink_to("nowhere"), Reason.VANISHED),
    "link to itself": (lambda path: path.symlink_to(path.name), Reason.UNREADABLE),
}
SMALL = {"8 x 8 pixels": encoded("JPEG", side=8), "1 x 1 pixel": encoded("PNG", side=1)}

# What each kind is: a function that makes the file, and the reason or OPENED.
KINDS: dict[str, tuple[Make, Reason | str]] = {
    kind: (content(data), expected)
    for group, expected in (
        (NOT_A_PHOTO, Reason.NOT_A_PHOTO),
        (UNSUPPORTED, Reason.UNSUPPORTED_FORMAT),
        (UNREADABLE, Reason.UNREADABLE),
        (TOO_LARGE, Reason.TOO_LARGE),
        (SMALL, Reason.TOO_SMALL),
        (OPENING, OPENED),
    )
    for kind, data in group.items()
} | NO_FILES


def make(kind: str, path: Path) -> None:
    """Make the file of a kind."""
    KINDS[kind][0](path)
