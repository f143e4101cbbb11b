"""Which photos are opened: the limits, and the formats, one entry of FORMATS each.

Extras have plug-ins of Pillow: camera raw by rawpy, JPEG XL by pillow-jxl-plugin, HEIF by
pillow-heif. They are loaded with the first photo of their format; this module imports no NumPy.
"""

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import PIL


@dataclass(frozen=True)
class PhotoLimits:
    # Width times height; a JPEG with more is decoded at a half, a quarter or an eighth of its size
    max_pixels: int = 250_000_000
    max_bytes: int = 500_000_000  # of the file, before it is read
    min_side: int = 16  # smallest width or height in pixels


@dataclass(frozen=True)
class PhotoFormat:
    name: str  # for users, in the manifest and in validate.formats, and that of Pillow's plug-in
    # Of its files, in lower case; imports of labelled photos take files with one
    suffixes: tuple[str, ...]
    # A regular expression for the first bytes of a file, which decide the format, not its name
    signature: bytes
    package: str = ""  # of a plug-in that does not come with Pillow; "" for Pillow's own
    # Adds that plug-in to Pillow; ImportError where the package is not installed
    register: Callable[[], None] = lambda: None
    extra: str = ""  # of faceops, which installs the package
    # As `signature`, for files with one of `suffixes` whose bytes alone do not tell the format
    with_suffix: bytes = b""
    # Returns width and height from a file's bytes, for a plug-in that decodes a file to open it
    size: Callable[[bytes], tuple[int, int]] | None = None
    # Whether the decoder itself turns the pixels upright, and its size is upright
    decoder_turns: bool = False


def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


_JXL = rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"
_OWN_RAW = (
    rb"II\*\0.{4}CR\x02|.{4}ftypcrx |FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|II\x1a\0\0\0HEAPCCDR|FOVb"
    rb"|\0MRM"
)
_RAW = _OWN_RAW + rb"|II\*\0|MM\0\*"  # those that are TIFF too
_NO_BYTES = rb"(?!)"
_RAW_TURNS = {1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}  # LibRaw's flip to EXIF's orientation


def _register_raw() -> None:
    import rawpy
    from PIL import Image, ImageFile

    from faceops.photos.pixels import ORIENTATION, SIDEWAYS, UNDO_ORIENTATION

    def is_upright(image: Image.Image) -> bool:
        return image.height > image.width

    class RawFile(ImageFile.ImageFile):
        """A raw photo: the JPEG in it if that has half its size or more, else its sensor's pixels.

        The latter are decoded at half the size, where each pixel has all three colours.
        """

        format = "RAW"

        def _open(self) -> None:
            try:
                self._raw: Any = rawpy.imread(self.fp)  # type: ignore[arg-type]
                self._preview = self._find_preview()
            except rawpy.LibRawError as error:
                raise _plain(error) from None
            sizes = self._raw.sizes
            self._mode, self._size = "RGB", (sizes.width, sizes.height)
            turn = _RAW_TURNS.get(sizes.flip, 1)
            self.getexif()[ORIENTATION] = turn
            # A JPEG that the camera turned is turned back: regions refer to the sensor's pixels.
            self._back: Image.Transpose | None = None
            if self._preview and is_upright(self._preview) != is_upright(self):
                if turn in SIDEWAYS:
                    self._back = UNDO_ORIENTATION[{6: 8, 8: 6}.get(turn, turn)]
                else:
                    self._preview = None  # another crop

        def _find_preview(self) -> ImageFile.ImageFile | None:
            sizes = self._raw.sizes
            try:
                thumbnail = self._raw.extract_thumb()
            except rawpy.LibRawError:
                return None  # none, or of a kind that LibRaw does not read
            if thumbnail.format != rawpy.ThumbFormat.JPEG:
                return None
            try:
                preview = Image.open(io.BytesIO(bytes(thumbnail.data)), formats=("JPEG",))
            except (OSError, SyntaxError):
                return None
            share = max(preview.size) / max(sizes.width, sizes.height)
            return preview if 0.5 <= share <= 1.1 else None

        def draft(self, mode: str | None, size: tuple[int, int] | None) -> None:
            if self._preview and size:
                self._preview.draft(mode, size if self._back is None else size[::-1])
                reduced = self._preview.size
                self._size = reduced if self._back is None else reduced[::-1]

        def load(self) -> Any:
            if self._raw is not None:
                image = self._decode()
                self._raw.close()
                self._raw = self._preview = None
                self.im, self._size = image.im, image.size
            return Image.Image.load(self)

        def _decode(self) -> Image.Image:
            if self._preview:
                image = self._preview.convert("RGB")
                return image if self._back is None else image.transpose(self._back)
            try:
                return Image.fromarray(
                    self._raw.postprocess(half_size=True, user_flip=0, use_camera_wb=True)
                )
            except rawpy.LibRawError as error:
                raise _plain(error) from None

    Image.register_open("RAW", RawFile, lambda prefix: _begins(prefix, _RAW))


def _plain(error: Exception) -> Exception:
    """Return an error of LibRaw as one of Python.

    The file is in memory already: LibRaw's "Input/output error" is about its bytes, not the disk.
    """
    import rawpy

    if isinstance(error, rawpy.LibRawUnsufficientMemoryError):
        return MemoryError()
    if isinstance(error, rawpy.LibRawIOError):
        return OSError("truncated or damaged")
    (message, *_) = error.args or ("LibRaw failed",)
    return OSError(message.decode("ascii", "replace") if isinstance(message, bytes) else message)


def _register_jxl() -> None:
    from PIL import Image
    from pillow_jxl import JpegXLImagePlugin

    class JxlFile(JpegXLImagePlugin.JXLImageFile):
        """A JPEG XL photo, turned by its decoder, unless a whole JPEG is packed in it."""

        def _open(self) -> None:
            super()._open()
            if not self.jpeg:
                self.info.pop("exif", None)

    JpegXLImagePlugin.DECODE_THREADS = 0  # photos are spread over threads
    Image.register_open("JXL", JxlFile, lambda prefix: _begins(prefix, _JXL))


def _jxl_size(content: bytes) -> tuple[int, int]:
    """Return the width and height that a JPEG XL file states; the plug-in decodes as it opens.

    Raises ValueError: it is broken.
    """
    start = 0 if content[:2] == b"\xff\x0a" else _codestream(content)
    bits = (byte >> place & 1 for byte in content[start + 2 : start + 16] for place in range(8))

    def number(length: int) -> int:
        return sum(next(bits) << place for place in range(length))

    def side(is_small: int) -> int:
        return 8 * (number(5) + 1) if is_small else 1 + number((9, 13, 18, 30)[number(2)])

    try:
        is_small = number(1)
        height = side(is_small)
        ratio = number(3)
        width = side(is_small) if not ratio else math.floor(height * _RATIOS[ratio - 1])
    except StopIteration:
        raise ValueError("truncated") from None
    return width, height


_RATIOS = (1.0, 1.2, 4 / 3, 1.5, 16 / 9, 1.25, 2.0)


def _codestream(content: bytes) -> int:
    """Return where the codestream starts in the boxes of a file."""
    at = 0
    while at + 8 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        header = 8
        if length == 1:
            length, header = int.from_bytes(content[at + 8 : at + 16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            return at + header + 4 * (kind == b"jxlp")
        if length < header:
            break
        at += length
    raise ValueError("no codestream")


# JPEG is MPO as well, whose first picture is opened.
# Formats that start other programs (EPS) or are documents (PDF) are left out.
FORMATS = [
    PhotoFormat("JPEG", (".jpg", ".jpeg", ".jfif"), rb"\xff\xd8\xff"),
    PhotoFormat("PNG", (".png",), rb"\x89PNG\r\n\x1a\n"),
    PhotoFormat("WEBP", (".webp",), rb"RIFF.{4}WEBP"),
    # The raw formats that are TIFF show nothing but a thumbnail as one.
    PhotoFormat(
        "RAW",
        (
            *(".dng", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".pef", ".srw", ".3fr", ".fff"),
            *(".iiq", ".erf", ".mos", ".mef", ".dcr", ".kdc", ".rwl", ".gpr", ".cr2", ".cr3"),
            *(".crw", ".raf", ".orf", ".rw2", ".x3f", ".mrw"),
        ),
        *(_OWN_RAW, "rawpy", _register_raw, "raw"),
        with_suffix=_RAW,
    ),
    PhotoFormat("TIFF", (".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0", decoder_turns=True),
    PhotoFormat("BMP", (".bmp",), rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    PhotoFormat("GIF", (".gif",), rb"GIF8[79]a"),
    # AVIF and HEIC share a container: its brands distinguish them.
    PhotoFormat("AVIF", (".avif",), rb".{4}ftyp(?:avi[fs]|m[is]f1.{0,32}avif)"),
    PhotoFormat(
        "HEIF",
        (".heic", ".heif"),
        rb".{4}ftyp(?!.{0,36}avif)(?:hei[cxms]|hev[cx]|m[is]f1)",
        *("pillow_heif", _register_heif, "heic"),
        decoder_turns=True,
    ),
    PhotoFormat(
        "JPEG2000",
        (".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
        rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    ),
    PhotoFormat("JXL", (".jxl",), _JXL, "pillow_jxl", _register_jxl, "jxl", size=_jxl_size),
    PhotoFormat("PPM", (".ppm", ".pgm", ".pbm", ".pnm"), rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d"),
    PhotoFormat(
        "TGA",
        (".tga",),
        _NO_BYTES,
        with_suffix=rb".[\0\1][\1-\3\x09-\x0b].{13}[\x08\x0f\x10\x18\x20]",
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


def unread_format(content: bytes) -> tuple[str, bool]:
    """Return the name of a format that is not read, and whether it is of videos; "" if unknown."""
    for formats in (_OTHER_PICTURES, _VIDEOS):
        for name, pattern in formats.items():
            if _begins(content[:1024], pattern):
                return name, formats is _VIDEOS
    return "", False


def format_of(content: bytes, suffix: str = "") -> PhotoFormat | None:
    """Return the format of a file that begins with `content`, however broken the rest is.

    `suffix` is that of the file's name; it matters for formats with `with_suffix`.
    """
    suffix = suffix.lower()
    for each in FORMATS:
        if each.with_suffix and suffix in each.suffixes and _begins(content, each.with_suffix):
            return each
    return next((each for each in FORMATS if _begins(content, each.signature)), None)


def _begins(content: bytes, pattern: bytes) -> bool:
    return re.match(pattern, content, re.DOTALL) is not None


def decoder_id() -> str:
    """Return the version of what decodes photos; another one may open what this one cannot."""
    closed = closed_formats()
    opened = [each for each in FORMATS if each not in closed]
    return f"pillow {PIL.__version__}" + "".join(f"+{each.name.lower()}" for each in opened)


def closed_formats() -> list[PhotoFormat]:
    """Return the formats that need an extra which is not installed."""
    return [each for each in FORMATS if each.package and not find_spec(each.package)]
