"""Which formats are opened, and how a file's first bytes tell them."""

from importlib.util import find_spec

import PIL

# Pillow's own. Formats that start other programs (EPS) or are documents (PDF) are left out;
# HEIF needs a plug-in and is opened apart.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")

_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def claims_a_format(content: bytes) -> bool:
    """Return whether `content` begins as one of the formats, however broken the rest is."""
    webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    avif = content[4:12] in (b"ftypavif", b"ftypavis")
    return webp or avif or claims_heif(content) or content.startswith(_SIGNATURES)


def claims_heif(content: bytes) -> bool:
    """Return whether `content` begins as HEIC (not AVIF, though it uses the same container)."""
    return content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS and b"avif" not in content[:48]


def public_name(pillow_format: str) -> str:
    """Return the format's name for users: a phone's MPO is a JPEG with a second picture behind."""
    return "JPEG" if pillow_format == "MPO" else pillow_format


def decoder_id() -> str:
    """Name what opens photos here: a photo that one decoder cannot open another one may."""
    heif = "+heif" if find_spec("pillow_heif") else ""
    return f"pillow {PIL.__version__}{heif}"
