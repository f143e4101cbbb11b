"""Identification in a gallery: closed set (all people are enrolled) and open set (strangers too).

The open-set figures are those of ISO/IEC 19795-1 and of Grother & Ngan's FRVT reports: FPIR, the
share of strangers' photos that get a name, and DIR, the share of known people's photos that get the
right one. A photo is named as identification names it: the best person's probability reaches the
threshold and leads the runner-up by the margin in log odds. With a release that adapts to an album,
the probes of each gallery are an album of their own, see `album_scores`; its estimate of the share
of strangers named is compared with the share that was.

"Gallery against query" has the same outcomes in other figures: TPR, the share of known people's
photos that get any name, FPR (the FPIR), and an accuracy balanced between known and unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import roc
from faceops.config.sections import Evaluate
from faceops.evaluation.protocols.album_scores import DRAWS, draw_galleries, search_album
from faceops.verification.album import AlbumThreshold
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import share_interval
from faceops.verification.pairs import codes, row_blocks
from faceops.verification.thresholds import Thresholds, as_threshold
from faceops.verification.verifier import Verifier

POINTS = 200
FPIR = 0.01


@dataclass(frozen=True)
class OpenSet:
    """Outcomes of all probes over all draws of galleries; arrays are (P,)."""

    person: np.ndarray  # int: the person of each probe
    known: np.ndarray  # bool: the person is enrolled
    right: np.ndarray  # bool: the best person is the right one
    best: np.ndarray  # float32: the best person's probability
    named: np.ndarray  # bool: a name is given at the release's threshold
    gallery_photos: int  # a person
    gallery_faces: int  # of one draw
    known_people: int  # of one draw
    threshold: float | None  # of the mean log odds over draws; None without a release's thresholds
    draws: int
    # The threshold of each draw's album, and the share of strangers' probes that reach it (without
    # the margin, which refuses more). Empty if the release does not adapt to albums.
    estimates: tuple[tuple[AlbumThreshold, float], ...] = ()

    @property
    def identified(self) -> np.ndarray:
        """bool (P,): the right name is given."""
        return self.named & self.right & self.known

    @property
    def misidentified(self) -> np.ndarray:
        """bool (P,): a known person gets another person's name."""
        return self.named & ~self.right & self.known

    def rate_at(self, fpir: float) -> float:
        """Return DIR at the threshold where at most a share `fpir` of strangers is named.

        The threshold is chosen on these very probes and the margin plays no part: the figure
        compares models, it is not what a release does.
        """
        return roc(self._right_best, self.best[~self.known]).tar(fpir) * self._right_share

    @property
    def detection_auc(self) -> float:
        """Area under TPR against FPR: a known person's photo has the higher best probability."""
        return roc(self.best[self.known], self.best[~self.known]).auc

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (FPR, TPR, identification rate), float64 (C,), at rising FPR, spaced by log.

        FPR is the share of strangers' photos at or above a threshold (FPIR without the margin),
        TPR that of known people's, the identification rate that of those whose best is right.
        """
        strangers = self.best[~self.known]
        fpr, tpr = roc(self.best[self.known], strangers).curve(POINTS)
        return fpr, tpr, roc(self._right_best, strangers).curve(POINTS)[1] * self._right_share

    @property
    def _right_best(self) -> np.ndarray:
        return self.best[self.known & self.right]

    @property
    def _right_share(self) -> float:
        return float(self.right[self.known].mean())


def open_set(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds | None, *,
    gallery_photos: int, unknown_share: float, seed: int, draws: int = DRAWS,
) -> OpenSet:  # fmt: skip
    """Enrol `gallery_photos` random photos each of known people; probe with everything else.

    A share `unknown_share` of the people who have more than `gallery_photos` photos are strangers,
    and so is a person with fewer. Drawn `draws` times. Without `thresholds` no probe is named.

    Raises FaceOpsError: too few people with enough photos.
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
    parts, found = [], []
    for draw in draw_galleries(
        person, able, enrolled, gallery_photos=gallery_photos, seed=seed, draws=draws
    ):
        whose = person[draw.probes]
        result = search_album(
            faces.embeddings, draw.probes, draw.gallery, person[draw.gallery], verifier, thresholds
        )
        parts.append((whose, draw.known, result.person == whose, result.best, result.named))
        if result.threshold is not None:
            found.append((result.threshold, float(result.reached[~draw.known].mean())))
    whose, known, right, best, named = (np.concatenate(part) for part in zip(*parts, strict=True))
    counted = (gallery_photos, enrolled * gallery_photos, enrolled)
    cut = as_threshold(float(np.mean([one.log_odds for one, _ in found]))) if found else None
    adapts = thresholds is not None and thresholds.normalisation is not None
    estimates = tuple(found) if adapts else ()
    return OpenSet(whose, known, right, best, named, *counted, cut, draws, estimates)


def open_set_figures(result: OpenSet, thresholds: Thresholds | None, seed: int) -> dict[str, Any]:
    """Return DIR at FPIR, and what the release's threshold does; intervals over people."""
    known, strangers = result.known, ~result.known
    figures = {
        f"dir_at_fpir_{FPIR:g}": result.rate_at(FPIR),
        "draws": result.draws,
        "gallery_photos": result.gallery_photos,
        "gallery_faces": result.gallery_faces,
        "known_people": result.known_people,
        "known_probes": int(known.sum()),
        "stranger_probes": int(strangers.sum()),
    }
    if thresholds is None:
        return figures
    budget = thresholds.default_budget
    measured = thresholds.search_is_measured(budget, result.gallery_faces)
    if result.estimates:
        figures |= estimate_figures(result.estimates)
        measured = not figures["fallback_population"]
    return (
        _rate("dir", result.identified, known, result, seed)
        | _rate("fpir", result.named, strangers, result, seed)
        | {
            "misidentified": float(result.misidentified[known].mean()),
            "budget": budget,
            "threshold": result.threshold,
            "threshold_measured": measured,
        }
        | figures
    )


def estimate_figures(estimates: Sequence[tuple[AlbumThreshold, float]]) -> dict[str, Any]:
    """Return the mean interval that the albums state, and how often it contains the measured rate.

    Both are None where all albums had too few people; "fallback_population" is the calibration set
    whose threshold was used for such albums, "" without any.
    """
    estimated = [
        (one.low, one.high, reached)
        for one, reached in estimates
        if one.low is not None and one.high is not None
    ]
    covers = [low <= reached <= high for low, high, reached in estimated]
    return {
        "estimate_low": float(np.mean([low for low, _, _ in estimated])) if estimated else None,
        "estimate_high": float(np.mean([high for _, high, _ in estimated])) if estimated else None,
        "estimate_covers": float(np.mean(covers)) if estimated else None,
        "estimated_albums": len(estimated),
        "fallback_population": max(one.population for one, _ in estimates),
    }


def _rate(
    name: str, outcome: np.ndarray, probes: np.ndarray, result: OpenSet, seed: int
) -> dict[str, Any]:
    """Return the share of `probes` bool (P,) with `outcome` bool (P,), and its interval."""
    return {
        name: float(outcome[probes].mean()),
        f"{name}_interval": share_interval(outcome[probes], result.person[probes], seed),
    }


def open_set_protocol(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds | None, settings: Evaluate
) -> tuple[OpenSet, dict[str, Any]]:
    """Return the outcomes of the open-set search by `settings`, and its figures.

    These are "open_set", "gallery_query" and "open_sets", a row for each of
    `settings.open_set_gallery_photos`, with a "reason" where too few people have so many photos.

    Raises FaceOpsError: as `open_set`.
    """
    seed = settings.seed
    search = partial(
        open_set, faces, verifier, thresholds, unknown_share=settings.unknown_share, seed=seed
    )
    done = search(gallery_photos=settings.gallery_photos)
    rows = []
    for number in settings.open_set_gallery_photos:
        try:
            result = done if number == done.gallery_photos else search(gallery_photos=number)
        except FaceOpsError as error:
            rows.append({"gallery_photos": number, "reason": str(error)})
        else:
            rows.append(open_set_figures(result, thresholds, seed))
    return done, {
        "open_set": open_set_figures(done, thresholds, seed),
        "gallery_query": gallery_query_figures(done, seed),
        "open_sets": rows,
    }


def gallery_query_figures(result: OpenSet, seed: int) -> dict[str, Any]:
    """Return the rates with intervals over people; without thresholds, the area under the curve.

    `accuracy` is the mean of two rates, right names among known and no name among unknown.
    """
    figures: dict[str, Any] = {
        "detection_auc": result.detection_auc,
        "known_queries": int(result.known.sum()),
        "unknown_queries": int((~result.known).sum()),
    }
    if result.threshold is None:
        return figures
    figures |= _rate("identification_rate", result.identified, result.known, result, seed)
    figures |= _rate("true_positive_rate", result.named, result.known, result, seed)
    figures |= _rate("false_positive_rate", result.named, ~result.known, result, seed)
    figures["accuracy"] = (figures["identification_rate"] + 1 - figures["false_positive_rate"]) / 2
    return figures


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
        figures: dict[str, Any] = {}
        for rank in (1, 5):
            ends = share_interval(self.ranks <= rank, self.probe_person, seed)
            figures |= {f"rank_{rank}": self.rate(rank), f"rank_{rank}_interval": ends}
        return figures | {"gallery_people": self.people, "probes": len(self.ranks)}


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
    # If no photo of a person has a face, one of them is the missing gallery photo, not a probe.
    photos, found = (np.bincount(part, minlength=whose.max() + 1) for part in (whose, person))
    lost = np.repeat(np.arange(len(photos)), photos - np.maximum(found, 1))
    return ClosedSet(
        np.concatenate([ranks, np.full(len(lost), len(gallery) + 1)]),
        np.concatenate([person[probes], lost]),
        len(gallery),
    )
