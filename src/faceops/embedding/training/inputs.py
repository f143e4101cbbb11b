"""What a training step feeds the network: augmented crops, or features of a frozen trunk."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from faceops.base.errors import FaceOpsError
from faceops.base.parallel import ordered_map
from faceops.base.progress import track
from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder
from faceops.embedding.training.augmentation import Augmentation, augment
from faceops.embedding.training.dataset import FaceDataset
from faceops.embedding.training.feature_cache import cached_features

BATCH = 64  # faces that `embed_plain` embeds at once
Split = Literal["train", "val"]


class TrainingInputs:
    """Reads faces, and embeds them with gradient (augmented) or without (unchanged).

    Subclasses define `trained`, `read`, `forward_augmented` and `forward`.
    """

    def __init__(self, train: FaceDataset, val: FaceDataset, device: torch.device) -> None:
        self.train, self.val, self.device = train, val, device

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the part of `model` whose weights change."""
        raise NotImplementedError

    def read(self, split: Split, positions: np.ndarray) -> np.ndarray:
        """Return what is stored of the faces of `split` at `positions`, int64 (B,)."""
        raise NotImplementedError

    def forward_augmented(
        self, model: Embedder, batch: torch.Tensor, seed: int, first: int
    ) -> torch.Tensor:
        """Embed an augmented view, drawn from `seed`, of what `read` returned."""
        raise NotImplementedError

    def forward(self, model: Embedder, batch: torch.Tensor) -> torch.Tensor:
        """Embed what `read` returned, unchanged."""
        raise NotImplementedError

    def load(self, positions: np.ndarray) -> torch.Tensor:
        """Read training faces, in any thread; in pinned memory for a GPU to fetch."""
        return self._in_memory(self.read("train", positions))

    def embed(
        self, model: Embedder, loaded: torch.Tensor, seed: int, first: int = 0
    ) -> torch.Tensor:
        """Return embeddings (B, D), with gradient, of faces that `load` returned.

        Args:
            seed: of all randomness, at least 0.
            first: the place of the first face in a batch that several processes share.
        """
        batch = loaded.to(self.device, non_blocking=True)
        return self.forward_augmented(model, batch, seed, first)

    @torch.inference_mode()
    def embed_plain(
        self, model: Embedder, split: Split, positions: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float32 (N, D) of faces of `split`, unchanged: those at `positions`, or all."""
        if positions is None:
            positions = np.arange(len(self.val if split == "val" else self.train))
        batches = [positions[start : start + BATCH] for start in range(0, len(positions), BATCH)]
        loaded = ordered_map(lambda rows: self._in_memory(self.read(split, rows)), batches, 1)
        parts = [
            self.forward(model, batch.to(self.device, non_blocking=True)).float()
            for batch in track(loaded, "embedding", len(batches), after_s=2)
        ]
        return torch.cat(parts).cpu().numpy()

    def _in_memory(self, rows: np.ndarray) -> torch.Tensor:
        loaded = torch.from_numpy(np.asarray(rows))
        return loaded.pin_memory() if self.device.type == "cuda" else loaded


class PixelInputs(TrainingInputs):
    """All layers are trained, on augmented crops, uint8 (B, H, W, 3), of any one size."""

    def __init__(
        self,
        train: FaceDataset,
        val: FaceDataset,
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        super().__init__(train, val, device)
        self.augmentation = augmentation

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the whole model."""
        return model

    def read(self, split: Split, positions: np.ndarray) -> np.ndarray:
        """Return crops, uint8 (B, H, W, 3)."""
        return (self.val if split == "val" else self.train)[positions]

    def forward_augmented(
        self, model: Embedder, batch: torch.Tensor, seed: int, first: int
    ) -> torch.Tensor:
        """Embed augmented crops."""
        pixels = augment(batch.permute(0, 3, 1, 2).float(), self.augmentation, seed, first)
        embeddings: torch.Tensor = model(pixels.contiguous(memory_format=torch.channels_last))
        return embeddings

    def forward(self, model: Embedder, batch: torch.Tensor) -> torch.Tensor:
        """Embed crops."""
        embeddings: torch.Tensor = model(batch.permute(0, 3, 1, 2).float())
        return embeddings


class FeatureInputs(TrainingInputs):
    """Only the head is trained, on features of the frozen trunk, float16 (N, views, ...)."""

    def __init__(
        self,
        train: FaceDataset,
        val: FaceDataset,
        features: dict[Split, np.ndarray],
        device: torch.device,
    ) -> None:
        super().__init__(train, val, device)
        self.features = features

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the head."""
        return model.head

    def read(self, split: Split, positions: np.ndarray) -> np.ndarray:
        """Return all views of the features."""
        return self.features[split][positions]

    def forward_augmented(
        self, model: Embedder, batch: torch.Tensor, seed: int, first: int
    ) -> torch.Tensor:
        """Embed one view of each face, drawn at random."""
        count, views = batch.shape[:2]
        uniform = np.random.default_rng(seed).random(first + count)[first:]
        drawn = torch.from_numpy((uniform * views).astype(np.int64))
        drawn = drawn.to(self.device, non_blocking=True)
        chosen = batch[torch.arange(count, device=self.device), drawn]
        return model.embed_features(chosen.float())

    def forward(self, model: Embedder, batch: torch.Tensor) -> torch.Tensor:
        """Embed view 0, the face as it is."""
        return model.embed_features(batch[:, 0].float())


def trains_head_only(settings: Train) -> bool:
    """Return whether the trunk is frozen."""
    return settings.backbone == "pretrained" and settings.freeze


def build_inputs(
    model: Embedder,
    train: FaceDataset,
    val: FaceDataset,
    settings: Train,
    folder: Path,
    device: torch.device,
) -> TrainingInputs:
    """Return pixels, or the frozen trunk's features, which are cached in `folder`.

    Raises:
        FaceOpsError: a split has fewer than two people with two or more photos.
    """
    for name, faces in (("train", train), ("val", val)):
        if faces.people < 2:
            raise FaceOpsError(
                f"the split {name} has {faces.people} people with two or more photos, and at least"
                " 2 are needed; add photos, or change the shares in the section split."
            )
    if not trains_head_only(settings):
        return PixelInputs(train, val, Augmentation.of(settings), device)
    features: dict[Split, np.ndarray] = {
        "train": cached_features(model, train, settings.flip, folder, "train", device),
        "val": cached_features(model, val, False, folder, "val", device),
    }
    return FeatureInputs(train, val, features, device)
