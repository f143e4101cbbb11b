"""Closed-set identification: everyone has one gallery photo, who is nearest to each probe?"""

from dataclasses import dataclass

import numpy as np

from faceops.verification.pairs import Verify, codes, score_matrix


@dataclass(frozen=True)
class ClosedSet:
    """The rank of the right person for each probe."""

    ranks: np.ndarray  # int (P,), 1 is best
    probe_person: np.ndarray  # int (P,)
    people: int  # in the gallery

    def rate(self, rank: int) -> float:
        """Return the share of probes whose person is among the first `rank`."""
        return float((self.ranks <= rank).mean())


def closed_set(embeddings: np.ndarray, persons: np.ndarray, verify: Verify) -> ClosedSet:
    """Enrol each person's first row, identify all further rows.

    `embeddings` float32 (N, D), `persons` (N,). People with one photo stay in the gallery and
    can be mistaken for others. Another person with the same score counts as better.
    """
    person = codes(persons)
    gallery = np.unique(person, return_index=True)[1]  # row of each code, in the codes' order
    probes = np.setdiff1d(np.arange(len(person)), gallery)
    scores = score_matrix(embeddings[probes], embeddings[gallery], verify)
    own = scores[np.arange(len(probes)), person[probes]]
    ranks = (scores >= own[:, None]).sum(1)
    return ClosedSet(ranks, person[probes], len(gallery))
