"""The faces of the latest run with the decisions that the next run will make about them.

`decide_all` calls the same functions as `identify`, so the page shows the rows that the next run
will write. `decide_again` decides some photos only, by the naming rule of the whole album.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from faceops.base.errors import UsageError, printable
from faceops.base.reasons import CODES, IDENTIFIED, UNKNOWN, Reason
from faceops.base.work import Timer
from faceops.faces.detector import Box, best_overlap
from faceops.gallery.decisions import SAME_PLACE, Decisions
from faceops.gallery.store import Gallery
from faceops.identification.engine.decide import FaceDecisions, NamingRule, name_faces, name_photos
from faceops.identification.engine.ranking import AlbumSearch
from faceops.identification.engine.verdicts import NOBODY, DecidedFaces
from faceops.identification.records.output_folder import STATE_FILE
from faceops.identification.records.records import RunOrigin, table_of
from faceops.identification.report.report import NEAR_THE_LIMIT
from faceops.identification.run import naming_rule, new_summary
from faceops.identification.state.photo_block import PhotoBlock, joined
from faceops.identification.unknown.unknown_people import UNKNOWN_REASONS, find_unknown_people
from faceops.release.bundle import Bundle
from faceops.review.results import Results, common_rows

# `Chances`: numbers of faces.
MIN_FACES = 100  # with fewer there is no estimate
MAX_FACES = 4000  # of more, some are taken
_UPPER = 0.5  # faces with a larger share of strangers are taken for strangers
_PRIOR = 5.0  # slope without an estimate: a share of .01 is very likely, one of .1 possible
_LOWEST, _HIGHEST = 0.001, 0.999
WORDS = ("unlikely", "possible", "likely", "very likely", "almost certain")
SURE = WORDS[3:]
_WORD_LIMITS = (0.2, 0.5, 0.9, 0.99)


class Chances:
    """How likely it is that a face of an album shows the enrolled person who is most like it.

    The verifier's probability is about a pair, as if both answers were equally frequent. How likely
    the name is depends on the album: of a thousand strangers, a few reach a probability of .9 with
    somebody. For each face the share of strangers who score as high is known, `shares` float (N,),
    NaN for faces that were not compared; over strangers it is uniform from 0 to 1, for enrolled
    people it is near 0. The chance is 1 - local false discovery rate (Efron, 2004), with the
    Grenander estimator of a decreasing density (1956; as in Strimmer, 2008) and Storey's estimate
    (2002) of the share of strangers.
    """

    def __init__(self, shares: np.ndarray) -> None:
        known = np.sort(shares[np.isfinite(shares)])
        self._ends: np.ndarray | None = None
        if len(known) < MIN_FACES:
            return
        # One more than were counted: with no strangers at all, everybody would be certain.
        strangers = min(1.0, (np.count_nonzero(known > _UPPER) + 1) / len(known) / (1 - _UPPER))
        at = np.arange(1, len(known) + 1) / len(known)
        if len(known) > MAX_FACES:  # near 0 all of them count
            some = np.unique(np.geomspace(1, len(known), MAX_FACES).astype(int)) - 1
            known, at = known[some], at[some]
        ends, density = _decreasing_density(np.append(known, 1.0), np.append(at, 1.0))
        self._ends, self._chances = ends, 1 - strangers / np.maximum(density, strangers)

    def of(self, shares: np.ndarray) -> np.ndarray:
        """Return the chance, float (N,), of faces with these shares; NaN for NaN."""
        if self._ends is None:
            found = 1 - _PRIOR * shares
        else:
            at = np.searchsorted(self._ends, np.nan_to_num(shares, nan=1.0))
            found = self._chances[np.minimum(at, len(self._ends) - 1)]
        return np.where(np.isnan(shares), np.nan, np.clip(found, _LOWEST, _HIGHEST))


def in_words(chance: float) -> str:
    """Return a chance, 0 to 1, in words."""
    return WORDS[int(np.searchsorted(_WORD_LIMITS, chance, side="right"))]


_Point = tuple[float, float]


def _decreasing_density(values: np.ndarray, cumulated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the end and the slope of each piece of a distribution's least concave majorant."""

    def is_below(one: _Point, middle: _Point, other: _Point) -> bool:
        (x, y), (u, v), (s, t) = one, middle, other
        return (v - y) * (s - x) <= (t - y) * (u - x)

    hull = [(0.0, 0.0)]
    for x, y in zip(values.tolist(), cumulated.tolist(), strict=True):
        while len(hull) > 1 and is_below(hull[-2], hull[-1], (x, y)):
            hull.pop()
        if x > hull[-1][0]:
            hull.append((x, y))
        else:  # equal values: the last one counts
            hull[-1] = x, max(y, hull[-1][1])
    xs, ys = np.array(hull).T
    return xs[1:], np.diff(ys) / np.diff(xs)


_UNKNOWN = [CODES[reason] for reason in UNKNOWN_REASONS]
_CONFIRMED = CODES[Reason.CONFIRMED]


@dataclass(frozen=True, eq=False)
class DecidedAlbum:
    """P photos and their F faces with a decision each; immutable."""

    photos: PhotoBlock  # with drawn faces and embeddings
    texts: list[str]  # the path of each photo below the photos' folder
    faces: FaceDecisions  # the decisions
    # people, shown: see `DecidedFaces`; `faces` holds indices of them
    people: list[str]
    shown: list[str]
    unknown: np.ndarray  # int64 (F,), the number of each face's unknown person, 0 for none
    # gallery, rule, budget: by which the faces were decided
    gallery: Gallery
    rule: NamingRule
    budget: float
    # The records that the next run will write, without its run_id; None before the whole album was
    # decided once
    rows: pa.Table | None = None

    @cached_property
    def photo(self) -> np.ndarray:
        """int64 (F,), the photo of each face."""
        return self.photos.photo_of_face

    @cached_property
    def is_shown(self) -> np.ndarray:
        """bool (F,): not forgotten, and in the first of the files with the same bytes."""
        first = np.zeros(len(self.photos), bool)
        first[list(self.photo_places.values())] = True
        return np.logical_and(first[self.photo], ~self.photos.faces["forgotten"])

    @cached_property
    def is_confirmed(self) -> np.ndarray:
        """bool (F,): a person said whom the face shows."""
        confirmed: np.ndarray = self.faces.reason == _CONFIRMED
        return confirmed

    @cached_property
    def is_unknown(self) -> np.ndarray:
        """bool (F,): the face is shown, without a name, as that of somebody unknown."""
        return self.is_shown & np.isin(self.faces.reason, _UNKNOWN)

    @cached_property
    def is_named(self) -> np.ndarray:
        """bool (F,): the face is shown with the name of its best person."""
        return self.is_shown & (self.faces.kind == IDENTIFIED) & (self.faces.best >= 0)

    @cached_property
    def is_near_limit(self) -> np.ndarray:
        """bool (F,): named by a score so near the threshold that the face should be checked."""
        is_near = self.faces.stranger_share >= NEAR_THE_LIMIT * self.budget
        return self.is_named & ~self.is_confirmed & is_near

    @cached_property
    def chances(self) -> Chances:
        """How likely each face's best person is, estimated from the faces without a decision."""
        return Chances(self.faces.stranger_share[self.is_shown & ~self.is_confirmed])

    @cached_property
    def places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.people)}

    def key(self, face: int) -> str:
        """Return the key of a face: photo_id and place in the photo."""
        photo = int(self.photo[face])
        return f"{self.photos.photo_ids[photo]}.{face - int(self.photos.starts[photo])}"

    def row(self, key: str) -> int:
        """Return the row of a face. Raises UsageError: the album has no such face."""
        photo_id, _, index = key.partition(".")
        photo = self.photo_places.get(photo_id)
        if photo is not None and index.isascii() and index.isdecimal():
            rows = self.photos.rows_of(photo)
            if (row := rows.start + int(index)) < rows.stop:
                return row
        raise UsageError(f"there is no face {printable(key)} in this album; load the page again.")

    def photo_at(self, photo_id: str) -> int:
        """Return the place of a photo. Raises UsageError: the album has no such photo."""
        if (place := self.photo_places.get(photo_id)) is None:
            raise UsageError("there is no such photo in this album; load the page again.")
        return place

    def row_at(self, photo_id: str, box: Box) -> int | None:
        """Return the row of the face at a place, None if there is none."""
        photo = self.photo_places.get(photo_id)
        if photo is None:
            return None
        rows = self.photos.rows_of(photo)
        row = best_overlap(box, self.photos.faces["box"][rows].tolist(), SAME_PLACE)
        return None if row is None else rows.start + row

    @cached_property
    def photo_places(self) -> dict[str, int]:
        """The first photo with these bytes, by photo_id."""
        places: dict[str, int] = {}
        for place, photo_id in enumerate(self.photos.photo_ids):
            if photo_id is not None:
                places.setdefault(photo_id, place)
        return places

    def with_people(self, decided: DecidedFaces) -> "DecidedAlbum":
        """Return the album with the people of `decided`; others are replaced by nobody."""
        people, shown = list(decided.people), list(decided.shown)
        if people == self.people:
            return replace(self, shown=shown)
        places = {name: place for place, name in enumerate(people)}
        faces = self._moved([places.get(name, NOBODY) for name in self.people])
        return replace(self, people=people, shown=shown, faces=faces)

    def _moved(self, to: list[int]) -> FaceDecisions:
        """Return the decisions with another place for each of the people."""
        places = np.array([*to, NOBODY], np.int32)
        moved = {name: places[getattr(self.faces, name)] for name in ("best", "runner_up")}
        return replace(self.faces, **moved)

    def renamed(self, old: str, new: str) -> "DecidedAlbum":
        """Return the album with the faces of `old` named `new`, who may exist already."""
        if old not in self.places:
            return self
        people, shown = list(self.people), list(self.shown)
        at, faces = self.places[old], self.faces
        if new in self.places:
            faces = self._moved([*range(at), self.places[new], *range(at + 1, len(people))])
        else:
            people[at] = new
        shown[at] = people[at]
        return replace(self, people=people, shown=shown, faces=faces)

    def with_drawn(self, results: Results, decided: DecidedFaces) -> "DecidedAlbum":
        """Return the album with the faces that are drawn by hand according to `decided`."""
        photos = joined([decided.with_drawn(block) for block in results.blocks])
        source, target = common_rows(self.photos.starts, photos.starts)
        known = {name: column[source] for name, column in vars(self.faces).items()}
        faces = FaceDecisions.without_names(len(photos.faces)).with_rows(target, known)
        unknown = np.zeros(len(photos.faces), np.int64)
        unknown[target] = self.unknown[source]
        return replace(self, photos=photos, faces=faces, unknown=unknown)


def as_recorded(results: Results, bundle: Bundle, decided: DecidedFaces) -> DecidedAlbum:
    """Return the album as the latest run decided it.

    Its naming rule is not measured on the album, which would take seconds. It only gives the best
    person of faces without a name, which the records do not have.
    """
    gallery = decided.gallery
    photos = joined([decided.with_drawn(block) for block in results.blocks])
    faces, unknown = results.recorded(photos, decided.people)
    thresholds = bundle.release.thresholds
    budget = results.run.summary.budget
    rule = NamingRule.for_gallery(thresholds, gallery, budget)
    if thresholds.normalisation is not None and gallery.faces:
        search = AlbumSearch.of_no_album(thresholds.normalisation, gallery)
        limit = search.threshold(thresholds, budget)
        rule = rule.in_album(search, limit, thresholds.default_budget)
    nameless = np.flatnonzero((faces.kind == UNKNOWN) & (faces.reason >= 0))
    found = name_faces(photos, gallery, bundle.verify, rule)
    faces = faces.with_rows(nameless, {"best": found.best[nameless]})
    people, shown, texts = list(decided.people), list(decided.shown), results.texts
    return DecidedAlbum(photos, texts, faces, people, shown, unknown, gallery, rule, budget)


def decide_all(
    results: Results, bundle: Bundle, gallery: Gallery, decisions: Decisions
) -> DecidedAlbum:
    """Return the album as the next run will decide it with `gallery` and `decisions`."""
    run, release, timer = results.run, bundle.release, Timer()
    decided = DecidedFaces(decisions, gallery)
    blocks = [decided.with_drawn(block) for block in results.blocks]
    photos = joined(blocks)
    matrix = photos.embeddings
    summary = new_summary(run.photos, gallery, bundle, run.settings())
    rule = naming_rule(blocks, matrix, gallery, release.thresholds, summary)

    def rows_of(start: int, stop: int) -> np.ndarray:
        return matrix[start:stop]

    named = list(name_photos(run.root, blocks, rows_of, decided, bundle.verify, rule, timer))
    origin = RunOrigin(run.summary.run_id, bundle.name, release.contract_id)
    rows = pa.concat_tables([table_of(origin, block) for block in named])
    groups = find_unknown_people(
        rows, matrix, bundle, results.out / STATE_FILE, decisions, keeps=False
    )
    faces = FaceDecisions(**{
        name: np.concatenate([getattr(block.decisions, name) for block in named])
        for name in FaceDecisions.__dataclass_fields__
    })  # fmt: skip
    unknown = np.zeros(len(faces.kind), np.int64)
    members = np.flatnonzero(np.isin(faces.reason, _UNKNOWN))
    for person in groups.people:
        unknown[members[person.rows]] = person.number
    return DecidedAlbum(
        photos,
        results.texts,
        faces,
        list(decided.people),
        list(decided.shown),
        unknown,
        gallery,
        rule,
        run.summary.budget,
        rows,
    )


def decide_again(
    album: DecidedAlbum,
    results: Results,
    bundle: Bundle,
    decided: DecidedFaces,
    photo_ids: Collection[str],
) -> DecidedAlbum:
    """Return the album with the faces of these photos decided again.

    `decided` are the current decisions for the album's gallery; `album` must have its people.
    """
    photos = np.array(
        sorted(place for one in photo_ids for place in results.photos_of.get(one, ())), np.int64
    )
    if not len(photos):
        return album
    some, rows = album.photos.take(photos), album.photos.rows_of_all(photos)
    verdicts = decided.verdicts(some)
    found = name_faces(some, album.gallery, bundle.verify, album.rule, verdicts)
    unknown = album.unknown.copy()
    unknown[rows[~np.isin(found.reason, _UNKNOWN)]] = 0
    return replace(album, faces=album.faces.with_rows(rows, vars(found)), unknown=unknown)
