"""Small blocks of photos for tests, as columns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faceops.base.reasons import REASONS, Reason
from faceops.identification.engine.decide import FaceDecisions
from faceops.identification.engine.ranking import Ranked
from faceops.identification.inputs import SourceFile
from faceops.identification.state.photo_block import FACE, Extraction, FoundPhoto, PhotoBlock
from faceops.identification.unknown.unknown_people import FaceKey, Grouping, open_groups
from faceops.verification.verifier import sigmoid

BOX = (1.0, 2.0, 30.0, 40.0)


def photo(
    photo_id: str | None,
    qualities: Sequence[float] = (),
    embeddings: np.ndarray | None = None,
    reason: Reason | None = None,
) -> FoundPhoto:
    """Return a photo with faces at `BOX` of these qualities."""
    faces = np.array([(BOX, 0.9, quality, False) for quality in qualities], FACE)
    if embeddings is None:
        embeddings = np.zeros((len(faces), 4), np.float32)
    return FoundPhoto(photo_id, reason, (100, 100), faces=faces, embeddings=embeddings)


def block(*photos: FoundPhoto, size: int = 4, opened: bool = True) -> PhotoBlock:
    """Return the photos as files of a folder; `size` is that of the embeddings."""
    extractions = []
    for number, one in enumerate(photos):
        path = f"/photos/{number}.jpg"
        extractions.append(Extraction(path, SourceFile(path, 1, 1, 1, 1), one, opened))
    return PhotoBlock.of(extractions, size)


def ranked(scores: Sequence[Sequence[float]], log_odds: bool = False) -> Ranked:
    """Return the people 0 and 1 for each face with these scores, or less of them."""
    result = Ranked.of_nobody(len(scores))
    for face, row in enumerate(scores):
        for column, score in enumerate(row):
            result.people[face, column] = column
            result.scores[face, column] = score
            result.distances[face, column] = 0.5
    known = result.people >= 0
    as_odds = sigmoid(result.scores) if log_odds else result.scores
    result.probabilities[known] = as_odds[known]
    return result


def reasons(decisions: FaceDecisions) -> list[Reason | None]:
    """Return the reason of each decision."""
    return [None if one < 0 else REASONS[one] for one in decisions.reason.tolist()]


def number_groups(state: Path, groups: Sequence[Sequence[FaceKey]]) -> list[int]:
    """Store groups of faces; return their numbers."""
    faces = [face for group in groups for face in group]
    group = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    digests = np.zeros(len(faces), np.int64)
    with open_groups(state, faces) as stored:
        return stored.store(group, digests, Grouping(len(faces), 0.5, 0.6))
