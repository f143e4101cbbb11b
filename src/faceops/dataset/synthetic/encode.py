"""Encodings whose bytes are the same on every CPU.

JPEG by libjpeg-turbo, whose SIMD and C code give the same bytes (its own tests demand it), and
PNG with stored, that is uncompressed, blocks: a compressor's output depends on the CPU.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

_STORED_MAX = 65535
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def jpeg(image: Image.Image, exif: bytes | None = None) -> bytes:
    """Return `image` as JPEG: quality 95, no chroma subsampling."""
    buffer = io.BytesIO()
    options = {"exif": exif} if exif else {}
    image.save(buffer, "JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_header(width: int, height: int, bits: int, colour: int) -> bytes:
    """Return a PNG's signature and IHDR chunk; `colour` 0 is grey, 2 is RGB."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return PNG_SIGNATURE + png_chunk(b"IHDR", header)


def stored_zlib(content: bytes) -> bytes:
    """Return `content` as a zlib stream of stored blocks (RFC 1950, RFC 1951 3.2.4)."""
    blocks = [b"\x78\x01"]
    starts = range(0, len(content), _STORED_MAX) or [0]
    for start in starts:
        block = content[start : start + _STORED_MAX]
        last = start + _STORED_MAX >= len(content)
        blocks += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join(blocks) + struct.pack(">I", zlib.adler32(content))


def png(pixels: np.ndarray) -> bytes:
    """Return uint8 (H, W, 3) RGB, uint8 (H, W) grey or uint16 (H, W) grey as PNG."""
    height, width = pixels.shape[:2]
    wide = pixels.dtype == np.uint16
    rows = pixels.astype(">u2") if wide else pixels
    content = b"".join(b"\x00" + row.tobytes() for row in rows)
    header = png_header(width, height, 16 if wide else 8, 2 if pixels.ndim == 3 else 0)
    return header + png_chunk(b"IDAT", stored_zlib(content)) + png_chunk(b"IEND", b"")
