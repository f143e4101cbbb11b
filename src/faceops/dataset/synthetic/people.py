"""People who do not exist: how many, their names, and the generator that draws their faces.

The generator is a DCGAN (Radford, Metz, Chintala 2016) trained on rendered faces. It runs in
float64, where CPUs differ by 1e-14, which rounding to 8 bits removes. Image files have the same
bytes on every CPU too: JPEG by libjpeg-turbo, whose SIMD and C code give the same bytes (its own
tests demand it), and PNG with stored, that is uncompressed, blocks: a compressor's output depends
on the CPU.
"""

import io
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError

LATENT_SIZE = 100
# Size of the change from photo to photo, relative to the person's own vector. For an embedder that
# was trained on such faces the mean cosine is then .69 within and .09 between people.
NOISE = 0.2

# The direction of the latent space in which a face turns from left to right, as in Shen et al. 2020
# (InterFaceGAN): the least squares of how far the nose is from the middle between the eyes over
# 3,000 drawn faces. It explains two thirds of their variance.
# fmt: off
_YAW = np.array((
    6, -19, 18, -58, 9, -41, -28, -27, -32, 103, 70, 4, 113, -90, -58, 64, -63, 57, 50, -48,
    163, 8, -19, 63, 121, 105, 50, -41, -131, 90, -60, 27, -54, 132, 76, -62, 128, 142, 44, -131,
    7, 15, -1, 178, 11, -29, -60, 59, -226, -189, -36, 112, -58, 65, -155, 19, -118, -99, 48, -86,
    7, 21, 13, 68, -235, -13, 12, -27, -132, 91, -51, 88, -143, -187, -179, -104, -15, 25, -37, 64,
    7, 163, -106, -121, -271, -47, 6, -128, 7, 4, 231, 125, -123, 109, -89, 39, -231, -116, -57,
    179,
), np.float64)
# fmt: on

# The groups of people: no two of them share a person.
TRAINING, GALLERY, STRANGERS = 0, 1, 2

_PERSON, _PHOTO = 0, 1  # first part of a spawn key after the group and the person


def person_latent(seed: int, group: int, person: int) -> np.ndarray:
    """Return the latent of one person, float64 (100,), drawn from its own seed.

    The face looks into the camera: only photos of the person vary the pose.
    """
    key = (group, person, _PERSON)
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    latent = generator.standard_normal(LATENT_SIZE)
    return latent - (latent * _YAW).sum() / (_YAW * _YAW).sum() * _YAW


def photo_latent(seed: int, group: int, person: int, photo: tuple[int, ...]) -> np.ndarray:
    """Return the latent of one photo of a person, float64 (100,).

    `photo`: numbers that identify the photo among the person's photos.
    """
    key = (group, person, _PHOTO, *photo)
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    return person_latent(seed, group, person) + NOISE * generator.standard_normal(LATENT_SIZE)


TILE = 64  # pixels: the side of a drawn face
BATCH = 64
_AT_ONCE = 16  # faces whose arrays of all layers fit into 100 MB
_KERNEL = 4  # side of every kernel

# Indices of the transposed convolutions in the state dict. The first makes 4 x 4 pixels of one, the
# others double the side: stride 2, padding 1.
_LAYERS = (0, 3, 6, 9, 12)
_LAST = _LAYERS[-1]

Draw = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Layer:
    """A transposed convolution: kernel (inputs, 4, 4, outputs), scale and shift (outputs,)."""

    kernel: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


def load_generator(weights: Path) -> Draw:
    """Return a function from latents, float64 (N, 100), to faces, uint8 (N, 64, 64, 3) RGB.

    Raises FaceOpsError: the file is not the generator's state dict.
    """
    import torch

    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)["netG_state_dict"]
        arrays = {name: value.double().numpy() for name, value in state.items()}
        layers = [_layer(arrays, index) for index in _LAYERS]
    except Exception as error:  # noqa: BLE001  whatever torch raises for a file of another kind
        raise FaceOpsError(
            f"{weights} is not the generator of synthetic people ({type(error).__name__}); "
            "fetch it again with `faceops weights fetch synthetic_people`."
        ) from None

    def draw_some(latents: np.ndarray) -> np.ndarray:
        pixels = _transposed_convolution(latents.reshape(-1, 1, 1, LATENT_SIZE), layers[0].kernel)
        for before, layer in pairwise(layers):
            pixels = np.maximum(pixels * before.scale + before.shift, 0)
            pixels = _transposed_convolution(pixels, layer.kernel)
        return ((np.tanh(pixels) + 1) * 127.5).round().astype(np.uint8)

    def draw(latents: np.ndarray) -> np.ndarray:
        starts = range(0, len(latents), _AT_ONCE)
        batches = [draw_some(latents[start : start + _AT_ONCE]) for start in starts]
        return np.concatenate([np.empty((0, TILE, TILE, 3), np.uint8), *batches])

    return draw


def _layer(state: Mapping[str, np.ndarray], index: int) -> _Layer:
    """Return a layer: batch normalisation, which the last has not, as a scale and a shift."""
    kernel = np.ascontiguousarray(state[f"main.{index}.weight"].transpose(0, 2, 3, 1))
    if index == _LAST:
        return _Layer(kernel, np.ones(3), np.zeros(3))
    norm = f"main.{index + 1}"
    scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + 1e-5)
    return _Layer(kernel, scale, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)


def _transposed_convolution(pixels: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return float64 (N, 2 S, 2 S, outputs) of (N, S, S, inputs); 4 x 4 of one pixel.

    One matrix product for all pixels, whose 4 x 4 blocks are then added where they overlap: a third
    of the time of torch's transposed convolution in float64, on one thread.
    """
    count, side, _, inputs = pixels.shape
    outputs = kernel.shape[-1]
    blocks = pixels.reshape(-1, inputs) @ kernel.reshape(inputs, -1)
    blocks = blocks.reshape(count, side, side, _KERNEL, _KERNEL, outputs)
    if side == 1:
        return blocks.reshape(count, _KERNEL, _KERNEL, outputs)
    # Halves of a block, 2 x 2 pixels each, lie on the pairs of pixels of the result.
    added = np.zeros((count, side + 1, 2, side + 1, 2, outputs))
    for down, along in product((0, 1), repeat=2):
        part = blocks[:, :, :, 2 * down : 2 * down + 2, 2 * along : 2 * along + 2]
        added[:, down : down + side, :, along : along + side] += part.transpose(0, 1, 3, 2, 4, 5)
    whole = added.reshape(count, 2 * side + 2, 2 * side + 2, outputs)
    return np.ascontiguousarray(whole[:, 1:-1, 1:-1])


_ONE = 1 << 16  # fixed point with 16 bits behind the point


def turned(tile: np.ndarray, degrees: int) -> np.ndarray:
    """Return uint8 (S, S, C) turned clockwise about its middle, bilinear, edges repeated.

    S is at most 2,000: coordinates are 32-bit fixed-point numbers with 16 fractional bits.
    """
    side = tile.shape[0]
    cosine = round(math.cos(math.radians(degrees)) * _ONE)
    sine = round(math.sin(math.radians(degrees)) * _ONE)
    # Twice the distance from the middle is a whole number for even sides too.
    offset = 2 * np.arange(side, dtype=np.int32) - (side - 1)
    across, down = offset[None, :], offset[:, None]
    middle = (side - 1) * _ONE
    x = np.clip((across * cosine + down * sine + middle) // 2, 0, (side - 1) * _ONE)
    y = np.clip((down * cosine - across * sine + middle) // 2, 0, (side - 1) * _ONE)
    left, top = x // _ONE, y // _ONE
    right, bottom = np.minimum(left + 1, side - 1), np.minimum(top + 1, side - 1)
    fx, fy = ((x % _ONE) >> 8)[..., None], ((y % _ONE) >> 8)[..., None]  # 8 bits each
    pixels = tile.astype(np.int32)
    upper = pixels[top, left] * (256 - fx) + pixels[top, right] * fx
    lower = pixels[bottom, left] * (256 - fx) + pixels[bottom, right] * fx
    return ((upper * (256 - fy) + lower * fy + (1 << 15)) >> 16).astype(np.uint8)


def brightened(tile: np.ndarray, percent: int) -> np.ndarray:
    """Return uint8 pixels times `percent` / 100."""
    return np.clip(tile.astype(np.int32) * percent // 100, 0, 255).astype(np.uint8)


_GIVEN_STARTS = "A Be Ca Do E Fi Ga He I Jo Ka Li Ma Ne O Pe Ri Sa Ti Vo"
_GIVEN_ENDS = "bra dan lia mir na ren rik ssa tus va vin zel"
_FAMILY_STARTS = "Al Bar Cor Dal Es Fen Gar Hol Il Jar Kel Lor Mar Nor Ost Pel Quin Ros"
_FAMILY_MIDDLES = "aeiou"
_FAMILY_ENDS = "bek dorf ford gren holt kova lund mont nen ris sson strand tova vik wald zec"

_ORDER_SEED = 20  # of the list itself, not of a data set: person 0 is always the same name


@cache
def _order() -> tuple[np.ndarray, list[str], list[str]]:
    given = ["".join(parts) for parts in product(_GIVEN_STARTS.split(), _GIVEN_ENDS.split())]
    starts, ends = _FAMILY_STARTS.split(), _FAMILY_ENDS.split()
    family = ["".join(parts) for parts in product(starts, _FAMILY_MIDDLES, ends)]
    count = len(given) * len(family)
    return np.random.default_rng(_ORDER_SEED).permutation(count), given, family


GROUPS = 3


def most_people() -> int:
    """Return how many people of one group can have a name."""
    return len(_order()[0]) // GROUPS


def invented_name(group: int, person: int) -> str:
    """Return the name of one synthetic person as `Given_Family`; no two people share one."""
    order, given, family = _order()
    which = int(order[person * GROUPS + group])
    return f"{given[which % len(given)]}_{family[which // len(given)]}"


# Increase it when the same settings give other bytes.
VERSION = 2

# Smaller sets have no broken photos: their share would be too large.
_BROKEN_FROM = 120


@dataclass(frozen=True)
class SyntheticSettings:
    """Counts and seed; people of one set are the first people of a larger one with that seed."""

    people: int = 520  # to train and test on
    photos: int = 5  # of each of these people
    seed: int = 7  # of everything that is drawn
    gallery: int = 20  # other people, to enrol
    enrol_photos: int = 3  # of each person to enrol
    strangers: int = 30  # people in neither group
    scenes: int = 60  # photos in the album, of gallery people and strangers

    def __post_init__(self) -> None:
        for name, low, high in (
            ("people", 1, most_people()),
            ("photos", 1, 1000),
            ("seed", 0, 2**63),
            ("gallery", 1, most_people()),
            ("strangers", 0, most_people()),
            ("scenes", 0, 900),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"--{name} {value} is out of range; give {low} to {high}.")

    @property
    def has_broken_photos(self) -> bool:
        """Whether some training photos are broken or duplicates, for validation to find."""
        return self.people * self.photos >= _BROKEN_FROM and self.people >= 5

    def as_dict(self) -> dict[str, Any]:
        """Return the settings that determine the bytes of the set."""
        return asdict(self) | {"noise": NOISE, "version": VERSION}


_STORED_MAX = 65535
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def jpeg(image: Image.Image, exif: bytes | None = None) -> bytes:
    """Return `image` as JPEG: quality 95, no chroma subsampling."""
    buffer = io.BytesIO()
    options = {"exif": exif} if exif else {}
    image.save(buffer, "JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
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
