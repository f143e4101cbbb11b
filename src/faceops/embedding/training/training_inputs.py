"""What a training step feeds the network: changed pixels, or features of a frozen trunk."""

from typing import Protocol

import numpy as np
import torch

from faceops.embedding.embed_crops import pixels_of
from faceops.embedding.embedder import Embedder
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.augment import augment

BATCH = 64


class TrainingInputs(Protocol):
    """A way to train an embedder."""

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the part of `model` whose weights change."""

    def embed(
        self, model: Embedder, positions: np.ndarray, draw: np.random.Generator
    ) -> torch.Tensor:
        """Return embeddings (B, D), with gradient, of the training faces at `positions`."""

    def embed_plain(self, model: Embedder, validation: bool) -> np.ndarray:
        """Return float32 (N, D) of all validation (or training) faces, unchanged."""


class PixelInputs:
    """All layers are trained, on changed crops."""

    def __init__(
        self,
        train: LabelledCrops,
        val: LabelledCrops,
        flip: bool,
        jitter: float,
        device: torch.device,
    ) -> None:
        self._faces = {False: train, True: val}
        self._flip, self._jitter, self._device = flip, jitter, device

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the whole model."""
        return model

    def embed(
        self, model: Embedder, positions: np.ndarray, draw: np.random.Generator
    ) -> torch.Tensor:
        """Embed changed copies of the crops at `positions`."""
        train = self._faces[False]
        crops = augment(train.crops[train.rows[positions]], draw, self._flip, self._jitter)
        embeddings: torch.Tensor = model(pixels_of(crops, self._device))
        return embeddings

    @torch.inference_mode()
    def embed_plain(self, model: Embedder, validation: bool) -> np.ndarray:
        """Embed the crops as they are."""
        faces = self._faces[validation]
        parts = [
            model(pixels_of(faces.crops[faces.rows[start : start + BATCH]], self._device))
            for start in range(0, len(faces.rows), BATCH)
        ]
        return torch.cat(parts).cpu().numpy()


class FeatureInputs:
    """Only the head is trained, on features of the frozen trunk."""

    def __init__(self, train: np.ndarray, val: np.ndarray, device: torch.device) -> None:
        """Take float16 features (N, views, C, H, W) of training and validation faces."""
        self._features = {False: train, True: val}
        self._device = device

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the head."""
        return model.head

    def embed(
        self, model: Embedder, positions: np.ndarray, draw: np.random.Generator
    ) -> torch.Tensor:
        """Embed one view, drawn at random, of each face at `positions`."""
        features = self._features[False]
        views = draw.integers(features.shape[1], size=len(positions))
        return model.embed_features(self._to_device(features[positions, views]))

    @torch.inference_mode()
    def embed_plain(self, model: Embedder, validation: bool) -> np.ndarray:
        """Embed view 0 of all faces."""
        features = self._features[validation]
        parts = [
            model.embed_features(self._to_device(features[start : start + BATCH, 0]))
            for start in range(0, len(features), BATCH)
        ]
        return torch.cat(parts).cpu().numpy()

    def _to_device(self, features: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(features)).to(self._device).float()
