"""Decide who a face shows: what people decided about it, else the naming rule on its scores.

All faces of a block of photos are decided together, as columns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceops.base import reasons
from faceops.base.files import valid_unicode
from faceops.base.reasons import CODES, IDENTIFIED, NO_REASON, Reason
from faceops.base.work import Timer
from faceops.gallery.store import Gallery
from faceops.identification.engine.ranking import AlbumSearch, Ranked, rank_people, refusals
from faceops.identification.engine.verdicts import NOBODY, UNNAMED, DecidedFaces, Verdicts
from faceops.identification.state.photo_block import PhotoBlock
from faceops.verification.album import AlbumThreshold
from faceops.verification.thresholds import NamingLimits, Thresholds
from faceops.verification.verifier import Verify


@dataclass(frozen=True, eq=False)
class FaceDecisions:
    """The decisions about F faces, as columns."""

    kind: np.ndarray  # int8 (F,), places in `KINDS`
    # int8 (F,), places in `REASONS`; `NO_REASON` for a face that is identified by its score
    reason: np.ndarray
    # best, runner_up: int32 (F,), the two most probable people, as places in `NamedBlock.people`;
    # `NOBODY` if the face was not compared, or nobody else is enrolled. A face is only given the
    # name of `best` if it is identified.
    best: np.ndarray
    runner_up: np.ndarray
    # probability, runner_up_probability: float32 (F,), 0 to 1 by the verifier, of the person's most
    # probable gallery face, or of the mean of the person's faces if scores are normalised in an
    # album; NaN for nobody
    probability: np.ndarray
    runner_up_probability: np.ndarray
    distance: np.ndarray  # float32 (F,), Euclidean, 0 to 2, to that face or mean; NaN for nobody
    # float32 (F,), estimated share of the album's strangers that score as high as the best; NaN if
    # scores are not normalised
    stranger_share: np.ndarray

    @property
    def named(self) -> np.ndarray:
        """bool (F,): the face is given the name of `best`."""
        return self.kind == IDENTIFIED

    @property
    def person(self) -> np.ndarray:
        """int32 (F,): the person whose name the face is given, `NOBODY` for none."""
        return np.where(self.named, self.best, NOBODY)

    def with_rows(self, rows: np.ndarray, columns: Mapping[str, np.ndarray]) -> "FaceDecisions":
        """Return the decisions with other values in some columns of `rows`, int64 (N,)."""
        changed = {name: getattr(self, name).copy() for name in columns}
        for name, values in columns.items():
            changed[name][rows] = values
        return replace(self, **changed)

    @classmethod
    def without_names(cls, faces: int) -> "FaceDecisions":
        """Return decisions for faces that are not compared with anybody."""
        nothing, nobody = np.full(faces, np.nan, np.float32), np.full(faces, NOBODY, np.int32)
        kind, reason = np.full(faces, reasons.UNKNOWN, np.int8), np.full(faces, NO_REASON, np.int8)
        return cls(kind, reason, nobody, nobody, nothing, nothing, nothing, nothing)


@dataclass(frozen=True, eq=False)
class NamedBlock:
    """Photos with a decision for each face."""

    photos: PhotoBlock
    photo_paths: Sequence[str]  # below the photos' folder, as text
    decisions: FaceDecisions
    people: Sequence[str]  # the sorted names of the gallery, then those that only people have given
    # The names under which these people are shown, if others; two may be the same
    shown: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.photos)

    def names(self) -> list[str | None]:
        """Return the name under which the person of each face is shown, None for none."""
        people = self.shown or self.people
        return [None if one < 0 else people[one] for one in self.decisions.person.tolist()]

    def reasons(self) -> list[Reason | None]:
        return [None if one < 0 else reasons.REASONS[one] for one in self.decisions.reason.tolist()]


@dataclass(frozen=True)
class NamingRule:
    """The conditions under which a face is named."""

    limits: NamingLimits  # on the scores
    # Ranks the enrolled people by normalised scores; None for a release without them
    search: AlbumSearch | None = None

    @property
    def threshold(self) -> float:
        """Smallest probability of the best person."""
        return self.limits.probability

    @classmethod
    def for_gallery(cls, thresholds: Thresholds, gallery: Gallery, budget: float) -> "NamingRule":
        """Return the rule that names at most the share `budget` of strangers, by the calibration.

        Raises UsageError: the release was not calibrated for such a budget.
        """
        faces = len(gallery.faces)
        threshold = thresholds.for_search(budget, faces) if faces else 1.0
        return cls(NamingLimits(threshold, thresholds.runner_up_margin))

    def in_album(
        self, search: AlbumSearch, found: AlbumThreshold, default_budget: float
    ) -> "NamingRule":
        """Return the rule with the threshold that was found in an album."""
        usual = search.album.threshold(default_budget, search.enrolled).log_odds
        limits = NamingLimits(found.probability, self.limits.margin, found.log_odds, usual)
        return replace(self, limits=limits, search=search)


def name_photos(
    root: Path,
    blocks: Sequence[PhotoBlock],
    rows: Callable[[int, int], np.ndarray],
    decided: DecidedFaces,
    verify: Verify,
    rule: NamingRule,
    timer: Timer,
) -> Iterator[NamedBlock]:
    """Yield the photos of `blocks`, below `root`, with their decisions.

    `rows` returns the embeddings, float32 (K, D), from one face of them to another.
    """
    below = len(root.as_posix().rstrip("/")) + 1
    start = 0
    for block in blocks:
        stop = start + len(block.faces)
        with timer.part("name"):
            photos = replace(block, embeddings=rows(start, stop))
            texts = [valid_unicode(path[below:]) for path in block.paths]
            verdicts = decided.verdicts(photos)
            decisions = name_faces(photos, decided.gallery, verify, rule, verdicts)
        yield NamedBlock(photos, texts, decisions, decided.people, decided.shown)
        start = stop


def name_faces(
    photos: PhotoBlock,
    gallery: Gallery,
    verify: Verify,
    rule: NamingRule,
    verdicts: Verdicts | None = None,
) -> FaceDecisions:
    """Return the decisions for the faces of all `photos`, which are searched in one batch.

    `verdicts`: what people decided about these faces.
    """
    verdicts = verdicts or Verdicts.none(len(photos.faces))
    refused = refusals(photos)
    refused[verdicts.ignored] = CODES[Reason.IGNORED]
    compared = refused < 0
    queries = photos.embeddings[compared]
    # Of compared faces and enrolled people, as rows of `queries` and places in the gallery.
    faces, people = verdicts.refused
    counts = compared[faces] & (people < len(gallery.people))
    excluded = np.stack([(np.cumsum(compared) - 1)[faces[counts]], people[counts]])
    if rule.search is not None:
        ranked = rule.search.rank(queries, excluded)
    else:
        ranked = rank_people(queries, gallery.embeddings, gallery.person_rows, verify, excluded)
    return decide(ranked, photos.photo_of_face, refused, rule.limits, verdicts)


def decide(
    ranked: Ranked,
    photo_of_face: np.ndarray,
    refused: np.ndarray,
    limits: NamingLimits,
    verdicts: Verdicts | None = None,
) -> FaceDecisions:
    """Return a decision for each of F faces.

    A confirmed face gets its person, without a name if the person has none. Of the others, a face
    with a refusal is rejected; else it gets the best person if the score reaches the threshold and
    exceeds the runner-up's by the margin. If two faces of a photo would get one name, the confirmed
    one or the one with the higher score (on a tie the earlier one) gets it; the other is
    `ambiguous`.

    Args:
        ranked: of the faces without a refusal, in order.
        photo_of_face: int (F,), equal for the faces of one photo.
        refused: int8 (F,), why a face is not compared, as a place in `REASONS`, or `NO_REASON`.
        verdicts: what people decided about the faces; people whom they exclude are not in `ranked`.
    """
    verdicts = verdicts or Verdicts.none(len(refused))
    faces = np.flatnonzero(refused < 0)
    best, runner_up = ranked.people.T
    reached = limits.reached(ranked.scores[:, 0]) & (best >= 0)
    leads = limits.leads(ranked.scores[:, 0], ranked.scores[:, 1])
    grouped = verdicts.confirmed[faces] == UNNAMED
    count = 1 + int(max(best.max(initial=0), verdicts.confirmed.max(initial=0)))
    name_in_photo = photo_of_face[faces] * count + best
    confirmed = np.flatnonzero(verdicts.confirmed >= 0)
    taken = photo_of_face[confirmed] * count + verdicts.confirmed[confirmed]
    rows = np.flatnonzero(reached & leads & ~grouped & ~np.isin(name_in_photo, taken))
    rows = rows[np.argsort(-ranked.scores[rows, 0], kind="stable")]
    _, firsts = np.unique(name_in_photo[rows], return_index=True)
    named = np.zeros(len(faces), bool)
    named[rows[firsts]] = True
    kind, reason = np.full(len(refused), reasons.REJECTED, np.int8), refused.astype(np.int8)
    kind[faces] = np.where(named, IDENTIFIED, reasons.UNKNOWN)
    unnamed = np.where(reached, CODES[Reason.AMBIGUOUS], CODES[Reason.BELOW_THRESHOLD])
    unnamed[best < 0] = CODES[Reason.GALLERY_EMPTY]
    has_refused = np.isin(faces, verdicts.refused[0])
    by_people = has_refused & ~reached | grouped & reached
    unnamed[by_people] = CODES[Reason.REFUSED_BY_PERSON]
    reason[faces] = np.where(named, NO_REASON, unnamed)
    columns = {
        "best": best,
        "runner_up": runner_up,
        "probability": ranked.probabilities[:, 0],
        "runner_up_probability": ranked.probabilities[:, 1],
        "distance": ranked.distances[:, 0],
        "stranger_share": ranked.stranger_share,
    }
    found = FaceDecisions.without_names(len(refused)).with_rows(faces, columns)
    return _with_confirmed(replace(found, kind=kind, reason=reason), verdicts.confirmed)


def _with_confirmed(found: FaceDecisions, confirmed: np.ndarray) -> FaceDecisions:
    """Give confirmed faces their person; the probability is NaN unless best or runner-up."""
    rows = np.flatnonzero(confirmed >= 0)
    was = replace(found, **{name: column[rows] for name, column in vars(found).items()})
    person = confirmed[rows]
    is_best = was.best == person
    second = np.where(was.runner_up == person, was.runner_up_probability, np.nan)
    columns = {
        "kind": np.full(len(rows), IDENTIFIED),
        "reason": np.full(len(rows), CODES[Reason.CONFIRMED]),
        "best": person,
        "runner_up": np.where(is_best, was.runner_up, was.best),
        "probability": np.where(is_best, was.probability, second),
        "runner_up_probability": np.where(is_best, was.runner_up_probability, was.probability),
        "distance": np.where(is_best, was.distance, np.nan),
        "stranger_share": np.where(is_best, was.stranger_share, np.nan),
    }
    return found.with_rows(rows, columns)
