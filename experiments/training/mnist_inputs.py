"""What digits a training step sees: turned, sheared, scaled, shifted and bent a little.

Elastic distortions as Simard et al. (2003), the bends given at a few points and smooth between.
"""

import numpy as np
import torch
import torch.nn.functional as F

from faceops.embedding.embedder import Embedder
from faceops.embedding.labelled_crops import LabelledCrops

BATCH = 500
DEGREES = 15.0
SCALE = 0.12  # each axis by up to so much, larger or smaller
SHEAR = 0.2
SHIFT = 2.0  # pixels
BEND = 1.2  # pixels, standard deviation at each of the points
POINTS = 5  # a side


class DigitInputs:
    """All layers are trained, on bent copies of digits."""

    def __init__(self, train: LabelledCrops, val: LabelledCrops, strength: float = 1.0) -> None:
        """`crops` of both are uint8 (M, 28, 28); `strength` 0: as they are, 1: as above."""
        self._faces = {False: train, True: val}
        self._strength = strength

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the whole model."""
        return model

    def load(self, positions: np.ndarray) -> torch.Tensor:
        """Read digits, uint8 (B, 28, 28)."""
        train = self._faces[False]
        return torch.from_numpy(train.crops[train.rows[positions]])

    def embed(
        self, model: Embedder, loaded: torch.Tensor, seed: int, first: int = 0
    ) -> torch.Tensor:
        """Embed changed copies of digits; by one process, so `first` is 0."""
        draw = np.random.default_rng(seed)
        embeddings: torch.Tensor = model(bend(_pixels(loaded), draw, self._strength))
        return embeddings

    def embed_plain(
        self, model: Embedder, validation: bool, positions: np.ndarray | None = None
    ) -> np.ndarray:
        """Embed the digits as they are."""
        faces = self._faces[validation]
        rows = faces.rows if positions is None else faces.rows[positions]
        return embed_digits(model, faces.crops[rows])


def _pixels(digits: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 28, 28) -> float32 (B, 1, 28, 28), 0..255."""
    return digits.float()[:, None]


@torch.inference_mode()
def embed_digits(model: Embedder, images: np.ndarray) -> np.ndarray:
    """Return float32 (N, D) for uint8 (N, 28, 28); the mode of `model` is left as it is."""
    digits = torch.from_numpy(np.array(images))  # a copy: a file's bytes are read-only
    parts = [
        model(_pixels(digits[start : start + BATCH])) for start in range(0, len(digits), BATCH)
    ]
    return torch.cat(parts).numpy()


def bend(pixels: torch.Tensor, draw: np.random.Generator, strength: float) -> torch.Tensor:
    """Return changed copies of `pixels` float32 (B, 1, H, W); what enters the frame is black."""
    count, _, height, _ = pixels.shape
    turn, shear, *scale = (
        strength * limit * draw.uniform(-1, 1, count)
        for limit in (np.radians(DEGREES), SHEAR, SCALE, SCALE)
    )
    shift = strength * SHIFT * 2 / height * draw.uniform(-1, 1, (count, 2))
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)  # (B, 2, 2)
    stretch = np.zeros((count, 2, 2))
    stretch[:, 0, 0], stretch[:, 1, 1], stretch[:, 0, 1] = 1 + scale[0], 1 + scale[1], shear
    affine = np.concatenate([rotation @ stretch, shift[:, :, None]], axis=2)  # (B, 2, 3)
    grid = F.affine_grid(torch.from_numpy(affine).float(), list(pixels.shape), align_corners=False)
    points = strength * BEND * 2 / height * draw.standard_normal((count, 2, POINTS, POINTS))
    bends = F.interpolate(
        torch.from_numpy(points).float(), size=pixels.shape[2:], mode="bicubic", align_corners=True
    )
    return F.grid_sample(pixels, grid + bends.permute(0, 2, 3, 1), align_corners=False)
