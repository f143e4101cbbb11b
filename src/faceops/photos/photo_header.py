"""What a photo's file states beside its pixels: size, orientation, time, and its embedded XMP.

Adobe, XMP Specification part 3: a JPEG has the packet in a segment APP1, and what exceeds 64 kB in
further ones (extended XMP), PNG in a chunk iTXt, TIFF in tag 700, WebP in a chunk of its own. The
time is that of EXIF (CIPA DC-008): local, with a fraction and an offset from UTC where stated.
"""

import io
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from faceops.base.errors import shortage
from faceops.photos import open_photo
from faceops.photos.formats import FORMATS, PhotoFormat, PhotoLimits
from faceops.photos.pixels import SIDEWAYS, orientation_of
from faceops.photos.xmp import MAX_BYTES

# Of these no packet is read, and opening one takes long.
WITHOUT_PACKETS = frozenset(
    suffix for each in FORMATS if each.name in ("RAW", "JXL") for suffix in each.suffixes
)
_HEAD = 1024  # bytes from which the format is known
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_GUID = 32  # characters that name the extended packet, in its segments and in the main packet
_PNG_XMP = b"XML:com.adobe.xmp\0"
_EXIF, _TAKEN, _FRACTION, _OFFSET = 0x8769, 0x9003, 0x9291, 0x9011  # IFD, and tags of Original
_TIME = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d:\d\d:\d\d)")
_PNG_PLAIN = re.compile(rb"\0\0[^\0]*\0[^\0]*\0")  # not compressed, language, translated keyword


@dataclass(frozen=True)
class PhotoHeader:
    size: tuple[int, int]  # width and height of the upright photo in pixels
    orientation: int  # see `orientation_of`
    packets: tuple[bytes, ...]  # the XMP packets in the file, each of up to `MAX_BYTES`
    taken: datetime | None = None  # with a time zone only where the file states one


def read_header(
    path: Path,
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
) -> PhotoHeader:
    """Return what the file of a photo states; its pixels are not decoded.

    Of camera raw files and JPEG XL no packet is read.

    Raises PhotoError: as `open_photo`.
    """
    open_photo.silence_pillow()
    Image.MAX_IMAGE_PIXELS = None  # nothing is decoded
    with open_photo.open_file(path, limits.max_bytes, whole=False) as file:
        photo_format = open_photo.format_in(file.read(_HEAD), path)
        file.seek(0)
        try:
            return _read(file, photo_format)
        except MemoryError:
            raise open_photo.no_memory(path) from None
        except open_photo.DECODER_ERRORS as error:
            if shortage(error):
                raise open_photo.no_memory(path) from None
            raise open_photo.broken_photo(path, error) from None


def _read(file: open_photo.OpenFile, photo_format: PhotoFormat) -> PhotoHeader:
    with Image.open(file, formats=(photo_format.name,)) as image:
        orientation, taken = orientation_of(image), _taken(image)
        width, height = image.size
        if orientation in SIDEWAYS and not photo_format.decoder_turns:
            width, height = height, width
        packets = [image.info.get("xmp"), *_extended_packets(image)]
    if photo_format.name == "PNG" and packets[0] is None:
        packets = [_png_packet(file)]
    found = (packet.encode() if isinstance(packet, str) else packet for packet in packets if packet)
    kept = (_trimmed(packet) for packet in found if len(packet) <= MAX_BYTES)
    return PhotoHeader((width, height), orientation, tuple(filter(None, kept)), taken)


def _taken(image: Image.Image) -> datetime | None:
    """Return EXIF's DateTimeOriginal; None without one, as where the camera's clock was not set."""
    try:
        tags = image.getexif().get_ifd(_EXIF)
    except open_photo.DECODER_ERRORS:
        return None  # the photo may still be valid
    if not (found := _TIME.match(str(tags.get(_TAKEN)))):
        return None
    year, month, day, time = found.groups()
    fraction = re.match(r"\d{1,6}", str(tags.get(_FRACTION)))
    offset = re.match(r"[+-]\d\d:\d\d", str(tags.get(_OFFSET)))
    text = f"{year}-{month}-{day}T{time}.{fraction[0] if fraction else '0':0<6}"
    with suppress(ValueError):  # 0000:00:00
        return datetime.fromisoformat(text + (offset[0] if offset else ""))
    return None


def _trimmed(packet: bytes) -> bytes:
    """Return a packet in UTF-8 without the padding around it, which no XML parser accepts."""
    is_utf_8 = b"\0" not in packet.lstrip(b"\0 \t\r\n")[:8]
    return packet.strip(b"\0 \t\r\n") if is_utf_8 else packet


def _extended_packets(image: Any) -> list[bytes]:
    """Return the extended XMP of a JPEG that its main packet names, if it is whole."""
    parts: dict[bytes, dict[int, bytes]] = {}
    lengths: dict[bytes, int] = {}
    for name, segment in getattr(image, "applist", ()):
        if name == "APP1" and segment.startswith(_EXTENDED):
            body = segment[len(_EXTENDED) :]
            guid, numbers, content = body[:_GUID], body[_GUID : _GUID + 8], body[_GUID + 8 :]
            lengths[guid] = int.from_bytes(numbers[:4], "big")
            parts.setdefault(guid, {})[int.from_bytes(numbers[4:], "big")] = content
    found = []
    for guid, pieces in parts.items():
        packet = b"".join(pieces[offset] for offset in sorted(pieces))
        if guid in image.info.get("xmp", b"") and len(packet) == lengths[guid]:
            found.append(packet)
    return found


def _png_packet(file: open_photo.OpenFile) -> bytes | None:
    """Return the packet that lies behind the pixels of a PNG, where ExifTool puts it."""
    with suppress(OSError, ValueError):
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind == b"iTXt" and len(_PNG_XMP) < length <= MAX_BYTES:
                chunk = file.read(length)
                text = chunk[len(_PNG_XMP) :]
                if chunk.startswith(_PNG_XMP) and (start := _PNG_PLAIN.match(text)):
                    return text[start.end() :]
                length = 0
            file.seek(length + 4, io.SEEK_CUR)
    return None
