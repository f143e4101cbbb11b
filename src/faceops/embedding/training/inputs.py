"""The faces of a split, and what a step sees of them: augmented crops, or features of the trunk."""

import copy
import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from faceops.base.errors import FaceOpsError
from faceops.base.files import file_lock
from faceops.base.work import ordered_map, track, usable_cpus
from faceops.config.sections import Train
from faceops.embedding.backbones.build import weights_sha256
from faceops.embedding.backbones.mobilefacenet import ConvUnit
from faceops.embedding.embedder import Embedder, pixels_of
from faceops.embedding.training.augmentation import augment

BATCH = 64  # faces that `embed_plain` embeds at once
FEATURES_BATCH = 8  # fastest on a CPU
FEATURES_BATCH_GPU = 32
# Increase it when a change of the code changes a trunk's features.
FEATURES_VERSION = 2
Split = Literal["train", "val"]


@dataclass(frozen=True)
class FaceDataset:
    """The faces of one split, with the person of each."""

    crops: np.ndarray  # uint8 (M, H, W, 3) RGB of all splits, may be memory-mapped
    rows: np.ndarray  # int64 (N,), the row in `crops` of each face of this split
    # int64 (N,); people with two or more photos are 0 .. people - 1, the others follow
    labels: np.ndarray
    negative_only: np.ndarray  # bool (N,), faces of people with one photo
    # Pairs of labels below `people`, of people who were taken for each other
    confused: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(
        cls,
        crops: np.ndarray,
        rows: np.ndarray,
        persons: list[str],
        negative_only: np.ndarray,
        confused: Iterable[tuple[str, str]] = (),
    ) -> "FaceDataset":
        """Number the `persons` (N names) in alphabetical order, negative-only ones last.

        `confused`: pairs of them with two photos or more.
        """
        singles = {name for name, single in zip(persons, negative_only, strict=True) if single}
        names = sorted(set(persons), key=lambda name: (name in singles, name))
        number = {name: index for index, name in enumerate(names)}
        labels = np.array([number[name] for name in persons], dtype=np.int64)
        pairs = tuple((number[one], number[other]) for one, other in confused)
        return cls(crops, np.asarray(rows), labels, np.asarray(negative_only, dtype=bool), pairs)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Return the crops at `positions`, int64 (B,), as uint8 (B, H, W, 3)."""
        return self.crops[self.rows[positions]]

    @cached_property
    def people(self) -> int:
        """The number of people with two or more photos."""
        return len(np.unique(self.labels[~self.negative_only]))

    def num_classes(self, settings: Train) -> int:
        """Return the number of classes of the head: labels below it are classes.

        People with one photo are classes only where the warm-up draws their photos.
        """
        if settings.warmup_sampler.endswith("_all"):
            return int(self.labels.max()) + 1
        return self.people


@dataclass(eq=False)
class TrainingInputs:
    """Reads faces, and embeds them with gradient (augmented) or without (unchanged).

    Subclasses define `forward`, and `read` and `trained` where they differ.
    """

    train: FaceDataset
    val: FaceDataset
    device: torch.device

    def trained(self, model: Embedder) -> nn.Module:
        """Return the part of `model` whose weights change."""
        return model

    def read(self, split: Split, positions: np.ndarray) -> np.ndarray:
        """Return the stored inputs of the faces of `split` at `positions`, int64 (B,)."""
        return (self.val if split == "val" else self.train)[positions]

    def forward(self, model: Embedder, batch: Tensor, seed: int | None, first: int) -> Tensor:
        """Embed what `read` returned: unchanged without `seed`, else a view that it draws."""
        raise NotImplementedError

    def load(self, positions: np.ndarray) -> Tensor:
        """Read training faces, in any thread; in pinned memory for a GPU to fetch."""
        return self._in_memory(self.read("train", positions))

    def embed(self, model: Embedder, loaded: Tensor, seed: int, first: int = 0) -> Tensor:
        """Return embeddings (B, D), with gradient, of faces that `load` returned.

        `seed`, at least 0, is that of all randomness; `first` is the place of the first face in a
        batch that several processes share.
        """
        return self.forward(model, loaded.to(self.device, non_blocking=True), seed, first)

    @torch.inference_mode()
    def embed_plain(
        self,
        model: Embedder,
        split: Split,
        positions: np.ndarray | None = None,
        seed: int | None = None,
    ) -> np.ndarray:
        """Return float32 (N, D) of faces of `split`, those at `positions` or all.

        They are unchanged, or with a `seed` augmented as it draws.
        """
        if positions is None:
            positions = np.arange(len(self.val if split == "val" else self.train))
        batches = [positions[start : start + BATCH] for start in range(0, len(positions), BATCH)]
        loaded = ordered_map(lambda rows: self._in_memory(self.read(split, rows)), batches, 1)
        parts = [
            self.forward(
                model, batch.to(self.device, non_blocking=True), seed, number * BATCH
            ).float()
            for number, batch in enumerate(track(loaded, "embedding", len(batches), after_s=2))
        ]
        return torch.cat(parts).cpu().numpy()

    def _in_memory(self, rows: np.ndarray) -> Tensor:
        loaded = torch.from_numpy(np.asarray(rows))
        return loaded.pin_memory() if self.device.type == "cuda" else loaded


@dataclass(eq=False)
class PixelInputs(TrainingInputs):
    """Layers after `train.frozen_units` are trained, on augmented crops, uint8 (B, H, W, 3)."""

    settings: Train
    _frozen: nn.Module | None = field(default=None, init=False)  # of the first model, fused

    def forward(self, model: Embedder, batch: Tensor, seed: int | None, first: int) -> Tensor:
        pixels = batch.permute(0, 3, 1, 2).float()
        if seed is not None:
            pixels = augment(pixels, self.settings, seed, first)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        count = 0 if self.settings.compile else self.settings.frozen_units  # compiled as a whole
        if count == 0:
            return model(pixels)
        units = list(model.trunk.children())
        if self._frozen is None:
            self._frozen = fused(nn.Sequential(*units[:count]))
        # On a CPU in pieces that stay in its cache: half the time of a batch.
        size = FEATURES_BATCH if self.device.type == "cpu" else len(pixels)
        with torch.no_grad():
            features = torch.cat([self._frozen(part) for part in pixels.split(size)])
        return model.embed_features(nn.Sequential(*units[count:])(features))


@dataclass(eq=False)
class FeatureInputs(TrainingInputs):
    """Only the head is trained, on features of the frozen trunk, float16 (N, views, ...)."""

    features: dict[Split, np.ndarray]

    def trained(self, model: Embedder) -> nn.Module:
        return model.head

    def read(self, split: Split, positions: np.ndarray) -> np.ndarray:
        return self.features[split][positions]

    def forward(self, model: Embedder, batch: Tensor, seed: int | None, first: int) -> Tensor:
        """Embed one view of each face: drawn by `seed`, or view 0, the face as it is."""
        if seed is None:
            return model.embed_features(batch[:, 0].float())
        count, views = batch.shape[:2]
        uniform = np.random.default_rng(seed).random(first + count)[first:]
        drawn = torch.from_numpy((uniform * views).astype(np.int64))
        drawn = drawn.to(self.device, non_blocking=True)
        chosen = batch[torch.arange(count, device=self.device), drawn]
        return model.embed_features(chosen.float())


def fused(units: nn.Module) -> nn.Module:
    """Return a copy of `units` for use without training: each normalisation in its convolution.

    Its results are the same to 1e-5; on a CPU it takes two thirds of the time.
    """
    copied = copy.deepcopy(units).eval()
    for part in copied.modules():
        if isinstance(part, ConvUnit):
            part.fuse()
    return copied.to(memory_format=torch.channels_last)


@contextmanager
def one_thread_per_operator() -> Iterator[None]:
    """Use one thread inside an operator, for batches that run at the same time.

    It takes less than half the CPU time: threads that share an operator spin while they wait.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def cached_features(
    model: Embedder, faces: FaceDataset, flip: bool, folder: Path, name: str, device: torch.device
) -> np.ndarray:
    """Return the trunk's features of `faces`, float16 (N, views, ...), memory-mapped.

    View 0 is the face as it is; with `flip` view 1 is its mirror image. Half precision halves the
    file and changes an embedding by less than 1e-3.

    `features-<name>-<key>.f16` is written to `folder` batch by batch: an interrupted run continues
    where it stopped. Files of the same name with other keys are deleted. The key is a hash of what
    changes the features: crops, the trunk's weights, the views.
    """
    digest = hashlib.sha256(
        f"{FEATURES_VERSION} {flip} {model.backbone} {weights_sha256(model.trunk)}".encode()
    )
    for row in faces.rows:
        digest.update(faces.crops[row].tobytes())
    path = folder / f"features-{name}-{digest.hexdigest()[:16]}.f16"
    folder.mkdir(parents=True, exist_ok=True)
    trunk = fused(model.trunk.to(device))
    views = 2 if flip else 1
    shape = (views, *trunk(torch.zeros(1, 3, 112, 112, device=device)).shape[1:])
    row_bytes = 2 * math.prod(shape)
    busy = f"the features of {name} in {folder} are being computed"
    with file_lock(folder / f".features-{name}.lock", busy), path.open("ab") as file:
        for stale in set(folder.glob(f"features-{name}-*")) - {path}:
            stale.unlink()
        done = file.tell() // row_bytes
        file.truncate(done * row_bytes)  # an interrupted run may leave a part of a row
        on_cpu = device.type == "cpu"
        size = FEATURES_BATCH if on_cpu else FEATURES_BATCH_GPU

        @torch.inference_mode()
        def features(start: int) -> bytes:
            rows = np.arange(start, min(start + size, len(faces)))
            pixels = pixels_of(faces[rows], device)
            seen = [trunk(pixels.flip(3) if view else pixels) for view in range(views)]
            return torch.stack(seen, dim=1).half().cpu().numpy().tobytes()

        starts = range(done, len(faces), size)
        with one_thread_per_operator() if on_cpu else nullcontext():
            batches = ordered_map(features, starts, usable_cpus() if on_cpu else 1)
            for batch in track(batches, "batches of frozen features", len(starts)):
                file.write(batch)
                file.flush()
    return np.memmap(path, np.float16, "r", shape=(len(faces), *shape))


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
    if settings.backbone != "pretrained" or not settings.freeze:
        return PixelInputs(train, val, device, settings)
    features: dict[Split, np.ndarray] = {
        "train": cached_features(model, train, settings.flip, folder, "train", device),
        "val": cached_features(model, val, False, folder, "val", device),
    }
    return FeatureInputs(train, val, device, features)
