"""What a training step feeds the network: changed pixels, or features of a frozen trunk."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch

from faceops.base.progress import track
from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder
from faceops.embedding.training.augmentation import Augmentation, augment
from faceops.embedding.training.feature_cache import cached_features
from faceops.embedding.training.samplers import LabelledCrops

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def read_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded], depth: int = 2
) -> Generator[tuple[Item, Loaded], None, None]:
    """Yield each item with `load(item)`, in order; one thread loads up to `depth` items ahead.

    `items` are taken in the caller's thread, `depth` ahead of the one that is yielded, so a
    sampler that reads the state of training reads the same on each run. An exception of `load`
    is raised where its item would have been yielded. Closing the iterator ends the thread.
    """
    waiting: deque[tuple[Item, Future[Loaded]]] = deque()
    reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        for item in items:
            waiting.append((item, reader.submit(load, item)))
            if len(waiting) > depth:
                due, loading = waiting.popleft()
                yield due, loading.result()
        while waiting:
            due, loading = waiting.popleft()
            yield due, loading.result()
    finally:
        reader.shutdown(cancel_futures=True)


BATCH = 64


class TrainingInputs(Protocol):
    """A way to train an embedder."""

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the part of `model` whose weights change."""

    def load(self, positions: np.ndarray) -> torch.Tensor:
        """Return what the training faces at `positions` (B,) are on disk, on the CPU.

        Any thread may call it; the memory is pinned where a GPU will fetch it.
        """

    def embed(
        self, model: Embedder, loaded: torch.Tensor, seed: int, first: int = 0
    ) -> torch.Tensor:
        """Return embeddings (B, D), with gradient, of faces that `load` returned.

        Args:
            seed: of all that is random, at least 0.
            first: the place of the first face in a batch that several processes share.
        """

    def embed_plain(
        self, model: Embedder, validation: bool, positions: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float32 (N, D) of validation (or training) faces, unchanged.

        Args:
            positions: int64 (N,), which; None: all.
        """


class PixelInputs:
    """All layers are trained, on changed crops of any one size."""

    def __init__(
        self,
        train: LabelledCrops,
        val: LabelledCrops,
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        self._faces = {False: train, True: val}
        self._augmentation, self._device = augmentation, device

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the whole model."""
        return model

    def load(self, positions: np.ndarray) -> torch.Tensor:
        """Read crops, uint8 (B, H, W, 3)."""
        return self._read(self._faces[False], positions)

    def embed(
        self, model: Embedder, loaded: torch.Tensor, seed: int, first: int = 0
    ) -> torch.Tensor:
        """Embed changed copies of crops."""
        changed = augment(self._pixels(loaded), self._augmentation, seed, first)
        embeddings: torch.Tensor = model(changed.contiguous(memory_format=torch.channels_last))
        return embeddings

    def embed_plain(
        self, model: Embedder, validation: bool, positions: np.ndarray | None = None
    ) -> np.ndarray:
        """Embed the crops as they are."""
        faces = self._faces[validation]
        return _embed_all(
            np.arange(len(faces.rows)) if positions is None else positions,
            lambda positions: self._read(faces, positions),
            lambda loaded: model(self._pixels(loaded)),
        )

    def _read(self, faces: LabelledCrops, positions: np.ndarray) -> torch.Tensor:
        return _in_memory(faces.crops[faces.rows[positions]], self._device)

    def _pixels(self, loaded: torch.Tensor) -> torch.Tensor:
        """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), channels last, on the device."""
        return loaded.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float()


class FeatureInputs:
    """Only the head is trained, on features of the frozen trunk."""

    def __init__(self, train: np.ndarray, val: np.ndarray, device: torch.device) -> None:
        """Take float16 features (N, views, ...) of training and validation faces."""
        self._features = {False: train, True: val}
        self._device = device

    def trained(self, model: Embedder) -> torch.nn.Module:
        """Return the head."""
        return model.head

    def load(self, positions: np.ndarray) -> torch.Tensor:
        """Read all views of features, float16 (B, views, ...)."""
        return _in_memory(self._features[False][positions], self._device)

    def embed(
        self, model: Embedder, loaded: torch.Tensor, seed: int, first: int = 0
    ) -> torch.Tensor:
        """Embed one view of each face, drawn at random."""
        count, views = loaded.shape[:2]
        uniform = np.random.default_rng(seed).random(first + count)[first:]
        drawn = torch.from_numpy((uniform * views).astype(np.int64))
        drawn = drawn.to(self._device, non_blocking=True)
        seen = loaded.to(self._device, non_blocking=True)
        return self._embed(model, seen[torch.arange(count, device=self._device), drawn])

    def embed_plain(
        self, model: Embedder, validation: bool, positions: np.ndarray | None = None
    ) -> np.ndarray:
        """Embed view 0 of the faces."""
        features = self._features[validation]
        return _embed_all(
            np.arange(len(features)) if positions is None else positions,
            lambda positions: _in_memory(features[positions, 0], self._device),
            lambda loaded: self._embed(model, loaded),
        )

    def _embed(self, model: Embedder, features: torch.Tensor) -> torch.Tensor:
        return model.embed_features(features.to(self._device, non_blocking=True).float())


def _in_memory(rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return `rows`, which were copied from a memory map, as a tensor that `device` can fetch."""
    loaded = torch.from_numpy(np.asarray(rows))
    return loaded.pin_memory() if device.type == "cuda" else loaded


@torch.inference_mode()
def _embed_all(
    positions: np.ndarray,
    load: Callable[[np.ndarray], torch.Tensor],
    embed: Callable[[torch.Tensor], torch.Tensor],
) -> np.ndarray:
    """Return float32 (N, D) of N positions; where it takes long, stderr tells how far it is."""
    batches = [positions[start : start + BATCH] for start in range(0, len(positions), BATCH)]
    parts = [
        embed(loaded).float()
        for _, loaded in track(read_ahead(batches, load), "embedding", len(batches), after_s=2)
    ]
    return torch.cat(parts).cpu().numpy()


def trains_head_only(settings: Train) -> bool:
    """Return whether the early layers stay as they are."""
    return settings.backbone == "pretrained" and settings.freeze


def build_inputs(
    model: Embedder,
    train: LabelledCrops,
    val: LabelledCrops,
    settings: Train,
    folder: Path,
    device: torch.device,
) -> TrainingInputs:
    """Return pixels, or the frozen layers' features, which are looked for and kept in `folder`."""
    if trains_head_only(settings):
        return FeatureInputs(
            cached_features(model, train, settings.flip, folder, "train", device),
            cached_features(model, val, False, folder, "val", device),
            device,
        )
    return PixelInputs(train, val, Augmentation.of(settings), device)
