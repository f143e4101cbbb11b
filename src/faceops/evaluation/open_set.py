"""Open-set identification: a gallery of known people, probes of known people and strangers.

The figures are those of ISO/IEC 19795-1 and of Grother & Ngan's FRVT reports: FPIR, the share
of strangers' photos that get a name, and DIR, the share of known people's photos that get the
right one. A photo is named as identification names it: the best person's probability reaches
the threshold and leads the runner-up by the margin in log odds.
"""

from dataclasses import dataclass

import numpy as np

from faceops.errors import FaceOpsError
from faceops.verification.log_odds import clipped_log_odds
from faceops.verification.pairs import Verify, codes, score_matrix
from faceops.verification.thresholds import Thresholds

DRAWS = 5


@dataclass(frozen=True)
class OpenSet:
    """Outcomes of all probes over all draws of galleries; arrays are (P,)."""

    person: np.ndarray  # int: whose photo
    known: np.ndarray  # bool: the person is enrolled
    right: np.ndarray  # bool: the best person is the right one
    best: np.ndarray  # float32: the best person's probability
    named: np.ndarray  # bool: a name is given at the release's threshold
    gallery_faces: int  # of one draw
    known_people: int  # of one draw
    threshold: float  # of the last draw
    draws: int

    @property
    def identified(self) -> np.ndarray:
        """bool (P,): the right name is given."""
        return self.named & self.right & self.known

    @property
    def misidentified(self) -> np.ndarray:
        """bool (P,): a known person is given another's name."""
        return self.named & ~self.right & self.known

    def rate_at(self, fpir: float) -> float:
        """Return DIR at the threshold where at most a share `fpir` of strangers is named.

        The threshold is chosen on these very probes and the margin plays no part: the figure
        compares models, it is not what a release does.
        """
        from faceops.evaluation.roc import tar_at_far

        right = np.where(self.right, self.best, np.float32(-1))[self.known]
        return tar_at_far(right, self.best[~self.known], fpir)[0]


def open_set(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verify: Verify,
    thresholds: Thresholds,
    *,
    gallery_photos: int,
    unknown_share: float,
    seed: int,
    draws: int = DRAWS,
) -> OpenSet:
    """Enrol `gallery_photos` random photos each of known people; probe with everything else.

    `embeddings` float32 (N, D), `persons` (N,). A share `unknown_share` of the people who
    have more than `gallery_photos` photos are strangers, and so is whoever has fewer. Drawn
    `draws` times.

    Raises:
        FaceOpsError: too few people with enough photos.
    """
    person = codes(persons)
    counts = np.bincount(person)
    able = np.flatnonzero(counts > gallery_photos)
    enrolled = round(len(able) * (1 - unknown_share))
    if enrolled < 1 or enrolled == len(counts):
        raise FaceOpsError(
            f"{len(able)} of {len(counts)} test people have more than {gallery_photos} photos: "
            "too few for known people and strangers; lower evaluate.gallery_photos or give more "
            "test people."
        )
    draw = np.random.default_rng(seed)
    parts = []
    threshold = 0.0
    for _ in range(draws):
        known = np.sort(draw.permutation(able)[:enrolled])
        gallery = np.sort(
            np.concatenate(
                [draw.permutation(np.flatnonzero(person == k))[:gallery_photos] for k in known]
            )
        )
        probes = np.setdiff1d(np.arange(len(person)), gallery)
        threshold = thresholds.for_search(thresholds.default_budget, len(gallery))
        scores = score_matrix(embeddings[probes], embeddings[gallery], verify)
        best, runner_up, best_person = best_two(scores, person[gallery])
        clear = clipped_log_odds(best) - clipped_log_odds(runner_up) >= thresholds.runner_up_margin
        named = (best >= np.float32(threshold)) & clear
        is_known = np.isin(person[probes], known)
        parts.append((person[probes], is_known, best_person == person[probes], best, named))
    whose, is_known, right, best, named = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    return OpenSet(
        person=whose,
        known=is_known,
        right=right,
        best=best,
        named=named,
        gallery_faces=enrolled * gallery_photos,
        known_people=enrolled,
        threshold=threshold,
        draws=draws,
    )


def best_two(
    scores: np.ndarray, gallery_person: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (best, runner-up, best person), (P,), of probes against gallery faces (P, G).

    A person's score is that of the best of their faces; without a second person the runner-up
    has 0.
    """
    order = np.argsort(gallery_person, kind="stable")
    people, starts = np.unique(gallery_person[order], return_index=True)
    by_person = np.maximum.reduceat(scores[:, order], starts, axis=1)
    first = by_person.argmax(1)
    rows = np.arange(len(scores))
    best = by_person[rows, first]
    by_person[rows, first] = -1
    return best, np.maximum(by_person.max(1), 0), people[first]
