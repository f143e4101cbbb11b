"""Where training from descriptors starts: principal components, then Fisher's discriminants.

Fisherfaces (Belhumeur et al. 1997), group by group: the components in which training faces vary
most, each scaled to variance 1, and the directions in which people differ most for how much photos
of one person do, the latter pulled towards a sphere because people with several photos are few.
"""

import numpy as np
import torch
from torch import nn

from faceops.embedding.backbones.descriptors import KEPT
from faceops.embedding.embed_crops import pixels_of
from faceops.embedding.embedder import Embedder
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.fisher_discriminants import fisher_discriminants
from faceops.progress import track

MAX_FACES = 20_000  # 600 MB of features; past that the directions hardly change
SHRINKAGE = 0.25  # how far photos of one person are taken to vary alike in all directions
_BATCH = 32


def start_by_discriminants(
    model: Embedder, train: LabelledCrops, seed: int, device: torch.device
) -> None:
    """Put what `train` says into the projections of `model`, a network of `build_descriptors`.

    The same faces and seed give the same weights on one machine. Of more than 20,000 faces those
    of people with one photo are left out first, then those of the last people.
    """
    taken = np.argsort(train.labels, kind="stable")[:MAX_FACES]
    labels = train.labels[taken]
    described = _described(model, train.crops, train.rows[taken], device)
    groups = zip(
        described,
        model.get_submodule("trunk.components.groups").children(),
        model.get_submodule("head.discriminants.groups").children(),
        strict=True,
    )
    with torch.no_grad():
        for features, component, discriminant in groups:
            assert isinstance(component, nn.Linear) and isinstance(discriminant, nn.Linear)
            scaled, mean = _whitening(features, seed)
            _fill(component.weight, scaled)
            _fill(component.bias[None], -(scaled @ mean)[None])
            kept = (features - mean) @ scaled.T
            _fill(
                discriminant.weight,
                fisher_discriminants(kept, labels, SHRINKAGE)[: len(discriminant.weight)],
            )


@torch.inference_mode()
def _described(
    model: Embedder, crops: np.ndarray, rows: np.ndarray, device: torch.device
) -> list[np.ndarray]:
    """Return float32 (N, F) a group."""
    stage, described = (
        model.get_submodule(f"trunk.{name}").to(device) for name in ("stage", "described")
    )
    parts: list[np.ndarray] = []
    for start in track(range(0, len(rows), _BATCH), "descriptors of training faces"):
        batch = rows[start : start + _BATCH]
        for number, values in enumerate(described(stage(pixels_of(crops[batch], device)))):
            if start == 0:
                parts.append(np.empty((len(rows), values.shape[1]), np.float32))
            parts[number][start : start + len(batch)] = values.cpu().numpy()
    return parts


def _whitening(features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 (K, F), by which K components get variance 1, and the mean (F,)."""
    from sklearn.decomposition import PCA

    kept = min(KEPT, len(features) - 1, features.shape[1])
    analysis = PCA(kept, svd_solver="randomized", random_state=seed).fit(features)
    # Few faces, or many copies of one, leave components without variance.
    scale = np.sqrt(analysis.explained_variance_).clip(1e-3)
    return (analysis.components_ / scale[:, None]).astype(np.float32), analysis.mean_


def _fill(weight: torch.Tensor, rows: np.ndarray) -> None:
    """Copy `rows` into the corner of `weight`; what they do not reach is 0."""
    weight.zero_()
    weight[: rows.shape[0], : rows.shape[1]] = torch.from_numpy(rows)
