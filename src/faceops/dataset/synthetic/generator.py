"""The generator of faces: a DCGAN (Radford, Metz, Chintala 2016) trained on rendered faces.

It runs in float64, where CPUs differ by 1e-14, which rounding to 8 bits removes.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.parallel import usable_cpus

LATENT_SIZE = 100
# Size of the change from photo to photo, relative to the person's own vector. At 0.3 an
# independent embedding gives a mean cosine of .62 within and .18 between people.
NOISE = 0.3

# The groups of people: no two of them share a person.
TRAINING, GALLERY, STRANGERS = 0, 1, 2

_PERSON, _PHOTO = 0, 1  # first part of a spawn key after the group and the person


def person_latent(seed: int, group: int, person: int) -> np.ndarray:
    """Return the latent of one person, float64 (100,), drawn from its own seed."""
    key = (group, person, _PERSON)
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    return generator.standard_normal(LATENT_SIZE)


def photo_latent(seed: int, group: int, person: int, photo: tuple[int, ...]) -> np.ndarray:
    """Return the latent of one photo of a person, float64 (100,).

    Args:
        photo: numbers that identify the photo among the person's photos.
    """
    key = (group, person, _PHOTO, *photo)
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    return person_latent(seed, group, person) + NOISE * generator.standard_normal(LATENT_SIZE)


TILE = 64  # pixels: the side of a drawn face
BATCH = 64

# (index of the transposed convolution in the state dict, stride, padding)
_LAYERS = ((0, 1, 0), (3, 2, 1), (6, 2, 1), (9, 2, 1), (12, 2, 1))
_LAST = _LAYERS[-1][0]

Draw = Callable[[np.ndarray], np.ndarray]


def load_generator(weights: Path) -> Draw:
    """Return a function from latents, float64 (N, 100), to faces, uint8 (N, 64, 64, 3) RGB.

    Raises:
        FaceOpsError: the file is not the generator's state dict.
    """
    import torch

    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)["netG_state_dict"]
        state = {name: value.double() for name, value in state.items()}
        layers = [_layer(state, index) for index, _, _ in _LAYERS]
    except Exception as error:  # noqa: BLE001  whatever torch raises for a file of another kind
        raise FaceOpsError(
            f"{weights} is not the generator of synthetic people ({type(error).__name__}); "
            "fetch it again with `faceops weights fetch synthetic_people`."
        ) from None

    def draw_batch(latents: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(latents.reshape(-1, LATENT_SIZE, 1, 1))
        for (kernel, scale, shift), (index, stride, padding) in zip(layers, _LAYERS, strict=True):
            x = torch.nn.functional.conv_transpose2d(x, kernel, stride=stride, padding=padding)
            x = torch.tanh(x) if index == _LAST else torch.relu(x * scale + shift)
        return ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    def draw(latents: np.ndarray) -> np.ndarray:
        threads = torch.get_num_threads()
        torch.set_num_threads(usable_cpus())
        try:
            with torch.inference_mode():
                starts = range(0, len(latents), BATCH)
                batches = [draw_batch(latents[start : start + BATCH]) for start in starts]
        finally:
            torch.set_num_threads(threads)
        return np.concatenate([np.empty((0, TILE, TILE, 3), np.uint8), *batches])

    return draw


def _layer(state: dict, index: int) -> tuple:
    """Return kernel, scale and shift: batch normalisation as one multiplication and addition."""
    kernel = state[f"main.{index}.weight"]
    if index == _LAST:
        return kernel, None, None
    norm = f"main.{index + 1}"
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
    shift = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return kernel, scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)


_ONE = 1 << 16  # fixed point with 16 bits behind the point


def turned(tile: np.ndarray, degrees: int) -> np.ndarray:
    """Return uint8 (S, S, C) turned clockwise about its middle, bilinear, edges repeated."""
    side = tile.shape[0]
    cosine = round(math.cos(math.radians(degrees)) * _ONE)
    sine = round(math.sin(math.radians(degrees)) * _ONE)
    # Twice the distance from the middle is a whole number for even sides too.
    offset = 2 * np.arange(side, dtype=np.int64) - (side - 1)
    across, down = offset[None, :], offset[:, None]
    middle = (side - 1) * _ONE
    x = np.clip((across * cosine + down * sine + middle) // 2, 0, (side - 1) * _ONE)
    y = np.clip((down * cosine - across * sine + middle) // 2, 0, (side - 1) * _ONE)
    left, top = x // _ONE, y // _ONE
    right, bottom = np.minimum(left + 1, side - 1), np.minimum(top + 1, side - 1)
    fx, fy = ((x % _ONE) >> 8)[..., None], ((y % _ONE) >> 8)[..., None]  # 8 bits each
    pixels = tile.astype(np.int64)
    upper = pixels[top, left] * (256 - fx) + pixels[top, right] * fx
    lower = pixels[bottom, left] * (256 - fx) + pixels[bottom, right] * fx
    return ((upper * (256 - fy) + lower * fy + (1 << 15)) >> 16).astype(np.uint8)


def brightened(tile: np.ndarray, percent: int) -> np.ndarray:
    """Return uint8 pixels times `percent` / 100."""
    return np.clip(tile.astype(np.int32) * percent // 100, 0, 255).astype(np.uint8)
