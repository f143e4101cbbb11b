"""Faces of one album, scored, searched and named as identification does.

A release with a normalisation measures the album without any label (`verification.album`),
normalises all scores and takes the threshold from the album. An earlier release compares embeddings
as they are and has one threshold for all albums.

The false positive identification rate (FPIR) is measured again on held-out people, all their faces
as one album: the exact expectation over all galleries of people the release has not seen
(`faceops.verification.error_rates`), with a 95 % interval over them. Beside it is the interval that
the album states for itself or, in a release that does not adapt to albums, the one over the people
who calibrated it; where it and the measured one are disjoint, the stated one was too narrow.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.verification.album import Album, AlbumThreshold, measure_album, threshold_in
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import impostor_comparisons
from faceops.verification.pairs import row_blocks
from faceops.verification.thresholds import NamingLimits, Thresholds, log_odds_of, required_lead
from faceops.verification.verifier import Verifier, sigmoid

DRAWS = 5  # of galleries
NOT_CALIBRATED = "the embedder is not part of a release: nothing was calibrated"


def release_threshold(thresholds: Thresholds | None, far: float) -> tuple[float | None, str]:
    """Return the release's threshold for a false accept rate, or None and the reason."""
    if thresholds is None:
        return None, NOT_CALIBRATED
    try:
        return thresholds.for_pairs(far), ""
    except UsageError as error:
        return None, str(error)


@dataclass(frozen=True, eq=False)
class AlbumScores:
    """How the faces of one album are compared."""

    faces: np.ndarray  # what `verifier` compares, float32: embeddings (N, D), or described ones
    verifier: Verifier  # normalises where the release has a normalisation
    album: Album | None  # None without a normalisation

    def describe(self, embeddings: np.ndarray) -> np.ndarray:
        """Return other rows, float32 (M, D), as `faces` are."""
        return embeddings if self.album is None else self.album.cohort.describe(embeddings)

    def threshold(
        self, thresholds: Thresholds, budget: float, gallery_photos: Sequence[int]
    ) -> AlbumThreshold:
        """Return the threshold that keeps an FPIR of `budget`, as `threshold_in`.

        Without a normalisation only `log_odds` and `probability` have a meaning.

        Raises UsageError: the release does not support the budget.
        """
        if self.album is not None:
            return threshold_in(self.album, thresholds, budget, gallery_photos)
        odds = log_odds_of(thresholds.for_search(budget, int(sum(gallery_photos))))
        return AlbumThreshold(budget, odds, None, None, 0, 0)

    def lead(self, runner_up: np.ndarray, threshold: float, margin: float) -> np.ndarray | float:
        """Return the lead over `runner_up` that a name needs; all in log odds."""
        return margin if self.album is None else required_lead(runner_up, threshold, margin)


def score_album(
    embeddings: np.ndarray, gallery: np.ndarray, verifier: Verifier, thresholds: Thresholds | None
) -> AlbumScores:
    """Return the scores of the faces `embeddings` float32 (N, D) of one album.

    `gallery` float32 (G, D) are the enrolled people, see `measure_album`.
    """
    known = None if thresholds is None else thresholds.normalisation
    if known is None:
        return AlbumScores(embeddings, verifier, None)
    album = measure_album(known, embeddings, gallery)
    return AlbumScores(album.cohort.describe(embeddings), album.cohort.verifier, album)


@dataclass(frozen=True)
class GalleryDraw:
    """Rows of a table of photos: those that are enrolled, and the probes."""

    gallery: np.ndarray  # int (G,), rising
    probes: np.ndarray  # int (P,), rising: all other rows
    known: np.ndarray  # bool (P,): the probe's person is enrolled


def draw_galleries(
    person: np.ndarray, able: np.ndarray, enrolled: int, *, gallery_photos: int, seed: int,
    draws: int = DRAWS, usable: np.ndarray | None = None,
) -> list[GalleryDraw]:  # fmt: skip
    """Return `draws` galleries of `enrolled` people, each with `gallery_photos` photos.

    `person` int (N,) is that of each photo, `able` int (A,) are the people to draw from, each with
    more than `gallery_photos` of the photos that can be enrolled, `usable` bool (N,) (None: all).
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


@dataclass(frozen=True)
class SearchedAlbum:
    """Outcomes of P probes; arrays are (P,)."""

    best: np.ndarray  # float32: the best person's probability
    person: np.ndarray  # int: the best person
    reached: np.ndarray  # bool: at or above the threshold for the default budget
    named: np.ndarray  # bool: a name is given, as the best person leads the runner-up too
    threshold: AlbumThreshold | None  # None without a release's thresholds


def search_album(
    embeddings: np.ndarray, probes: np.ndarray, gallery: np.ndarray, gallery_person: np.ndarray,
    verifier: Verifier, thresholds: Thresholds | None,
) -> SearchedAlbum:  # fmt: skip
    """Search the rows `probes` (P,) of `embeddings` (N, D) among the rows `gallery` (G,).

    `gallery_person` int (G,) says whose each one is. Without `thresholds` no probe is named.

    Raises UsageError: the release does not support its default budget.
    """
    enrolled, whose = embeddings[gallery], gallery_person
    people, own, photos = np.unique(gallery_person, return_inverse=True, return_counts=True)
    if thresholds is not None and thresholds.normalisation is not None:
        enrolled, whose = thresholds.normalisation.templates(enrolled, own), people
    scored = score_album(embeddings[probes], enrolled, verifier, thresholds)
    normalised = scored.album is not None  # log odds tell near-certain ones apart
    described = scored.describe(enrolled)
    by_matrix = scored.verifier.logit_matrix if normalised else scored.verifier.probability_matrix
    parts = [
        best_two(by_matrix(scored.faces[block], described), whose, -np.inf if normalised else 0.0)
        for block in row_blocks(len(probes), len(described)) or [slice(0)]
    ]
    best, runner_up, person = (np.concatenate(part) for part in zip(*parts, strict=True))
    probability = sigmoid(best) if normalised else best
    if thresholds is None:
        nobody = np.zeros(len(best), bool)
        return SearchedAlbum(probability, person, nobody, nobody, None)
    found = scored.threshold(thresholds, thresholds.default_budget, photos.tolist())
    odds = found.log_odds if normalised else None
    limits = NamingLimits(found.probability, thresholds.runner_up_margin, odds, odds)
    reached = limits.reached(best)
    return SearchedAlbum(
        probability, person, reached, reached & limits.leads(best, runner_up), found
    )


def best_two(
    scores: np.ndarray, gallery_person: np.ndarray, lowest: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (best, runner-up, best person), (P,), of probes against gallery faces (P, G).

    A person's score is that of the best of their faces; without a second person the runner-up
    has `lowest`.
    """
    order = np.argsort(gallery_person, kind="stable")
    people, starts = np.unique(gallery_person[order], return_index=True)
    by_person = np.maximum.reduceat(scores[:, order], starts, axis=1)
    first = by_person.argmax(1)
    rows = np.arange(len(scores))
    best = by_person[rows, first]
    by_person[rows, first] = -np.inf
    return best, np.maximum(by_person.max(1), np.float32(lowest)), people[first]


_USUAL_SIZES = (1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)
_FEWEST_SIZES = 3


def measure_fpir_at_thresholds(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds, seed: int, *,
    budgets: Collection[float] | None = None, gallery_sizes: Collection[int] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row of figures for each gallery size that the people can fill, and each budget.

    By default for the sizes and budgets of the release's own table and its default budget; where
    the people can fill fewer than three of the sizes, smaller usual ones are added. For "verdict"
    see `verdict`; it is "refused" where the release supports no such budget.
    """
    people = faces.people
    if gallery_sizes is None:
        own = {row.gallery_faces for row in thresholds.search if row.gallery_faces < people}
        usual = [size for size in _USUAL_SIZES if size < people and size not in own]
        gallery_sizes = [*own, *usual[: max(_FEWEST_SIZES - len(own), 0)]]
    if budgets is None:
        budgets = {row.budget for row in thresholds.search} | {thresholds.default_budget}
    none = {"low": None, "high": None}
    adapts = thresholds.normalisation is not None
    stated = {
        (row.gallery_faces, row.budget): row.false_positive_rate.model_dump()
        for row in thresholds.search
        if row.false_positive_rate and not adapts
    }
    scored = score_album(faces.embeddings, faces.embeddings[:0], verifier, thresholds)
    rows: list[dict[str, Any]] = []
    supported: list[tuple[dict[str, Any], AlbumThreshold]] = []
    for size in sorted(size for size in gallery_sizes if size < people):
        for budget in sorted(budgets, reverse=True):
            row: dict[str, Any] = {
                "gallery_faces": size,
                "budget": budget,
                "strangers": people,
                "threshold": None,
                "measured": False,  # in this album or, without it, when the release was calibrated
                "seen": None,
                "seen_interval": none,
                "calibrated_interval": stated.get((size, budget), none),
                "estimate_interval": none,
                "fallback_population": "",
                "verdict": "refused",
                "refusal": "",
            }
            rows.append(row)
            try:
                supported.append((row, scored.threshold(thresholds, budget, [1] * size)))
            except UsageError as error:
                row["refusal"] = str(error)
    if not supported:
        return rows
    floor = min(found.log_odds for _, found in supported)
    comparisons = impostor_comparisons(
        scored.faces, faces.persons, scored.verifier, floor, seed=seed
    )
    for row, found in supported:
        size, budget, cut = row["gallery_faces"], row["budget"], found.log_odds
        rate, interval = comparisons.rate(cut, size), comparisons.interval(cut, size, seed=seed)
        measured = thresholds.search_is_measured(budget, size)
        row |= {
            "threshold": found.probability,
            "measured": not found.population if adapts else measured,
            "seen": rate,
            "seen_interval": interval,
            "estimate_interval": {"low": found.low, "high": found.high},
            "fallback_population": found.population,
            "verdict": verdict(rate, interval["low"], budget),
        }
    return rows


def verdict(rate: float, low: float, budget: float) -> str:
    """Return "kept" where `rate` is within the budget, else "undecided" or "broken".

    Broken: `low`, the lower end of the interval of `rate`, is above the budget too.
    """
    if rate <= budget:
        return "kept"
    return "undecided" if low <= budget else "broken"
