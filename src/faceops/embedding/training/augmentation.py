"""Augmentation: changes of a crop that leave the person the same, on the device, in batches.

Each photo has its own draws, and every draw comes from the seed that the caller gives, by NumPy
on the CPU: a step can be repeated bit for bit, and a GPU makes the same changes as a CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch

from faceops.config.sections import Train
from faceops.embedding.training.brightness_contrast import change_brightness_contrast
from faceops.embedding.training.crop_jitter import jitter_crop
from faceops.embedding.training.gaussian_blur import blur
from faceops.embedding.training.jpeg_artefacts import add_jpeg_artefacts
from faceops.embedding.training.lower_face_occlusion import occlude
from faceops.embedding.training.mirror import mirror
from faceops.embedding.training.random_erasing import erase

# Draws a photo. Each change has its own, so that one more or less leaves the others as they are.
_DRAWS = {
    "occlude": 13, "flip": 1, "jitter": 3, "brightness": 2, "blur": 1, "jpeg": 1, "erase": 6,
}  # fmt: skip
_PIECE = 16  # photos


@dataclass(frozen=True)
class Augmentation:
    """How much crops are changed; all lie in 0..1, and 0 changes nothing.

    Strengths are the largest change: each photo's own lies anywhere between none and that. Pixels
    are those of a crop of 112; on another size they are scaled.

    flip: mirror half of the photos.
    jitter: strength; at 1 a photo is shifted by up to 16 pixels along both axes and scaled by a
        factor between 1 / 1.25 and 1.25.
    brightness: strength; at 1 brightness and contrast change by factors between 1/2 and 3/2.
    blur: strength; at 1 sigma lies between 0 and 3 pixels.
    jpeg: strength; at 1 qualities lie between 100 and 20.
    erase: share of the photos that lose a rectangle of 2 to 40 % of their area to noise.
    occlude: share of the photos whose lower face is covered, by a mask or a hand.
    """

    flip: bool = False
    jitter: float = 0.0
    brightness: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0
    erase: float = 0.0
    occlude: float = 0.0

    @classmethod
    def of(cls, settings: Train) -> "Augmentation":
        """Return what the section train of params.yaml asks for."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside 0..1."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise ValueError(f"augmentation: {field.name} is {value}, and must be in 0..1")


def augment(
    pixels: torch.Tensor, settings: Augmentation, seed: int, first: int = 0
) -> torch.Tensor:
    """Return changed copies of `pixels`, float32 (B, 3, H, W) RGB, 0..255, on their device.

    Photo i depends on its own pixels, the settings, the seed and on first + i alone: neither on
    the other photos nor on their number. With all settings 0 the tensor itself is returned.

    Args:
        seed: of all randomness, at least 0.
        first: the place of the first photo in a batch that several processes share.
    """
    if settings == Augmentation() or len(pixels) == 0:
        return pixels
    draws = _draw(seed, first, len(pixels))
    # On a CPU in pieces that stay in its cache, which is a third faster.
    size = _PIECE if pixels.device.type == "cpu" else len(pixels)
    # Under autocast, cosines and kernels would be computed in bfloat16.
    with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
        pieces = zip(pixels.split(size), draws.split(size), strict=True)
        return torch.cat([_change(part, settings, drawn) for part, drawn in pieces])


def _draw(seed: int, first: int, count: int) -> torch.Tensor:
    """Return float32 (count, draws of a photo) in [0, 1), on the CPU."""
    source = np.random.PCG64(seed)
    source.advance(first * sum(_DRAWS.values()))  # a step a draw
    uniform = np.random.Generator(source).random((count, sum(_DRAWS.values())))
    # Cut to what float32 holds: rounding could give 1.
    return torch.from_numpy((uniform * 2**24).astype(np.int32)) / 2**24


def _change(pixels: torch.Tensor, settings: Augmentation, draws: torch.Tensor) -> torch.Tensor:
    """Apply all changes in the order of a photo's life.

    First what hides the face, then how it is cut out, light and lens, the file; last what no
    photo has.
    """
    parts = draws.split(list(_DRAWS.values()), dim=1)
    drawn = dict(zip(_DRAWS, parts, strict=True))
    pixels = pixels.contiguous()  # all of it is slower with channels last
    pixels = _some(occlude, pixels, drawn["occlude"], settings.occlude)
    pixels = _some(mirror, pixels, drawn["flip"], settings.flip / 2)
    pixels = _all(jitter_crop, pixels, drawn["jitter"], settings.jitter)
    pixels = _all(change_brightness_contrast, pixels, drawn["brightness"], settings.brightness)
    pixels = _all(blur, pixels, drawn["blur"], settings.blur)
    pixels = _all(add_jpeg_artefacts, pixels, drawn["jpeg"], settings.jpeg)
    pixels = _some(erase, pixels, drawn["erase"], settings.erase)
    return pixels.clamp(0, 255)  # interpolation may round to a little beyond


def _some(
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    pixels: torch.Tensor,
    draws: torch.Tensor,
    share: float,
) -> torch.Tensor:
    """Change the photos whose first draw is below `share`; the others cost nothing."""
    chosen = torch.nonzero(draws[:, 0] < share).flatten()  # on the CPU: no GPU has to be awaited
    if len(chosen) == 0:
        return pixels
    at = chosen.to(pixels.device, non_blocking=True)
    changed = change(pixels[at], draws[chosen, 1:].to(pixels.device, non_blocking=True))
    return pixels.index_copy(0, at, changed)


def _all(
    change: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor],
    pixels: torch.Tensor,
    draws: torch.Tensor,
    strength: float,
) -> torch.Tensor:
    """Change every photo, up to `strength`."""
    if strength == 0:
        return pixels
    return change(pixels, draws.to(pixels.device, non_blocking=True), strength)
