"""Photos with names in them, as other programs write them: packets in their style, in each format.

A face is a name and an area of the stored image: x and y of its middle, width, height.
"""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from PIL import Image, PngImagePlugin

from faceops.photos.pixels import ORIENTATION, UNDO_ORIENTATION
from faceops.photos.xmp import MWG, Area

Faces = Sequence[tuple[str, Area]]
Size = tuple[int, int]
STORE = UNDO_ORIENTATION | {6: UNDO_ORIENTATION[8], 8: UNDO_ORIENTATION[6]}
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_OPEN = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    f' xmlns:mwg-rs="{MWG}" xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"'
    ' xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"'
    ' xmlns:MP="http://ns.microsoft.com/photo/1.2/"'
    ' xmlns:MPRI="http://ns.microsoft.com/photo/1.2/t/RegionInfo#"'
    ' xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#"'
    ' xmlns:apple-fi="http://ns.apple.com/faceinfo/1.0/">'
)
_CLOSE = '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'


def _dimensions(size: Size) -> str:
    return (
        f'<mwg-rs:AppliedToDimensions stDim:w="{size[0]}" stDim:h="{size[1]}" stDim:unit="pixel"/>'
    )


def _regions(size: Size, items: str, array: str = "Bag") -> str:
    """Return MWG's structure as most programs write it, with `items`."""
    return (
        f'<mwg-rs:Regions rdf:parseType="Resource">{_dimensions(size)}<mwg-rs:RegionList>'
        f"<rdf:{array}>{items}</rdf:{array}></mwg-rs:RegionList></mwg-rs:Regions>"
    )


def _attributes(area: Area) -> str:
    values = " ".join(
        f'stArea:{side}="{value:.6f}"' for side, value in zip("xywh", area, strict=True)
    )
    return f'<mwg-rs:Area {values} stArea:unit="normalized"/>'


def lightroom(faces: Faces, size: Size) -> str:
    """Name and type as attributes of a description, the area as attributes."""
    items = "".join(
        f'<rdf:li><rdf:Description mwg-rs:Rotation="0.0" mwg-rs:Name={quoteattr(name)} '
        f'mwg-rs:Type="Face">{_attributes(area)}</rdf:Description></rdf:li>'
        for name, area in faces
    )
    return _OPEN + _regions(size, items) + _CLOSE


def picasa(faces: Faces, size: Size) -> str:
    """Nested descriptions instead of rdf:parseType, and no type."""
    items = "".join(
        f"<rdf:li><rdf:Description mwg-rs:Name={quoteattr(name)}>{_attributes(area)}"
        "</rdf:Description></rdf:li>"
        for name, area in faces
    )
    body = f"{_dimensions(size)}<mwg-rs:RegionList><rdf:Bag>{items}</rdf:Bag></mwg-rs:RegionList>"
    return (
        f"{_OPEN}<mwg-rs:Regions><rdf:Description>{body}</rdf:Description></mwg-rs:Regions>{_CLOSE}"
    )


def apple(faces: Faces, size: Size) -> str:
    """Every field an element, a sequence, and extensions of its own with arrays."""
    items = ""
    for name, area in faces:
        sides = "".join(
            f"<stArea:{side}>{value}</stArea:{side}>"
            for side, value in zip("xywh", area, strict=True)
        )
        shown = name.replace("&", "&amp;").replace("<", "&lt;")
        items += (
            f'<rdf:li rdf:parseType="Resource"><mwg-rs:Area rdf:parseType="Resource">{sides}'
            "<stArea:unit>normalized</stArea:unit></mwg-rs:Area><mwg-rs:Type>Face</mwg-rs:Type>"
            f"<mwg-rs:Name>{shown}</mwg-rs:Name>"
            '<mwg-rs:Extensions rdf:parseType="Resource"><apple-fi:AngleInfoYaw>0'
            "</apple-fi:AngleInfoYaw><apple-fi:All><rdf:Bag><rdf:li>1</rdf:li></rdf:Bag>"
            "</apple-fi:All></mwg-rs:Extensions></rdf:li>"
        )
    return _OPEN + _regions(size, items, "Seq") + _CLOSE


def microsoft(faces: Faces, size: Size) -> str:
    """The regions of Windows Photo Gallery: the corner of each."""
    return _OPEN + _microsoft(faces) + _CLOSE


def _microsoft(faces: Faces) -> str:
    items = "".join(
        f'<rdf:li><rdf:Description MPReg:Rectangle="{x - w / 2:.6f}, {y - h / 2:.6f}, {w:.6f}, '
        f'{h:.6f}" MPReg:PersonDisplayName={quoteattr(name)}/></rdf:li>'
        for name, (x, y, w, h) in faces
    )
    return (
        '<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag>'
        f"{items}</rdf:Bag></MPRI:Regions></MP:RegionInfo>"
    )


def digikam(faces: Faces, size: Size) -> str:
    """Both kinds for each face."""
    both = picasa(faces, size).removesuffix(_CLOSE)
    return both + _microsoft(faces) + _CLOSE


STYLES: dict[str, Callable[[Faces, Size], str]] = {
    each.__name__: each for each in (lightroom, picasa, apple, microsoft, digikam)
}
FORMATS = (".jpg", ".png", ".late.png", ".extended.jpg", ".webp", ".tif", ".heic", ".avif")


def save(upright: Image.Image, path: Path, packet: str, orientation: int = 1) -> None:
    """Write a photo in the format of its suffix, one of FORMATS, with a packet in it."""
    stored = upright.transpose(STORE[orientation]) if orientation > 1 else upright.copy()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content, buffer = packet.encode(), io.BytesIO()
    suffix = path.suffix
    if suffix == ".png":
        info = PngImagePlugin.PngInfo()
        if not path.name.endswith(".late.png"):
            info.add_itxt("XML:com.adobe.xmp", packet)
        stored.save(buffer, "PNG", pnginfo=info, exif=exif.tobytes())
    elif suffix == ".tif":
        stored.save(buffer, "TIFF", tiffinfo={700: content, ORIENTATION: orientation})
    elif suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
        stored.info["exif"] = exif.tobytes()  # irot and imir are made from it
        stored.save(buffer, "HEIF", exif=exif.tobytes(), xmp=content, quality=90)
    else:
        kind = Image.registered_extensions()[suffix]
        extra = {} if path.name.endswith(".extended.jpg") else {"xmp": content}
        stored.save(buffer, kind, quality=95, exif=exif.tobytes(), **extra)
    data = buffer.getvalue()
    if path.name.endswith(".late.png"):
        data = data[:-12] + _chunk(b"XML:com.adobe.xmp\0\0\0\0\0" + content) + data[-12:]
    elif path.name.endswith(".extended.jpg"):
        data = data[:2] + extended_segments(content) + data[2:]
    path.write_bytes(data)


def _chunk(content: bytes) -> bytes:
    """Return a chunk iTXt of a PNG."""
    named = b"iTXt" + content
    return struct.pack(">I", len(content)) + named + struct.pack(">I", zlib.crc32(named))


def extended_segments(packet: bytes, guid: bytes = b"A" * 32) -> bytes:
    """Return the segments APP1 of a JPEG whose packet is too large for one, in wrong order."""
    note = b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s"' % guid
    main = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        b'syntax-ns#"><rdf:Description rdf:about="" %s/></rdf:RDF></x:xmpmeta>' % note
    )
    half = len(packet) // 2
    parts = [(half, packet[half:]), (0, packet[:half])]
    segments = [b"http://ns.adobe.com/xap/1.0/\0" + main] + [
        EXTENSION + guid + struct.pack(">II", len(packet), offset) + part for offset, part in parts
    ]
    return b"".join(b"\xff\xe1" + struct.pack(">H", len(one) + 2) + one for one in segments)
