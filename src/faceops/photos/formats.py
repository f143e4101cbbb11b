"""Which photos are opened: the limits, and the formats, one entry of FORMATS each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import PIL


@dataclass(frozen=True)
class PhotoLimits:
    """Limits on one photo.

    Attributes:
        max_pixels: width times height, read from the header before anything is decoded. A JPEG
            with more is decoded at a half, a quarter or an eighth of its size.
        max_bytes: of the file, before it is read.
        min_side: smallest width or height in pixels.
    """

    max_pixels: int = 250_000_000
    max_bytes: int = 500_000_000
    min_side: int = 16


@dataclass(frozen=True)
class PhotoFormat:
    """A format of photo files.

    Attributes:
        name: for users, in the manifest and in validate.formats.
        suffixes: of its files, in lower case; imports of labelled photos take files with one.
        signature: matches the first bytes of a file, which decide the format, not its name.
        pillow_name: the plug-in of Pillow that opens it.
        package: of a plug-in that does not come with Pillow; "" for Pillow's own.
        register: adds that plug-in to Pillow; ImportError where the package is not installed.
        extra: of faceops, which installs the package.
    """

    name: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes]
    pillow_name: str
    package: str = ""
    register: Callable[[], None] = lambda: None
    extra: str = ""


def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


# JPEG is MPO as well, whose first picture is opened.
# Formats that start other programs (EPS) or are documents (PDF) are left out.
FORMATS = [
    PhotoFormat("JPEG", (".jpg", ".jpeg", ".jfif"), re.compile(rb"\xff\xd8\xff"), "JPEG"),
    PhotoFormat("PNG", (".png",), re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    PhotoFormat("WEBP", (".webp",), re.compile(rb"(?s)RIFF.{4}WEBP"), "WEBP"),
    PhotoFormat("TIFF", (".tif", ".tiff"), re.compile(rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0"), "TIFF"),
    PhotoFormat(
        "BMP", (".bmp",), re.compile(rb"(?s)BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"), "BMP"
    ),
    PhotoFormat("GIF", (".gif",), re.compile(rb"GIF8[79]a"), "GIF"),
    # AVIF and HEIC share a container: its brands distinguish them.
    PhotoFormat(
        "AVIF", (".avif",), re.compile(rb"(?s).{4}ftyp(?:avi[fs]|m[is]f1.{0,32}avif)"), "AVIF"
    ),
    PhotoFormat(
        "HEIF",
        (".heic", ".heif"),
        re.compile(rb"(?s).{4}ftyp(?!.{0,36}avif)(?:hei[cxms]|hev[cx]|m[is]f1)"),
        "HEIF",
        package="pillow_heif",
        register=_register_heif,
        extra="heic",
    ),
]


def format_of(content: bytes) -> PhotoFormat | None:
    """Return the format of a file that begins with `content`, however broken the rest is."""
    return next((each for each in FORMATS if each.signature.match(content)), None)


def decoder_id() -> str:
    """Return the version of what decodes photos; another one may open what this one cannot."""
    packages = [each for each in FORMATS if each.package and find_spec(each.package)]
    return f"pillow {PIL.__version__}" + "".join(f"+{each.name.lower()}" for each in packages)
