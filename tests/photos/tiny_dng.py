"""A camera's raw photo, small enough to be made in a test."""

import io
import struct

import numpy as np
from PIL import Image


def dng(pixels: np.ndarray, preview: Image.Image | None = None, orientation: int = 1) -> bytes:
    """Return a DNG of `pixels`, uint8 (H, W, 3) RGB with even sides, as a sensor stores it.

    `preview` becomes the JPEG in it.
    """
    height, width = pixels.shape[:2]
    sensor = np.zeros((height, width), "<u2")  # red, green / green, blue
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        sensor[row::2, column::2] = pixels[row::2, column::2, channel]
    sensor = (sensor.astype(np.float64) / 255) ** 2.2 * 65535  # sensors are linear
    raw = {
        254: [0], 256: [width], 257: [height], 258: ("H", [16]), 259: ("H", [1]),
        262: ("H", [32803]), 277: ("H", [1]), 278: [height],
        33421: ("H", [2, 2]), 33422: ("B", [0, 1, 1, 2]),
    }  # fmt: skip
    first = {
        50706: ("B", [1, 4, 0, 0]), 50708: ("s", b"Camera\0"), 271: ("s", b"Maker\0"),
        272: ("s", b"Camera\0"), 274: ("H", [orientation]),
        50721: ("r", [1, 0, 0, 0, 1, 0, 0, 0, 1]), 50728: ("R", [1, 1, 1]), 50778: ("H", [21]),
    }  # fmt: skip
    strip = sensor.round().astype("<u2").tobytes()
    if preview is None:
        return _tiff([({**first, **raw}, strip)])
    buffer = io.BytesIO()
    preview.save(buffer, "JPEG", quality=95)
    shown = {
        254: [1], 256: [preview.width], 257: [preview.height], 258: ("H", [8, 8, 8]),
        259: ("H", [7]), 262: ("H", [6]), 277: ("H", [3]), 278: [preview.height],
    }  # fmt: skip
    return _tiff([({**first, **shown}, buffer.getvalue()), (raw, strip)])


def _tiff(folders: list[tuple[dict, bytes]]) -> bytes:
    """Return a TIFF with one strip in each folder; the second folder is below the first."""
    out = bytearray(b"II*\0\x08\0\0\0")
    for number, (tags, strip) in enumerate(folders):
        tags = {**tags, 273: [0], 279: [len(strip)]}
        if number == 0 and len(folders) > 1:
            tags[330] = [0]
        start = len(out)
        after = start + 2 + 12 * len(tags) + 4
        entries, values = b"", b""
        for tag, value in sorted(tags.items()):
            kind, items = value if isinstance(value, tuple) else ("I", value)
            if kind == "s":
                code, count, packed = 2, len(items), items
            elif kind in "rR":
                code, count = (10 if kind == "r" else 5), len(items)
                packed = struct.pack(
                    f"<{2 * count}i", *(part for one in items for part in (one, 1))
                )
            else:
                code, count = {"B": 1, "H": 3, "I": 4}[kind], len(items)
                packed = struct.pack(f"<{count}{kind}", *items)
            if tag == 273:
                strip_entry = start + 2 + len(entries) + 8
            if tag == 330:
                below_entry = start + 2 + len(entries) + 8
            if len(packed) > 4:
                place = after + len(values)
                values += packed + b"\0" * (len(packed) % 2)
                packed = struct.pack("<I", place)
            entries += struct.pack("<HHI", tag, code, count) + packed.ljust(4, b"\0")
        out += struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + values
        struct.pack_into("<I", out, strip_entry, len(out))
        out += strip + b"\0" * (len(strip) % 2)
        if number == 0 and len(folders) > 1:
            struct.pack_into("<I", out, below_entry, len(out))
    return bytes(out)
