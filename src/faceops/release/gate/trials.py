"""Open-set search by two models on the same draws: what becomes of every probe under each.

Grother & Ngan's FRVT terms: a gallery of known people, probes of them and of strangers. A photo in
which a model finds no face is a probe that it does not name.
"""

from dataclasses import dataclass

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.gallery_draws import GalleryDraw, draw_galleries
from faceops.evaluation.open_set import is_named, search_gallery
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier

NO_FACE = np.float32(-1)  # below every probability


@dataclass(frozen=True)
class Outcomes:
    """What one model makes of all probes of all draws, in their order; arrays are (P,)."""

    score: np.ndarray  # float32: the best person's probability, NO_FACE without a face
    right: np.ndarray  # bool: the best person is the right one
    named: np.ndarray  # bool: a name is given at the release's own threshold


def draw_trials(
    person: np.ndarray,
    usable: np.ndarray,
    *,
    gallery_photos: int,
    unknown_share: float,
    seed: int,
) -> list[GalleryDraw]:
    """Return galleries of people drawn anew; both models search the same ones.

    Args:
        person: int (N,), whose each photo is.
        usable: bool (N,), photos in which both models find a face: only these are enrolled.
        gallery_photos: enrolled a person, who has at least one photo more.
        unknown_share: of the people with so many photos, who become strangers.
        seed: of the draws.

    Raises:
        FaceOpsError: too few people with so many photos.
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


def search(
    draws: list[GalleryDraw],
    person: np.ndarray,
    rows: np.ndarray,
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds,
) -> Outcomes:
    """Return what one model makes of the probes of `draws`.

    Args:
        draws: of the frozen photos.
        person: int (N,), whose each photo is.
        rows: int (N,), the row in `faces` of each photo, -1 where the model finds no face.
        faces: of this model.
        verifier: of this model.
        thresholds: of this release, at whose default budget names are given.
    """
    scores, rights, nameds = [], [], []
    for draw in draws:
        found = rows[draw.probes] >= 0
        score = np.full(len(draw.probes), NO_FACE, np.float32)
        right, named = np.zeros(len(score), bool), np.zeros(len(score), bool)
        best, runner_up, best_person = search_gallery(
            faces.embeddings,
            rows[draw.probes[found]],
            rows[draw.gallery],
            person[draw.gallery],
            verifier,
        )
        threshold = thresholds.for_search(thresholds.default_budget, len(draw.gallery))
        score[found] = best
        right[found] = best_person == person[draw.probes[found]]
        named[found] = is_named(best, runner_up, threshold, thresholds.runner_up_margin)
        scores.append(score)
        rights.append(right)
        nameds.append(named)
    return Outcomes(*(np.concatenate(part) for part in (scores, rights, nameds)))
