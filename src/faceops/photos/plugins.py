"""Plug-ins of Pillow for formats of extras: camera raw by rawpy, JPEG XL by pillow-jxl-plugin."""

import io
import math
import re
from typing import Any

from PIL import Image, ImageFile

from faceops.photos.pixels import ORIENTATION, SIDEWAYS, UNDO_ORIENTATION

_RAW_TURNS = {1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}  # LibRaw's flip to EXIF's orientation


def register_raw(signature: re.Pattern[bytes]) -> None:
    """Make Pillow open camera raw files as the format RAW; ImportError without rawpy."""
    import rawpy

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
            if self._preview and _is_upright(self._preview) != _is_upright(self):
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
            """Decode the JPEG at a part of its size."""
            if self._preview and size:
                self._preview.draft(mode, size if self._back is None else size[::-1])
                reduced = self._preview.size
                self._size = reduced if self._back is None else reduced[::-1]

        def load(self) -> Any:
            """Decode the pixels."""
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

    Image.register_open("RAW", RawFile, lambda prefix: bool(signature.match(prefix)))


def _is_upright(image: Image.Image) -> bool:
    return image.height > image.width


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


def register_jxl(signature: re.Pattern[bytes]) -> None:
    """Make Pillow open JPEG XL; ImportError without pillow-jxl-plugin."""
    from pillow_jxl import JpegXLImagePlugin

    class JxlFile(JpegXLImagePlugin.JXLImageFile):
        """A JPEG XL photo, turned by its decoder, unless a whole JPEG is packed in it."""

        def _open(self) -> None:
            super()._open()
            if not self.jpeg:
                self.info.pop("exif", None)

    JpegXLImagePlugin.DECODE_THREADS = 0  # photos are spread over threads
    Image.register_open("JXL", JxlFile, lambda prefix: bool(signature.match(prefix)))


def jxl_size(content: bytes) -> tuple[int, int]:
    """Return the width and height that a JPEG XL file states; the plug-in decodes as it opens.

    Raises:
        ValueError: it is broken.
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
