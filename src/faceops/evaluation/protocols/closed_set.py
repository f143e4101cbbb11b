"""Closed-set identification: everyone has one gallery photo, who is nearest to each probe?"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.verification.bootstrap import share_interval
from faceops.verification.pairs import codes, row_blocks
from faceops.verification.verifier import Verifier

_RANKS = 20


@dataclass(frozen=True)
class ClosedSet:
    """The rank of the right person for each probe."""

    ranks: np.ndarray  # int (P,), 1 is best; people + 1 where the photo has no face
    probe_person: np.ndarray  # int (P,)
    people: int  # in the gallery

    def rate(self, rank: int) -> float:
        """Return the share of probes whose person is among the first `rank`; NaN without any."""
        return float((self.ranks <= rank).mean()) if len(self.ranks) else float("nan")

    @property
    def cmc(self) -> np.ndarray:
        """Cumulative match characteristic, float64 (R,): the rates at ranks 1 to 20 at most."""
        return np.array([self.rate(rank) for rank in range(1, min(_RANKS, self.people) + 1)])

    def figures(self, seed: int) -> dict[str, Any]:
        """Rates at ranks 1 and 5 with intervals over people."""
        return {
            "rank_1": self.rate(1),
            "rank_1_interval": share_interval(self.ranks == 1, self.probe_person, seed),
            "rank_5": self.rate(5),
            "rank_5_interval": share_interval(self.ranks <= 5, self.probe_person, seed),
            "gallery_people": self.people,
            "probes": len(self.ranks),
        }


def closed_set(faces: EmbeddedFaces, verifier: Verifier) -> ClosedSet:
    """Enrol each person's first face, identify all further photos, block by block.

    People with one photo stay in the gallery and can be mistaken for others. Another person with
    the same score counts as better. A photo without a face is a probe that is never found.
    """
    whose = codes(np.array([*faces.persons, *faces.missing_persons], dtype=str))
    person = whose[: len(faces)]
    enrolled, gallery = np.unique(person, return_index=True)
    probes = np.setdiff1d(np.arange(len(person)), gallery)
    table = faces.embeddings[gallery]
    own = np.searchsorted(enrolled, person[probes])
    ranks = np.empty(len(probes), np.int64)
    for part in row_blocks(len(probes), len(gallery)):
        scores = verifier.logit_matrix(faces.embeddings[probes[part]], table)
        right = scores[np.arange(len(scores)), own[part]]
        ranks[part] = (scores >= right[:, None]).sum(1)
    # Of photos without a face, one a person would be the gallery photo where no other can.
    photos, found = (np.bincount(part, minlength=whose.max() + 1) for part in (whose, person))
    lost = np.repeat(np.arange(len(photos)), photos - np.maximum(found, 1))
    return ClosedSet(
        np.concatenate([ranks, np.full(len(lost), len(gallery) + 1)]),
        np.concatenate([person[probes], lost]),
        len(gallery),
    )
