"""Files that break tools: each kind with what is to be said of it.

python tests/hostile_corpus.py    # makes them all, opens them, prints the table
"""

import io
import os
import socket
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.base.reasons import Reason
from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo

LIMITS = PhotoLimits(max_bytes=200_000)
OPENED = "opened"
Make = Callable[[Path], object]


def pixels(side: int = 64, mode: str = "RGB") -> Image.Image:
    """A picture of smooth noise, in which there is no face."""
    noise = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    return picture.convert(mode)


def encoded(form: str, mode: str = "RGB", side: int = 64, **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels(side, mode).save(buffer, form, **options)
    return buffer.getvalue()


def saved(form: str, mode: str = "RGB", side: int = 64, **options: object) -> Make:
    return lambda path: path.write_bytes(encoded(form, mode, side, **options))


def content(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def cut(form: str, share: float, **options: object) -> Make:
    """The first part of a picture."""
    whole = encoded(form, **options)  # type: ignore[arg-type]
    return content(whole[: int(len(whole) * share)])


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_of_size(width: int, height: int) -> bytes:
    """A few bytes that promise many pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 999))


def flipped_bits(path: Path) -> None:
    data = bytearray(encoded("PNG"))
    at = data.index(b"IDAT") + 8
    data[at : at + 8] = bytes(255 - byte for byte in data[at : at + 8])
    path.write_bytes(data)


def bomb_in_a_comment(path: Path) -> None:
    """A PNG whose text would fill memory when unpacked."""
    whole = encoded("PNG")
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    path.write_bytes(whole[:33] + text + whole[33:])


def oriented(value: int) -> Make:
    def make(path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = value
        pixels().save(path, "JPEG", exif=exif)

    return make


def broken_exif(path: Path) -> None:
    path.write_bytes(encoded("JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40))


def animation(form: str) -> Make:
    def make(path: Path) -> None:
        frames = [pixels().rotate(90 * turn) for turn in range(3)]
        frames[0].save(path, form, save_all=True, append_images=frames[1:])

    return make


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


JPEG, PNG = encoded("JPEG"), encoded("PNG")
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
_CAMERA_RAW = b"II\x1a\0\0\0HEAPCCDR\2\0\1\0" + bytes(200)
_HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
_AVIF = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(100)

KINDS: dict[str, tuple[Make, Reason | str]] = {
    # No photos at all.
    "empty": (content(b""), Reason.EMPTY),
    "one byte": (content(b"\xff"), Reason.NOT_A_PHOTO),
    "text": (content(b"this is a letter"), Reason.NOT_A_PHOTO),
    "web page": (content(b"<html><body>404 not found"), Reason.NOT_A_PHOTO),
    "svg drawing": (content(_SVG), Reason.NOT_A_PHOTO),
    "pdf": (content(b"%PDF-1.7\n%\xe2\xe3"), Reason.NOT_A_PHOTO),
    "postscript": (
        content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n"),
        Reason.NOT_A_PHOTO,
    ),
    "zip archive": (content(b"PK\x03\x04" + bytes(60)), Reason.NOT_A_PHOTO),
    "film": (content(b"\0\0\0\x18ftypmp42" + bytes(64)), Reason.NOT_A_PHOTO),
    "sound": (content(b"RIFF\x24\0\0\0WAVEfmt " + bytes(24)), Reason.NOT_A_PHOTO),
    "camera raw": (content(_CAMERA_RAW), Reason.NOT_A_PHOTO),
    "program": (content(b"\x7fELF\2\1\1" + bytes(60)), Reason.NOT_A_PHOTO),
    "sqlite database": (content(b"SQLite format 3\0" + bytes(84)), Reason.NOT_A_PHOTO),
    "zeros": (content(bytes(5000)), Reason.NOT_A_PHOTO),
    "noise": (content(np.random.default_rng(2).bytes(5000)), Reason.NOT_A_PHOTO),
    # Photos that are broken.
    "jpeg cut in half": (cut("JPEG", 0.5), Reason.UNREADABLE),
    "jpeg header only": (content(JPEG[:20]), Reason.UNREADABLE),
    "jpeg without its start": (content(JPEG[2:]), Reason.NOT_A_PHOTO),
    "jpeg of zeros after the header": (
        content(JPEG[:200] + bytes(len(JPEG) - 200)),
        Reason.UNREADABLE,
    ),
    "progressive jpeg cut": (cut("JPEG", 0.4, progressive=True), Reason.UNREADABLE),
    "png cut in half": (cut("PNG", 0.5), Reason.UNREADABLE),
    "png header only": (content(PNG[:33]), Reason.UNREADABLE),
    "png with flipped bits": (flipped_bits, Reason.UNREADABLE),
    "png with a wrong checksum": (
        content(PNG[:29] + bytes([PNG[29] ^ 255]) + PNG[30:]),
        Reason.UNREADABLE,
    ),
    "gif cut": (cut("GIF", 0.5, mode="P"), Reason.UNREADABLE),
    "gif of garbage": (content(b"GIF89a" + b"\xff" * 9), Reason.UNREADABLE),
    "bmp cut": (cut("BMP", 0.5), Reason.UNREADABLE),
    "tiff cut": (cut("TIFF", 0.5), Reason.UNREADABLE),
    "tiff of garbage": (content(b"II*\0" + b"\xff" * 60), Reason.UNREADABLE),
    "webp cut": (cut("WEBP", 0.5), Reason.UNREADABLE),
    "webp of garbage": (content(b"RIFF\xff\0\0\0WEBPVP8 " + bytes(40)), Reason.UNREADABLE),
    "heic of garbage": (content(_HEIC), Reason.UNREADABLE),
    "avif cut": (cut("AVIF", 0.5), Reason.UNREADABLE),
    "avif of garbage": (content(_AVIF), Reason.UNREADABLE),
    # Too much, too little.
    "bomb of 60,000 x 60,000": (content(png_of_size(60_000, 60_000)), Reason.TOO_LARGE),
    "just over the pixel limit": (content(png_of_size(12_000, 10_000)), Reason.TOO_LARGE),
    "more bytes than the limit": (content(bytes(300_000)), Reason.TOO_LARGE),
    "bomb in a comment": (bomb_in_a_comment, Reason.UNREADABLE),
    "8 x 8 pixels": (saved("JPEG", side=8), Reason.TOO_SMALL),
    "1 x 1 pixel": (saved("PNG", side=1), Reason.TOO_SMALL),
    "no width": (content(png_of_size(0, 100)), Reason.UNREADABLE),
    # Things that are no files.
    "folder": (lambda path: path.mkdir(), Reason.NOT_A_PHOTO),
    "pipe": (lambda path: os.mkfifo(path), Reason.NOT_A_PHOTO),
    "socket": (unix_socket, Reason.NOT_A_PHOTO),
    "gone": (lambda path: None, Reason.VANISHED),
    "dangling link": (lambda path: path.symlink_to("nowhere"), Reason.VANISHED),
    "link to itself": (lambda path: path.symlink_to(path.name), Reason.UNREADABLE),
    # Photos of an unusual kind, which open.
    "grey": (saved("JPEG", "L"), OPENED),
    "cmyk": (saved("JPEG", "CMYK"), OPENED),
    "palette": (saved("PNG", "P"), OPENED),
    "black and white": (saved("PNG", "1"), OPENED),
    "transparent": (saved("PNG", "RGBA"), OPENED),
    "grey with transparency": (saved("PNG", "LA"), OPENED),
    "16 bits": (saved("PNG", "I;16"), OPENED),
    "32 bits": (saved("TIFF", "I"), OPENED),
    "floating point": (saved("TIFF", "F"), OPENED),
    "lab colours": (saved("TIFF", "LAB"), OPENED),
    "animated gif": (animation("GIF"), OPENED),
    "animated webp": (animation("WEBP"), OPENED),
    "tiff of several pages": (animation("TIFF"), OPENED),
    "webp": (saved("WEBP"), OPENED),
    "avif": (saved("AVIF"), OPENED),
    "progressive jpeg": (saved("JPEG", progressive=True), OPENED),
    "png that is called jpg": (content(PNG), OPENED),
    "bytes after the end": (content(JPEG + b"appended" * 50), OPENED),
    "turned by 90 degrees": (oriented(6), OPENED),
    "mirrored": (oriented(2), OPENED),
    "orientation 99": (oriented(99), OPENED),
    "broken exif": (broken_exif, OPENED),
    "broken colour profile": (saved("JPEG", icc_profile=b"no profile"), OPENED),
}


def make(kind: str, path: Path) -> None:
    """Make the file of a kind."""
    KINDS[kind][0](path)


def main() -> int:
    """Print what is said of each kind; fail if it is not what it should be."""
    wrong = 0
    print("| file | said of it |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        for kind, (_, expected) in KINDS.items():
            path = Path(temporary) / f"{kind}.jpg".replace(" ", "_").replace(",", "")
            make(kind, path)
            try:
                open_photo(path, LIMITS)
                said = OPENED
            except PhotoError as error:
                said = str(error.reason)
            wrong += said != str(expected)
            note = "" if said == str(expected) else f" (should be {expected})"
            print(f"| {kind} | {said}{note} |")
    print(f"\n{len(KINDS)} kinds, {wrong} of them wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
