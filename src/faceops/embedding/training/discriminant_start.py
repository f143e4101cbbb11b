"""Where training from descriptors starts: principal components, then Fisher's discriminants.

Fisherfaces (Belhumeur et al. 1997), region by region: the components in which training faces vary
most, each scaled to variance 1, and the directions in which people differ most for how much photos
of one person do, the latter pulled towards a sphere because people with several photos are few.
"""

import sys

import numpy as np
import torch
from torch import nn

from faceops.base.progress import track
from faceops.embedding.backbones.descriptors import KEPT
from faceops.embedding.descriptors.regions import REGIONS
from faceops.embedding.embedder import Embedder
from faceops.embedding.training.fisher_discriminants import fisher_discriminants

MAX_FACES = 12_000  # 2.5 GB of memory
SHRINKAGE = 0.25  # how far photos of one person are taken to vary alike in all directions


def start_by_discriminants(
    model: Embedder, described: np.ndarray, labels: np.ndarray, seed: int
) -> None:
    """Put what training faces say into the projections of `model`, of `build_descriptors`.

    The same faces and seed give the same weights on one machine. Of more than 12,000 faces those
    of people with one photo are left out first, then those of the last people.

    Args:
        described: float16 or float32 (N, F), training faces by `Described`.
        labels: int (N,), the people 0 .. C - 1, those with one photo last.
    """
    if len(labels) < 2:
        return  # training refuses so few, in its own words
    taken = np.argsort(labels, kind="stable")[:MAX_FACES]
    print(f"train: the start, from {len(taken)} faces", file=sys.stderr, flush=True)
    regions = zip(
        track(REGIONS, "the start", after_s=2),
        model.get_submodule("trunk.components.regions").children(),
        model.get_submodule("head.discriminants.regions").children(),
        strict=True,
    )
    with torch.no_grad():
        for region, component, discriminant in regions:
            assert isinstance(component, nn.Linear) and isinstance(discriminant, nn.Linear)
            # Not kept under a name: it would stay beside the next region's.
            scaled, mean, kept = _whitened(region.of(described, taken).astype(np.float32), seed)
            _fill(component.weight, scaled)
            _fill(component.bias[None], -(scaled @ mean)[None])
            directions = fisher_discriminants(kept, labels[taken], SHRINKAGE)
            _fill(discriminant.weight, directions[: len(discriminant.weight)])


def _whitened(features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return float32 (K, F), by which K components get variance 1, the mean (F,), and them (N, K).

    To save memory the analysis writes over `features`.
    """
    from sklearn.decomposition import PCA

    kept = min(KEPT, len(features) - 1, features.shape[1])
    analysis = PCA(kept, copy=False, svd_solver="randomized", random_state=seed)
    components = analysis.fit_transform(features)
    deviation = np.sqrt(analysis.explained_variance_)
    # Few faces, or many copies of one: what hardly varies is rounding, and stays out.
    varies = deviation > 1e-3
    scaled = analysis.components_[varies] / deviation[varies, None]
    whitened = components[:, varies] / deviation[varies]
    return scaled.astype(np.float32), analysis.mean_, whitened.astype(np.float32)


def _fill(weight: torch.Tensor, rows: np.ndarray) -> None:
    """Copy `rows` into the corner of `weight`; what they do not reach is 0."""
    weight.zero_()
    weight[: rows.shape[0], : rows.shape[1]] = torch.from_numpy(rows)
