"""One model's faces of the frozen photos, row by row the same photos for both."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.release.embed_data import EmbeddedData, embed_data
from faceops.release.gate.frozen_photos import FrozenPhotos
from faceops.release.measured_model import MeasuredModel
from faceops.verification.thresholds import Thresholds


@dataclass(frozen=True)
class FaceTable:
    """One model's faces of the frozen photos; `rows` int (N,), -1 where it finds none."""

    model: MeasuredModel
    embedded: EmbeddedData
    rows: np.ndarray

    @property
    def faces(self) -> EmbeddedFaces:
        """The embeddings, and whose they are."""
        return self.embedded.faces

    @property
    def thresholds(self) -> Thresholds:
        """The release's own."""
        assert self.model.thresholds is not None  # of a release
        return self.model.thresholds


def embed_frozen(model: MeasuredModel, frozen: FrozenPhotos, work: Path, threads: int) -> FaceTable:
    """Find and embed the faces of `frozen`; what `work` holds is not done again."""
    # The photos are unlike already; copies would be set aside by each model's own faces.
    embedded = embed_data(model, frozen.photos, frozenset(), work, threads=threads, duplicates=True)
    found = np.array([not photo.reason for photo in embedded.photos])
    return FaceTable(model, embedded, np.where(found, np.cumsum(found) - 1, -1))
