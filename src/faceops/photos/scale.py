"""At which size photos are decoded."""

from PIL import Image

PANORAMA = 3.0  # longer side over shorter side


def scaled_side(width: int, height: int) -> int:
    """Return the side by which photos are scaled: the longer, or twice the shorter of a panorama.

    A panorama whose longer side is scaled to that of other photos has no face left.
    """
    longer, shorter = max(width, height), min(width, height)
    return longer if longer <= PANORAMA * shorter else 2 * shorter


_DRAFT_SCALES = (1, 2, 4, 8)  # of a JPEG: what its transform gives cheaply


def choose_scale(image: Image.Image, least_side: int | None, most_pixels: int) -> bool:
    """Choose the scale at which a JPEG is decoded; return whether `least_side` made it smaller.

    It has `most_pixels` or fewer, if possible. Other formats are decoded in full.

    Args:
        image: not loaded yet.
        least_side: its `scaled_side` keeps so many pixels, unless it has fewer at full size.
    """
    width, height = image.size
    fitting = [scale for scale in _DRAFT_SCALES if width * height <= most_pixels * scale**2]
    full = next(iter(fitting), _DRAFT_SCALES[-1])
    side = scaled_side(width, height)
    wanted = [scale for scale in _DRAFT_SCALES if least_side and least_side * scale <= side]
    scale = max([full, *wanted])
    if scale > 1:
        image.draft(None, (width // scale or 1, height // scale or 1))
    return scale > full and image.size != (width, height)


def is_single_scan(content: bytes) -> bool:
    """Return whether `content` is a JPEG in one scan: a reduced one is decoded in little memory.

    The decoder holds all coefficients of others, such as progressive ones, at any size.
    """
    at, components = 2, 0
    while content[at : at + 1] == b"\xff" and at + 10 < len(content):
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in (0xC0, 0xC1):  # start of frame: baseline or extended sequential
            components = content[at + 9]
        elif marker == 0xDA:  # start of scan
            return 0 < components == content[at + 4]
        at += 2 + length
    return False
