"""Open-set identification: a gallery of known people, probes of known people and strangers.

The figures are those of ISO/IEC 19795-1 and of Grother & Ngan's FRVT reports: FPIR, the share
of strangers' photos that get a name, and DIR, the share of known people's photos that get the
right one. A photo is named as identification names it: the best person's probability reaches
the threshold and leads the runner-up by the margin in log odds.

Gallery against queries of known and unknown people: what happens to a face that is searched.

Of known people's photos, how many get the right name (identification rate) and how many any name
(TPR); of unknown people's, how many get one (FPR): all at the release's threshold, on the
galleries of the open-set protocol. `OpenSet.curve` has the same rates at every threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.roc import roc_auc, tar_at_far
from faceops.verification.bootstrap import share_interval
from faceops.verification.pairs import codes, row_blocks
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier, clipped_log_odds, reaches

DRAWS = 5


@dataclass(frozen=True)
class GalleryDraw:
    """Rows of a table of photos: who is enrolled by which photos, and who is searched for."""

    gallery: np.ndarray  # int (G,), rising
    probes: np.ndarray  # int (P,), rising: all the other rows
    known: np.ndarray  # bool (P,): the probe's person is enrolled


def draw_galleries(
    person: np.ndarray,
    able: np.ndarray,
    enrolled: int,
    *,
    gallery_photos: int,
    seed: int,
    draws: int = DRAWS,
    usable: np.ndarray | None = None,
) -> list[GalleryDraw]:
    """Return `draws` galleries of `enrolled` people, each with `gallery_photos` photos.

    Args:
        person: int (N,), whose each photo is.
        able: int (A,), the people to draw from, with more than so many (usable) photos each.
        enrolled: how many of them.
        gallery_photos: a person.
        seed: of the draws.
        draws: how many galleries.
        usable: bool (N,), the photos that can be enrolled; None: all.
    """
    random = np.random.default_rng(seed)
    can_be = np.ones(len(person), bool) if usable is None else usable
    result = []
    for _ in range(draws):
        known = np.sort(random.permutation(able)[:enrolled])
        photos = [
            random.permutation(np.flatnonzero((person == one) & can_be))[:gallery_photos]
            for one in known
        ]
        gallery = np.sort(np.concatenate(photos))
        probes = np.setdiff1d(np.arange(len(person)), gallery)
        result.append(GalleryDraw(gallery, probes, np.isin(person[probes], known)))
    return result


POINTS = 200


@dataclass(frozen=True)
class OpenSet:
    """Outcomes of all probes over all draws of galleries; arrays are (P,)."""

    person: np.ndarray  # int: whose photo
    known: np.ndarray  # bool: the person is enrolled
    right: np.ndarray  # bool: the best person is the right one
    best: np.ndarray  # float32: the best person's probability
    named: np.ndarray  # bool: a name is given at the release's threshold
    gallery_photos: int  # a person
    gallery_faces: int  # of one draw
    known_people: int  # of one draw
    threshold: float | None  # of the last draw; None without a release's thresholds
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
        return tar_at_far(self._right_best, self.best[~self.known], fpir)

    @property
    def detection_auc(self) -> float:
        """Area under TPR against FPR: is a known face told from a stranger's, whoever it is?"""
        return roc_auc(self.best[self.known], self.best[~self.known])

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (FPR, TPR, identification rate), float64 (C,), at rising FPR, spaced by log.

        FPR is the share of strangers' photos at or above a threshold (FPIR without the margin),
        TPR that of known people's, the identification rate that of those whose best is right.
        """
        strangers = int((~self.known).sum())
        allowed = np.unique(np.geomspace(1, max(strangers, 1), POINTS).round().astype(int))
        fpr = allowed / max(strangers, 1)
        falling = np.sort(self.best[~self.known])[::-1]
        refused = np.append(falling, -1)[allowed]
        known, right = np.sort(self.best[self.known]), np.sort(self._right_best)
        tpr, rate = (
            1 - np.searchsorted(scores, refused, side="right") / max(len(scores), 1)
            for scores in (known, right)
        )
        return fpr, tpr, rate

    @property
    def _right_best(self) -> np.ndarray:
        scores: np.ndarray = np.where(self.right, self.best, np.float32(-1))[self.known]
        return scores


def open_set(
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds | None,
    *,
    gallery_photos: int,
    unknown_share: float,
    seed: int,
    draws: int = DRAWS,
) -> OpenSet:
    """Enrol `gallery_photos` random photos each of known people; probe with everything else.

    A share `unknown_share` of the people who have more than `gallery_photos` photos are
    strangers, and so is whoever has fewer. Drawn `draws` times. Without `thresholds` nobody is
    named.

    Raises:
        FaceOpsError: too few people with enough photos.
    """
    person = codes(faces.persons)
    counts = np.bincount(person)
    able = np.flatnonzero(counts > gallery_photos)
    enrolled = round(len(able) * (1 - unknown_share))
    if enrolled < 1 or enrolled == len(counts):
        raise FaceOpsError(
            f"{len(able)} of {len(counts)} test people have more than {gallery_photos} photos: "
            "too few for known people and strangers; lower evaluate.gallery_photos or give more "
            "test people."
        )
    drawn = draw_galleries(
        person, able, enrolled, gallery_photos=gallery_photos, seed=seed, draws=draws
    )
    parts = []
    threshold = None
    for draw in drawn:
        whose, gallery_person = person[draw.probes], person[draw.gallery]
        best, runner_up, best_person = search_gallery(
            faces.embeddings, draw.probes, draw.gallery, gallery_person, verifier
        )
        named = np.zeros(len(whose), bool)
        if thresholds is not None:
            threshold = thresholds.for_search(thresholds.default_budget, len(draw.gallery))
            named = is_named(best, runner_up, threshold, thresholds.runner_up_margin)
        parts.append((whose, draw.known, best_person == whose, best, named))
    whose, is_known, right, best, named = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    return OpenSet(
        person=whose,
        known=is_known,
        right=right,
        best=best,
        named=named,
        gallery_photos=gallery_photos,
        gallery_faces=enrolled * gallery_photos,
        known_people=enrolled,
        threshold=threshold,
        draws=draws,
    )


def is_named(
    best: np.ndarray, runner_up: np.ndarray, threshold: float, margin: float
) -> np.ndarray:
    """Return bool (P,): is a name given to probes whose people have these probabilities (P,)?

    `threshold` is a probability, `margin` the log odds by which the best must lead.
    """
    lead = clipped_log_odds(best) - clipped_log_odds(runner_up)
    named: np.ndarray = reaches(best, threshold) & (lead >= margin)
    return named


def search_gallery(
    embeddings: np.ndarray,
    probes: np.ndarray,
    gallery: np.ndarray,
    gallery_person: np.ndarray,
    verifier: Verifier,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `best_two` of the rows `probes` (P,) of `embeddings` (N, D), block by block.

    `gallery` int (G,) are the rows to search, `gallery_person` int (G,) says whose each one is.
    """
    table = embeddings[gallery]
    parts = [
        best_two(verifier.probability_matrix(embeddings[probes[block]], table), gallery_person)
        for block in row_blocks(len(probes), len(gallery)) or [slice(0)]
    ]
    best, runner_up, best_person = (np.concatenate(part) for part in zip(*parts, strict=True))
    return best, runner_up, best_person


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


FPIR = 0.01


def open_set_figures(result: OpenSet, thresholds: Thresholds | None, seed: int) -> dict[str, Any]:
    """Return DIR at FPIR, and what the release's threshold does; intervals over people."""
    known, strangers = result.known, ~result.known
    at_release = (
        {}
        if thresholds is None
        else {
            "dir": float(result.identified[known].mean()),
            "dir_interval": share_interval(result.identified[known], result.person[known], seed),
            "fpir": float(result.named[strangers].mean()),
            "fpir_interval": share_interval(
                result.named[strangers], result.person[strangers], seed
            ),
            "misidentified": float(result.misidentified[known].mean()),
            "budget": thresholds.default_budget,
            "threshold": result.threshold,
            "threshold_measured": thresholds.search_is_measured(
                thresholds.default_budget, result.gallery_faces
            ),
        }
    )
    return at_release | {
        f"dir_at_fpir_{FPIR:g}": result.rate_at(FPIR),
        "draws": result.draws,
        "gallery_photos": result.gallery_photos,
        "gallery_faces": result.gallery_faces,
        "known_people": result.known_people,
        "known_probes": int(known.sum()),
        "stranger_probes": int(strangers.sum()),
    }


def open_sets(
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds | None,
    *,
    photos: Sequence[int],
    unknown_share: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the figures for galleries of each of `photos` a person.

    Where too few people have so many photos, the entry is {"gallery_photos", "reason"}.
    """
    rows = []
    for number in photos:
        try:
            result = open_set(
                faces, verifier, thresholds,
                gallery_photos=number, unknown_share=unknown_share, seed=seed,
            )  # fmt: skip
        except FaceOpsError as error:
            rows.append({"gallery_photos": number, "reason": str(error)})
        else:
            rows.append(open_set_figures(result, thresholds, seed))
    return rows


def gallery_query_figures(result: OpenSet, seed: int) -> dict[str, Any]:
    """Return the rates with intervals over people.

    `accuracy` is the mean of two rates, right names among known and no name among unknown, so
    that it does not depend on how many of each there are. Without a release's thresholds only
    the area under TPR against FPR is there.
    """
    figures: dict[str, Any] = {
        "detection_auc": result.detection_auc,
        "known_queries": int(result.known.sum()),
        "unknown_queries": int((~result.known).sum()),
    }
    if result.threshold is None:
        return figures
    for name, outcome, asked in (
        ("identification_rate", result.identified, result.known),
        ("true_positive_rate", result.named, result.known),
        ("false_positive_rate", result.named, ~result.known),
    ):
        figures[name] = float(outcome[asked].mean())
        figures[f"{name}_interval"] = share_interval(outcome[asked], result.person[asked], seed)
    figures["accuracy"] = (figures["identification_rate"] + 1 - figures["false_positive_rate"]) / 2
    return figures
