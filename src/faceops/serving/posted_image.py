"""The image in a row of a request: base64 text to the bytes of a photo's file."""

import base64
import binascii
from pathlib import Path

from faceops.base.errors import UsageError
from faceops.photos.photo_bytes import check_length
from faceops.photos.photo_limits import PhotoLimits
from faceops.release.served_interface import IMAGE

NAME = Path("the posted file")  # what sentences call it: it has no file
_SPACE = b" \t\r\n"  # tools break base64 into lines


def posted_bytes(value: object, row: int, limits: PhotoLimits) -> bytes:
    """Return the bytes that the base64 text `value` in row `row`, counted from 0, stands for.

    How many they are is told from the text's length: too many are not decoded.

    Raises:
        UsageError: it is no base64 text.
        PhotoError: there are no bytes, or more than `limits` allow.
    """
    if not isinstance(value, str):
        raise UsageError(
            f"row {row} of the column {IMAGE} (the first is 0) is no text; send the base64 of a "
            "photo's file."
        )
    try:
        digits = value.encode("ascii").translate(None, _SPACE)
        length = -(-len(digits) // 4) * 3 - digits[-2:].count(b"=")
        check_length(NAME, length, limits.max_bytes)
        return base64.b64decode(digits, validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise UsageError(
            f"row {row} of the column {IMAGE} (the first is 0) is not base64; send that of a "
            "photo's file, without a `data:` in front."
        ) from None
