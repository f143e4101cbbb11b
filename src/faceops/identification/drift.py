"""Drift: whether the faces of an album still look like those the release was calibrated on.

Measured by the population stability index, PSI = sum (seen - expected) ln(seen / expected) over
shares in bins (Siddiqi, Credit Risk Scorecards, 2006), with the usual limits: from 0.1 moderate,
from 0.25 major. PSI times the number of faces follows a chi-squared distribution by chance; what
lies within its 99 % is not drift.

Of quality, the largest face of each photo is compared: the calibration knows labelled faces, one a
photo, and the small faces of bystanders behind them say nothing about the camera.
Thresholds that adapt to the album need no comparison with the calibration's strangers.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np

from faceops.base.reasons import CODES, REJECTED, UNKNOWN, Reason
from faceops.faces.quality import QUALITY_VERSION
from faceops.identification.engine.decide import NamedBlock
from faceops.identification.engine.verdicts import NOBODY
from faceops.identification.state.photo_block import PhotoBlock
from faceops.identification.summary import Drift
from faceops.verification.thresholds import Thresholds, search_log_odds
from faceops.verification.verifier import sigmoid

MODERATE, MAJOR = 0.1, 0.25
MIN_FACES = 50
# Shares of strangers above a similarity, which bound the bins of similarity.
STRANGER_SHARES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
_MIN_SHARE = 1e-4  # so that an empty bin has a logarithm
_CHI2_99 = (6.63, 9.21, 11.34, 13.28, 15.09, 16.81, 18.48, 20.09, 21.67)  # by degrees of freedom

QUALITY, SIMILARITY, UNNAMED = "quality", "similarity of the unnamed", "share unnamed"
_BY_PEOPLE = [CODES[reason] for reason in (Reason.CONFIRMED, Reason.REFUSED_BY_PERSON)]


@dataclass
class DriftMeter:
    """Counts faces, then compares them with the calibration.

    If an earlier run has seen most of the folder, only new photos are compared: a change shows in
    them first.
    """

    thresholds: Thresholds  # of the release
    gallery_faces: int  # size of the gallery that is searched
    budget: float  # the share of strangers that this run may name
    before: Container[bytes] = frozenset()  # raw sha256 of the photos of the latest run

    def __post_init__(self) -> None:
        self._expected, odds = _stranger_bins(self.thresholds, self.gallery_faces, self.budget)
        self._edges = sigmoid(np.array(odds)).tolist()
        # A release with deciles of another measure of quality states none of this one.
        is_comparable = self.thresholds.quality_version == QUALITY_VERSION
        self._deciles = self.thresholds.quality_deciles if is_comparable else []
        bins = {
            QUALITY: len(self._deciles) + 1,
            SIMILARITY: len(self._edges) + 1,
            UNNAMED: 2,  # named, unnamed
        }
        # By whether the photo is new, then by what is compared.
        self._counts = [{what: np.zeros(n, int) for what, n in bins.items()} for _ in range(2)]

    def add(self, named: NamedBlock) -> None:
        """Count the faces of some photos, except for rejected ones.

        Where a person has decided, it is not counted whether the model names the face.
        """
        photos, decisions = named.photos, named.decisions
        known = np.array([bytes.fromhex(one or "") in self.before for one in photos.photo_ids])
        compared = (decisions.kind != REJECTED) & (photos.faces["detector_score"] > 0)  # not drawn
        by_model = compared & ~np.isin(decisions.reason, _BY_PEOPLE)
        is_similar = decisions.reason == CODES[Reason.BELOW_THRESHOLD]
        is_similar &= decisions.best != NOBODY
        is_largest = _largest_of_photo(photos, compared)
        for counts, is_counted in zip(self._counts, (known, ~known), strict=True):
            faces = compared & is_counted[photos.photo_of_face]
            quality = photos.faces["quality"][faces & is_largest]
            places = {
                QUALITY: np.searchsorted(self._deciles, quality, "left"),
                UNNAMED: (decisions.kind[faces & by_model] == UNKNOWN).astype(int),
                SIMILARITY: np.searchsorted(
                    self._edges, decisions.probability[faces & is_similar], "right"
                ),
            }
            for what, bins in places.items():
                counts[what] += np.bincount(bins, minlength=len(counts[what]))

    def result(self) -> list[Drift]:
        """Return the comparisons for which there are enough faces."""
        old, new = self._counts
        counts, faces, earlier = new, new[UNNAMED].sum(), old[UNNAMED].sum()
        if faces < MIN_FACES:
            counts = {what: new[what] + old[what] for what in new}
        expected: dict[str, Sequence[float]] = {}
        if self._deciles:
            expected[QUALITY] = [1 / len(counts[QUALITY])] * len(counts[QUALITY])
        if self._edges:
            expected[SIMILARITY] = self._expected
        if faces >= MIN_FACES and earlier >= MIN_FACES:
            expected[UNNAMED] = (old[UNNAMED] / earlier).tolist()
        found = (compare(what, shares, counts[what]) for what, shares in expected.items())
        return [self._adapted(drift) for drift in found if drift is not None]

    def _adapted(self, drift: Drift) -> Drift:
        """Return `drift`, without advice on better faces where thresholds adapt to them."""
        better = drift.what == QUALITY and not _are_poorer(drift.expected, drift.seen)
        return replace(drift, advice="") if better and self.thresholds.normalisation else drift


def compare(what: str, expected: Sequence[float], counts: np.ndarray) -> Drift | None:
    """Compare counts in bins with expected shares; None if there are too few faces."""
    faces = int(np.sum(counts))
    if faces < MIN_FACES:
        return None
    seen = [float(count) / faces for count in counts]
    # Half a face more in each bin, so that a bin that is empty by chance weighs less.
    smoothed = (counts + 0.5) / (faces + 0.5 * len(seen))
    a, b = (np.maximum(shares, _MIN_SHARE) for shares in (expected, smoothed))
    index = float(((b - a) * np.log(b / a)).sum())
    by_chance = _CHI2_99[min(len(seen) - 1, len(_CHI2_99)) - 1] / faces
    level = "none"
    if index >= MODERATE and index > by_chance:
        level = "major" if index >= MAJOR else "moderate"
    return Drift(
        what=what,
        faces=faces,
        expected=[round(share, 4) for share in expected],
        seen=[round(share, 4) for share in seen],
        psi=round(index, 4),
        level=level,
        advice=_advice(what, expected, seen) if level != "none" else "",
    )


def _stranger_bins(
    thresholds: Thresholds, gallery_faces: int, budget: float
) -> tuple[list[float], list[float]]:
    """Return the expected shares of unnamed strangers in bins of log odds, and the bins' edges."""
    if thresholds.normalisation or not gallery_faces or not thresholds.search_tails:
        return [1.0], []
    shares: list[float] = [1.0]
    edges: list[float] = []
    measured = min(tail.points[0].rate for tail in thresholds.search_tails)
    for share in STRANGER_SHARES:
        odds = search_log_odds(thresholds.search_tails, share, gallery_faces)
        if share > measured or share <= budget or math.isinf(odds) or (edges and odds <= edges[-1]):
            continue
        edges.append(odds)
        shares.append(share)
    shares.append(budget)
    unnamed = -np.diff(shares) / (1 - budget)
    return unnamed.tolist(), edges


def _largest_of_photo(photos: PhotoBlock, compared: np.ndarray) -> np.ndarray:
    """Return bool (F,), whether a face is the largest of its photo among the `compared` ones."""
    faces = np.flatnonzero(compared)
    photo = photos.photo_of_face[faces]
    area = photos.faces["box"][faces, 2] * photos.faces["box"][faces, 3]
    order = np.lexsort((area, photo))
    is_last = np.diff(photo[order], append=-1) != 0
    largest = np.zeros(len(compared), bool)
    largest[faces[order[is_last]]] = True
    return largest


def _are_poorer(expected: Sequence[float], seen: Sequence[float]) -> bool:
    return bool(np.dot(np.arange(len(seen)), np.subtract(seen, expected)) < 0)


def _advice(what: str, expected: Sequence[float], seen: Sequence[float]) -> str:
    if what == QUALITY:
        if _are_poorer(expected, seen):
            return (
                "the faces are poorer (blurred, dark, small, turned) than those that the release "
                "was calibrated on, so fewer may be recognised: look for a new scanner or camera "
                "setting, or calibrate a release on such photos"
            )
        return (
            "the faces are better than those that the release was calibrated on; calibrate a "
            "release on such photos"
        )
    if what == UNNAMED:
        told = "of the new photos' faces {:.0%} {}, of the earlier ones' {:.0%}: {}"
        if seen[1] > expected[1]:
            why = "new people to enrol (see the unknown people), or poorer photos"
            return told.format(seen[1], "stay unnamed", expected[1], why)
        return told.format(seen[0], "are named", expected[0], "check some of the new names")
    if seen[-1] + sum(seen[len(seen) // 2 :]) > expected[-1] + sum(expected[len(seen) // 2 :]):
        return (
            "more unnamed faces are close to an enrolled person than expected of strangers: enrol "
            "more photos of these people, or expect more strangers named than the budget allows"
        )
    return (
        "unnamed faces are less like the enrolled people than the calibration's strangers: other "
        "kinds of people or photos; check the release on some labelled ones (faceops evaluate)"
    )
