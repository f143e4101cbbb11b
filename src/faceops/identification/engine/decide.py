"""Decide who a face shows: rank the enrolled people by the verifier, then apply the naming rule.

A release that knows normalised scores compares a face with the mean of each person's faces, see
`album_search`; an earlier one with the nearest gallery faces, see `rank_people`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from faceops.base.reasons import DecisionKind, Reason
from faceops.gallery.store import Gallery
from faceops.identification.engine.album_search import AlbumSearch, Ranked, refusal
from faceops.identification.settings import IDENTIFICATION, FacePolicy
from faceops.identification.state.face_store import Extraction
from faceops.identification.state.found_photo import FoundPhoto
from faceops.release.bundle import Bundle
from faceops.verification.album import AlbumThreshold, required_lead
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verify, clipped_log_odds, reaches, sigmoid

NEAREST = 16
BLOCK = 65_536  # gallery rows at a time: 32 MB of embeddings, 16 MB of scores for 64 queries


@dataclass(frozen=True)
class Candidate:
    """An enrolled person that a face may show.

    Attributes:
        person: the name.
        probability: by the verifier, 0 to 1, of the person's most probable gallery face; of the
            mean of the person's faces, if scores are normalised in an album.
        distance: Euclidean, 0 to 2, between the two unit embeddings.
        log_odds: of `probability`, if scores are normalised.
        stranger_share: estimated share of the album's strangers that score as high, likewise.
    """

    person: str
    probability: float
    distance: float
    log_odds: float | None = None
    stranger_share: float | None = None

    @property
    def score(self) -> float:
        """The log odds if scores are normalised, else the probability; the larger, the likelier."""
        return self.probability if self.log_odds is None else self.log_odds

    def lead(self, runner_up: "Candidate") -> float:
        """Return by how much it leads the runner-up, in log odds."""
        if self.log_odds is not None and runner_up.log_odds is not None:
            return self.log_odds - runner_up.log_odds
        odds = (clipped_log_odds(one.probability) for one in (self, runner_up))
        return float(next(odds) - next(odds))


@dataclass(frozen=True)
class Decision:
    """The decision about one face.

    `best` is the most probable person and `runner_up` the next one, if the face was compared; the
    face is only given the name of `best` if `kind` is `identified`.
    """

    kind: DecisionKind
    reason: Reason | None = None
    best: Candidate | None = None
    runner_up: Candidate | None = None

    @property
    def person(self) -> str | None:
        """The name that the face was given, if any."""
        return self.best.person if self.best and self.kind is DecisionKind.IDENTIFIED else None


@dataclass(frozen=True)
class NamingRule:
    """The conditions under which a face is named.

    Attributes:
        threshold: smallest probability of the best candidate.
        runner_up_margin: smallest lead over the runner-up, in log odds; see `required_lead` too.
        policy: which faces are good enough to be compared.
        log_odds: the same threshold, if scores are normalised; it decides then.
        usual_log_odds: that of the default budget, likewise, which `required_lead` is measured
            from: else a larger budget would leave more faces ambiguous.
        search: ranks the enrolled people by normalised scores; None for a release without them.
    """

    threshold: float
    runner_up_margin: float
    policy: FacePolicy = IDENTIFICATION
    log_odds: float | None = None
    usual_log_odds: float | None = None
    search: AlbumSearch | None = None

    @classmethod
    def for_gallery(
        cls,
        thresholds: Thresholds,
        gallery: Gallery,
        budget: float,
        policy: FacePolicy = IDENTIFICATION,
    ) -> "NamingRule":
        """Return the rule that names at most the share `budget` of strangers, by the calibration.

        Raises:
            UsageError: the release was not calibrated for such a budget.
        """
        faces = len(gallery.faces)
        threshold = thresholds.for_search(budget, faces) if faces else 1.0
        return cls(threshold, thresholds.runner_up_margin, policy)

    def in_album(
        self, search: AlbumSearch, found: AlbumThreshold, default_budget: float
    ) -> "NamingRule":
        """Return the rule with the threshold that was found in an album."""
        return replace(
            self,
            threshold=found.probability,
            log_odds=found.log_odds,
            usual_log_odds=search.album.threshold(default_budget, search.enrolled).log_odds,
            search=search,
        )

    def accepts(self, best: Candidate) -> bool:
        """Whether the best candidate's score is high enough for a name."""
        if best.log_odds is not None and self.log_odds is not None:
            return best.log_odds >= self.log_odds
        return bool(reaches(best.probability, self.threshold))

    def required_lead(self, runner_up: Candidate) -> float:
        """Return by how much the best candidate has to lead, in log odds."""
        if runner_up.log_odds is None or self.usual_log_odds is None:
            return self.runner_up_margin
        return float(required_lead(runner_up.log_odds, self.usual_log_odds, self.runner_up_margin))


@dataclass(frozen=True, eq=False, kw_only=True)
class NamedPhoto(Extraction):
    """A photo with a decision for each face; `photo_path` is below the photos' folder, as text."""

    photo_path: str
    decisions: list[Decision]


def name_faces(
    photos: Sequence[FoundPhoto], gallery: Gallery, bundle: Bundle, rule: NamingRule
) -> list[list[Decision]]:
    """Return the decisions for the faces of each photo; all of them are searched in one batch."""
    faces = [face for photo in photos for face in photo.faces]
    refusals = [refusal(face, rule.policy) for face in faces]
    usable = [face.embedding for face, why in zip(faces, refusals, strict=True) if why is None]
    queries = np.stack(usable) if usable else np.zeros((0, gallery.embedding_size), np.float32)
    people = gallery.people
    ranked = iter(
        rank_people(queries, gallery.embeddings, people, gallery.person_rows, bundle.verify)
        if rule.search is None
        else _candidates(rule.search.rank(queries), people)
    )
    candidates = [[] if why is not None else next(ranked) for why in refusals]
    decisions, start = [], 0
    for photo in photos:
        stop = start + len(photo.faces)
        decisions.append(decide(candidates[start:stop], refusals[start:stop], rule))
        start = stop
    return decisions


def _candidates(ranked: Ranked, people: Sequence[str]) -> list[list[Candidate]]:
    """Return the candidates of each face, the best first."""
    columns = (ranked.people, sigmoid(ranked.log_odds), ranked.distances, ranked.log_odds)
    rows = zip(
        *(column.tolist() for column in columns), ranked.stranger_share.tolist(), strict=True
    )
    return [
        [
            Candidate(people[person], probability, distance, odds, None if number else share)
            for number, (person, probability, distance, odds) in enumerate(zip(*row, strict=True))
        ]
        for *row, share in rows
    ]


def rank_people(
    embeddings: np.ndarray,
    gallery: np.ndarray,
    people: Sequence[str],
    person_rows: np.ndarray,
    verify: Verify,
    nearest_faces: int = NEAREST,
) -> list[list[Candidate]]:
    """Return the most probable person and the runner-up for each face; fewer if fewer are enrolled.

    The verifier scores the N nearest gallery faces and, if all of them are of one person, the N
    nearest of other people too. Equally probable people are sorted by distance, then by name.

    Args:
        embeddings: float32 (Q, D), L2-normalised.
        gallery: float32 (M, D), L2-normalised.
        people: names, sorted.
        person_rows: int (M,), the index in `people` of each gallery row.
        verify: the probability of one person for rows of two (N, D).
    """
    if not len(embeddings) or not len(gallery):
        return [[] for _ in embeddings]
    queries, rows = _pairs_to_verify(embeddings, gallery, person_rows, nearest_faces)
    probabilities = verify(embeddings[queries], gallery[rows])
    distances = np.linalg.norm(embeddings[queries] - gallery[rows], axis=1)
    persons = person_rows[rows]
    order = np.lexsort((persons, distances, -probabilities, queries))
    ranked: list[list[Candidate]] = [[] for _ in embeddings]
    columns = (column[order].tolist() for column in (queries, persons, probabilities, distances))
    for query, person, probability, distance in zip(*columns, strict=True):
        found = ranked[query]
        if len(found) < 2 and (not found or found[0].person != people[person]):
            found.append(Candidate(people[person], probability, distance))
    return ranked


def _pairs_to_verify(
    embeddings: np.ndarray, gallery: np.ndarray, person_rows: np.ndarray, nearest_faces: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs as rows of `embeddings` and rows of `gallery`, int64 (N,) each."""
    rows, _ = nearest(embeddings, gallery, nearest_faces)  # (Q, N)
    queries = np.repeat(np.arange(len(rows)), rows.shape[1])
    first = person_rows[rows[:, 0]]
    one_person = np.flatnonzero((person_rows[rows] == first[:, None]).all(axis=1))
    if not len(one_person) or (person_rows == person_rows[0]).all():
        return queries, rows.ravel()
    excluded = person_rows, first[one_person]
    others, cosines = nearest(embeddings[one_person], gallery, nearest_faces, excluded)
    finite = np.isfinite(cosines)
    more = np.repeat(one_person, finite.sum(axis=1))
    return np.concatenate([queries, more]), np.concatenate([rows.ravel(), others[finite]])


def nearest(
    queries: np.ndarray,
    gallery: np.ndarray,
    count: int,
    excluded: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows int64 (Q, n) and cosines float32 (Q, n) of the nearest faces, nearest first.

    n is `count`, or M when the gallery is smaller. Exact, by a matrix product for each block of the
    gallery: 100,000 x 128 takes a few milliseconds a query on one core.

    Args:
        queries, gallery: float32 (Q, D) and (M, D), L2-normalised.
        excluded: the group of each gallery row, int (M,), and the group that each query ignores,
            int (Q,). When fewer than n rows are left, the others come last, with the cosine -inf.
    """
    count = min(count, len(gallery))
    rows = np.zeros((len(queries), 0), np.int64)
    cosines = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(gallery), BLOCK):
        block = queries @ gallery[start : start + BLOCK].T  # (Q, B)
        if excluded is not None:
            block[excluded[0][None, start : start + BLOCK] == excluded[1][:, None]] = -np.inf
        places = np.arange(start, start + block.shape[1])
        cosines = np.concatenate([cosines, block], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(places, block.shape)], axis=1)
        if cosines.shape[1] > count:
            part = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
            cosines = np.take_along_axis(cosines, part, axis=1)
            rows = np.take_along_axis(rows, part, axis=1)
    order = np.lexsort((rows, -cosines), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(cosines, order, axis=1)


def decide(
    candidates: Sequence[Sequence[Candidate]], refusals: Sequence[Reason | None], rule: NamingRule
) -> list[Decision]:
    """Return a decision for each face of one photo.

    A face with a refusal is rejected. Otherwise the best candidate is given if its score reaches
    the threshold and leads the runner-up by the required lead in log odds (in large galleries,
    thresholds lie so near to 1 that differences of probabilities say little). If two faces would
    get one name, only the more probable gets it (the earlier one on a tie), the other is
    `ambiguous`.

    Args:
        candidates: for each face, the most probable person first; empty if nobody is enrolled.
        refusals: for each face, why it is not compared, or None.
    """
    decisions = [
        _decide_one(found, refusal, rule)
        for found, refusal in zip(candidates, refusals, strict=True)
    ]
    winners: dict[str, int] = {}
    for index, decision in enumerate(decisions):
        if decision.person is None or decision.best is None:
            continue
        winner = winners.get(decision.person)
        best = decisions[winner].best if winner is not None else None
        if best is None or decision.best.score > best.score:
            winners[decision.person] = index
    return [
        replace(decision, kind=DecisionKind.UNKNOWN, reason=Reason.AMBIGUOUS)
        if decision.person is not None and winners[decision.person] != index
        else decision
        for index, decision in enumerate(decisions)
    ]


def _decide_one(found: Sequence[Candidate], refusal: Reason | None, rule: NamingRule) -> Decision:
    if refusal is not None:
        return Decision(DecisionKind.REJECTED, refusal)
    if not found:
        return Decision(DecisionKind.UNKNOWN, Reason.GALLERY_EMPTY)
    best, runner_up = found[0], found[1] if len(found) > 1 else None
    if not rule.accepts(best):
        return Decision(DecisionKind.UNKNOWN, Reason.BELOW_THRESHOLD, best, runner_up)
    if runner_up is not None and best.lead(runner_up) < rule.required_lead(runner_up):
        return Decision(DecisionKind.UNKNOWN, Reason.AMBIGUOUS, best, runner_up)
    return Decision(DecisionKind.IDENTIFIED, None, best, runner_up)
