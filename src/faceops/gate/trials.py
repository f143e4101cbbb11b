"""Open-set search by one model: the outcome of every probe.

Terms of Grother & Ngan (FRVT): a gallery of known people, probes of them and of strangers. A photo
in which the model finds no face is a probe without a name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.open_set import (
    GalleryDraw,
    draw_galleries,
    is_named,
    search_gallery,
)
from faceops.gate.photos import FrozenPhotos
from faceops.release.evaluate.embed_photos import EmbeddedPhotos, embed_photos
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.verification.thresholds import Thresholds

NO_FACE = np.float32(-1)  # below every probability


@dataclass(frozen=True)
class Outcomes:
    """What one model makes of all P probes of all draws, in their order; arrays are (P,)."""

    score: np.ndarray  # float32: the best person's probability, NO_FACE without a face
    right: np.ndarray  # bool: the best person is the right one
    named: np.ndarray  # bool: a name is given at the release's own threshold


@dataclass(frozen=True)
class FaceTable:
    """One model's faces of N photos; `rows` int (N,) points into them, -1 without a face."""

    model: MeasuredModel
    embedded: EmbeddedPhotos
    rows: np.ndarray

    @property
    def faces(self) -> EmbeddedFaces:
        """The embeddings, and whose they are."""
        return self.embedded.faces

    @property
    def thresholds(self) -> Thresholds:
        """Those of the release."""
        assert self.model.thresholds is not None  # of a release
        return self.model.thresholds


def embed_frozen(model: MeasuredModel, frozen: FrozenPhotos, work: Path, threads: int) -> FaceTable:
    """Detect and embed the faces of `frozen`; results in the folder `work` are reused."""
    embedded = embed_photos(
        model, frozen.photos, frozenset(), work, threads=threads, duplicates=True
    )
    found = np.array([not photo.reason for photo in embedded.photos])
    return FaceTable(model, embedded, np.where(found, np.cumsum(found) - 1, -1))


def draw_trials(
    person: np.ndarray, usable: np.ndarray, gallery_photos: int, unknown_share: float, seed: int
) -> list[GalleryDraw]:
    """Return random galleries, which both models search.

    Args:
        person: int (N,), the person of each photo.
        usable: bool (N,), photos in which both models find a face; only these are enrolled.
        gallery_photos: photos enrolled per person, who has at least one photo more.
        unknown_share: share of the people with so many photos who become strangers.
        seed: seed of the draws.

    Raises:
        FaceOpsError: too few people have so many photos.
    """
    able = np.flatnonzero(np.bincount(person[usable], minlength=person.max() + 1) > gallery_photos)
    enrolled = round(len(able) * (1 - unknown_share))
    if enrolled < 2 or enrolled == len(np.unique(person)):
        raise FaceOpsError(
            f"{len(able)} people have more than {gallery_photos} photos with a face: too few for "
            "known people and strangers; lower gate.gallery_photos or give the gate more people."
        )
    return draw_galleries(
        person, able, enrolled, gallery_photos=gallery_photos, seed=seed, usable=usable
    )


def search(table: FaceTable, draws: Sequence[GalleryDraw], person: np.ndarray) -> Outcomes:
    """Return the outcomes of the probes of `draws`; names are given at the default budget.

    `person` int (N,) is the person of each photo.
    """
    parts = []
    for draw in draws:
        found = table.rows[draw.probes] >= 0
        score = np.full(len(draw.probes), NO_FACE, np.float32)
        right, named = np.zeros(len(score), bool), np.zeros(len(score), bool)
        best, runner_up, best_person = search_gallery(
            table.faces.embeddings,
            table.rows[draw.probes[found]],
            table.rows[draw.gallery],
            person[draw.gallery],
            table.model.verifier,
        )
        thresholds = table.thresholds
        threshold = thresholds.for_search(thresholds.default_budget, len(draw.gallery))
        score[found] = best
        right[found] = best_person == person[draw.probes[found]]
        named[found] = is_named(best, runner_up, threshold, thresholds.runner_up_margin)
        parts.append((score, right, named))
    return Outcomes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
