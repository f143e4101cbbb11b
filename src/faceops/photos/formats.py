"""Which photos are opened: the limits, and the formats, one entry of FORMATS each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import PIL


@dataclass(frozen=True)
class PhotoLimits:
    """Limits on one photo."""

    # Width times height; a JPEG with more is decoded at a half, a quarter or an eighth of its size
    max_pixels: int = 250_000_000
    max_bytes: int = 500_000_000  # of the file, before it is read
    min_side: int = 16  # smallest width or height in pixels


@dataclass(frozen=True)
class PhotoFormat:
    """A format of photo files."""

    name: str  # for users, in the manifest and in validate.formats
    # Of its files, in lower case; imports of labelled photos take files with one
    suffixes: tuple[str, ...]
    # Matches the first bytes of a file, which decide the format, not its name
    signature: re.Pattern[bytes]
    pillow_name: str  # the plug-in of Pillow that opens it
    package: str = ""  # of a plug-in that does not come with Pillow; "" for Pillow's own
    # Adds that plug-in to Pillow; ImportError where the package is not installed
    register: Callable[[], None] = lambda: None
    extra: str = ""  # of faceops, which installs the package
    # As `signature`, for files with one of `suffixes` whose bytes alone do not tell the format
    with_suffix: re.Pattern[bytes] | None = None
    # Returns width and height from a file's bytes, for a plug-in that decodes a file to open it
    size: Callable[[bytes], tuple[int, int]] | None = None
    # Whether the decoder itself turns the pixels upright, and its size is upright
    decoder_turns: bool = False


def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _register_raw() -> None:
    from faceops.photos import plugins

    plugins.register_raw(_RAW)


def _register_jxl() -> None:
    from faceops.photos import plugins

    plugins.register_jxl(_JXL)


def _jxl_size(content: bytes) -> tuple[int, int]:
    from faceops.photos import plugins

    return plugins.jxl_size(content)


_JXL = re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n")
_OWN_RAW = (
    rb"II\*\0.{4}CR\x02|.{4}ftypcrx |FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|II\x1a\0\0\0HEAPCCDR|FOVb"
    rb"|\0MRM"
)
_TIFF = rb"II\*\0|MM\0\*"
_RAW = re.compile(b"(?s)" + _OWN_RAW + b"|" + _TIFF)
_NO_BYTES = re.compile(rb"(?!)")

# JPEG is MPO as well, whose first picture is opened.
# Formats that start other programs (EPS) or are documents (PDF) are left out.
FORMATS = [
    PhotoFormat("JPEG", (".jpg", ".jpeg", ".jfif"), re.compile(rb"\xff\xd8\xff"), "JPEG"),
    PhotoFormat("PNG", (".png",), re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    PhotoFormat("WEBP", (".webp",), re.compile(rb"(?s)RIFF.{4}WEBP"), "WEBP"),
    # The raw formats that are TIFF show nothing but a thumbnail as one.
    PhotoFormat(
        "RAW",
        (
            *(".dng", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".pef", ".srw", ".3fr", ".fff"),
            *(".iiq", ".erf", ".mos", ".mef", ".dcr", ".kdc", ".rwl", ".gpr", ".cr2", ".cr3"),
            *(".crw", ".raf", ".orf", ".rw2", ".x3f", ".mrw"),
        ),
        re.compile(b"(?s)" + _OWN_RAW),
        "RAW",
        package="rawpy",
        register=_register_raw,
        extra="raw",
        with_suffix=_RAW,
    ),
    PhotoFormat(
        "TIFF",
        (".tif", ".tiff"),
        re.compile(rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0"),
        "TIFF",
        decoder_turns=True,
    ),
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
        decoder_turns=True,
    ),
    PhotoFormat(
        "JPEG2000",
        (".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
        re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
        "JPEG2000",
    ),
    PhotoFormat(
        "JXL",
        (".jxl",),
        _JXL,
        "JXL",
        package="pillow_jxl",
        register=_register_jxl,
        extra="jxl",
        size=_jxl_size,
    ),
    PhotoFormat(
        "PPM",
        (".ppm", ".pgm", ".pbm", ".pnm"),
        re.compile(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d"),
        "PPM",
    ),
    PhotoFormat(
        "TGA",
        (".tga",),
        _NO_BYTES,
        "TGA",
        with_suffix=re.compile(rb"(?s).[\0\1][\1-\3\x09-\x0b].{13}[\x08\x0f\x10\x18\x20]"),
    ),
]

# Pictures and videos that are not read; messages name their format.
_OTHER_PICTURES = {
    "SVG": rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,400}?-->\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg",
    "Photoshop": rb"8BPS",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "GIMP": rb"gimp xcf",
    "Radiance HDR": rb"#\?RADIANCE",
    "EPS": rb"%!PS-Adobe-[\d.]+ EPSF",
    "JPEG XR": rb"II\xbc\x01",
}
_VIDEOS = {
    "MP4 or QuickTime": rb".{4}(?:ftyp(?:mp4|isom|iso\d|qt  |M4V|avc1|3g)|moov|mdat|wide)",
    "AVI": rb"RIFF.{4}AVI ",
    "Matroska": rb"\x1a\x45\xdf\xa3",
    "MPEG": rb"\0\0\x01[\xba\xb3]",
    "Windows Media": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
}


def other_picture(content: bytes) -> str | None:
    """Return the name of the picture format that is not read, if `content` begins as one."""
    return _name(_OTHER_PICTURES, content)


def video(content: bytes) -> str | None:
    """Return the name of the video format, if `content` begins as one."""
    return _name(_VIDEOS, content)


def _name(patterns: dict[str, bytes], content: bytes) -> str | None:
    head = content[:1024]
    return next((name for name, one in patterns.items() if re.match(b"(?s)" + one, head)), None)


def format_of(content: bytes, suffix: str = "") -> PhotoFormat | None:
    """Return the format of a file that begins with `content`, however broken the rest is.

    `suffix` is that of the file's name; it matters for formats with `with_suffix`.
    """
    suffix = suffix.lower()
    for each in FORMATS:
        if each.with_suffix and suffix in each.suffixes and each.with_suffix.match(content):
            return each
    return next((each for each in FORMATS if each.signature.match(content)), None)


def decoder_id() -> str:
    """Return the version of what decodes photos; another one may open what this one cannot."""
    closed = closed_formats()
    opened = [each for each in FORMATS if each not in closed]
    return f"pillow {PIL.__version__}" + "".join(f"+{each.name.lower()}" for each in opened)


def closed_formats() -> list[PhotoFormat]:
    """Return the formats that need an extra which is not installed."""
    return [each for each in FORMATS if each.package and not find_spec(each.package)]
