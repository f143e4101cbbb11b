"""At which size photos are decoded; 8-bit RGB in sRGB of any format, as arrays without a copy.

Pillow keeps RGB in four bytes a pixel and lends that memory to Arrow. `np.asarray(image)` would
copy it through an encoder: 40 ms for 12 megapixels, a third of all work beside the nets.
"""

import io
import itertools
import math
import struct
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageCms

_WHITE = (255, 255, 255, 255)
_CLIPPED = 249  # a channel above it is clipped, as in `embedding.embedder`
_WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_WITH_PROFILE = ("L", "RGB", "CMYK", "LAB")
# One block an image: Arrow refuses several.
Image.core.set_use_block_allocator(1)  # type: ignore[attr-defined]


def pixels_of(image: Image.Image) -> np.ndarray:
    """Return the memory of the loaded RGB `image` as uint8 (H, W, 3), read-only.

    The fourth byte of each pixel is skipped, so that the array is not contiguous.
    """
    try:
        *_, memory = pa.array(image).buffers()
    except ValueError:  # made before the line above, of several blocks
        return np.asarray(image)
    return np.frombuffer(memory, np.uint8).reshape(image.height, image.width, 4)[:, :, :3]


def image_of(pixels: np.ndarray) -> Image.Image:
    """Return `pixels`, uint8 (H, W, 3) RGB, as an image: a copy, unless `pixels_of` made them."""
    if not _has_fourth_bytes(pixels):
        return Image.fromarray(np.ascontiguousarray(pixels))
    height, width = pixels.shape[:2]
    memory = pa.py_buffer(pixels.base)
    values = pa.Array.from_buffers(pa.uint8(), memory.size, [None, memory])
    return Image.fromarrow(pa.FixedSizeListArray.from_arrays(values, 4), "RGB", (width, height))


def _has_fourth_bytes(pixels: np.ndarray) -> bool:
    """Return whether `pixels` are a whole photo as `pixels_of` returns it."""
    height, width = pixels.shape[:2]
    memory = pixels.base
    return (
        isinstance(memory, np.ndarray)
        and memory.flags.c_contiguous
        and pixels.strides == (4 * width, 4, 1)
        and memory.nbytes == 4 * height * width
        and memory.ctypes.data == pixels.ctypes.data
    )


def part_of(pixels: np.ndarray, box: tuple[int, int, int, int]) -> Image.Image:
    """Return left, top, right, bottom of `pixels`, uint8 (H, W, 3) RGB; black outside."""
    if _has_fourth_bytes(pixels):
        return image_of(pixels).crop(box)
    height, width = pixels.shape[:2]
    left, right = (min(max(side, 0), width) for side in box[::2])
    top, bottom = (min(max(side, 0), height) for side in box[1::2])
    inside = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    return inside.crop((box[0] - left, box[1] - top, box[2] - left, box[3] - top))


def within(image: Image.Image, most_pixels: int) -> Image.Image:
    """Return the loaded `image`, reduced by a whole number if it has more than `most_pixels`."""
    factor = math.ceil(math.sqrt(math.prod(image.size) / most_pixels))
    if factor <= 1:
        return image
    if image.mode in ("1", "P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in _WIDE_MODES:
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    return image.reduce(factor)


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return the loaded `image` as uint8 (H, W, 3) RGB, see `pixels_of`.

    Transparent pixels become white. An embedded colour profile is converted to sRGB; a broken one
    is ignored. Of more than eight bits per channel the upper eight are kept.
    """
    if image.mode in _WIDE_MODES:
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    elif image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("LA", "La", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        image = _over_white(image)
    return pixels_of(_in_srgb(image))


def _over_white(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image).convert("RGB")
    if profile:
        flat.info["icc_profile"] = profile
    return flat


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Return grey `values` as uint8; the largest tells the range: 1 (float), 255 or 65535."""
    if values.dtype.itemsize == 2:
        return (values.astype(np.uint32) // 257).astype(np.uint8)
    grey = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = grey.max(initial=0.0)
    if values.dtype.kind == "f" and top <= 1:
        grey = grey * 255
    elif top > 65535:
        grey = grey * (255 / top)
    elif top > 255:
        grey = grey / 257
    return np.clip(grey, 0, 255).astype(np.uint8)


def _in_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode in _WITH_PROFILE and (profile or image.mode == "LAB"):
        try:
            source = (
                ImageCms.getOpenProfile(io.BytesIO(profile))
                if profile
                else ImageCms.createProfile("LAB")
            )
            if image.mode == "RGB" and _is_srgb(source):
                return image
            changed = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if changed is not None:
                return changed
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            pass  # a broken profile, or one for other channels: the plain conversion is close
    if image.mode == "LAB":  # Pillow cannot convert it directly: use the lightness channel
        return image.getchannel(0).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_srgb(profile: object) -> bool:
    return ImageCms.getProfileDescription(profile).strip().startswith("sRGB")  # type: ignore[arg-type]


ORIENTATION = 0x0112  # the EXIF tag

# Turns a stored photo upright, by EXIF orientation; 1 is upright already.
UNDO_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = frozenset({5, 6, 7, 8})  # width and height change places


def orientation_of(image: Image.Image) -> int:
    """Return the orientation that the file of `image` states, 1 to 8; 1 where it states none.

    Of HEIC and AVIF it is that of the container (irot, imir), in EXIF's numbers: readers ignore
    EXIF's own there (MIAF, ISO/IEC 23000-22, 7.3.10.1). Where the decoder turns pixels itself
    (`PhotoFormat.decoder_turns`), ask before `image` is loaded: the tag is gone afterwards.
    """
    if image.format == "HEIF":
        return _heif_orientation(image)
    try:
        orientation = image.getexif().get(ORIENTATION, 1)  # Pillow puts AVIF's irot and imir here
    except (AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return 1  # the pixels may still be valid
    return orientation if isinstance(orientation, int) and orientation in UNDO_ORIENTATION else 1


# By whether it mirrors left and right, and the quarter turns clockwise that follow.
_ORIENTATIONS = dict(
    zip(itertools.product((False, True), range(4)), (1, 6, 3, 8, 2, 7, 4, 5), strict=True)
)


def _heif_orientation(image: Any) -> int:
    """Return the orientation that libheif undoes, from a HEIC photo that is not yet loaded."""
    mirrored, quarters = False, 0
    for kind, *values in image._heif_file[image.tell()]._c_image.transformations:
        if kind == "irot":
            quarters -= values[0] // 90  # given anticlockwise
        elif kind == "imir":  # 0: top and bottom change places, 1: left and right
            mirrored, quarters = not mirrored, (0 if values[0] else 2) - quarters
    return _ORIENTATIONS[mirrored, quarters % 4]


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the loaded `image` turned by `orientation`, 1 to 8."""
    if orientation == 1:
        return image
    turned = image.transpose(UNDO_ORIENTATION[orientation])
    turned.info = dict(image.info)
    return turned


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

    It has `most_pixels` or fewer, if possible, and its `scaled_side` keeps `least_side` pixels,
    unless it has fewer at full size. Other formats are decoded in full. `image` is not loaded yet.
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


def recover_highlights(pixels: np.ndarray) -> np.ndarray:
    """Return the means of uint8 (H, W, 3) RGB pixels and their lowest channels.

    They show what an overexposed face still has, see `embedder.ClippedHighlights`.
    """
    lowest = np.minimum(np.minimum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
    return ((pixels.astype(np.uint16) + lowest[..., None] + 1) // 2).astype(np.uint8)


def clipped_share(pixels: np.ndarray, *, recoverable: bool = False) -> float:
    """Return the share of pixels with a clipped channel; `recoverable`: and one that is not."""
    clipped = pixels > _CLIPPED
    red, green, blue = clipped[..., 0], clipped[..., 1], clipped[..., 2]
    counted = red | green | blue
    if recoverable:
        counted &= ~(red & green & blue)
    return float(counted.mean())
