"""What is opened at all."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PhotoLimits:
    """Limits on one photo.

    Attributes:
        max_pixels: width times height, read from the header before anything is decoded.
        max_bytes: of the file, before it is read.
        min_side: smallest width or height in pixels.
    """

    max_pixels: int = 100_000_000
    max_bytes: int = 50_000_000
    min_side: int = 16
