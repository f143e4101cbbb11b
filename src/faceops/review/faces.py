"""Faces as the page shows them, each with the people whom it may show."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from faceops.base.nearest import nearest
from faceops.base.reasons import IDENTIFIED, KINDS, REASONS
from faceops.gallery.decisions import Decisions, Place
from faceops.identification.engine.verdicts import NOBODY, DecidedFaces
from faceops.identification.report.report import NEAR_THE_LIMIT
from faceops.identification.unknown.unknown_people import unknown_name
from faceops.release.bundle import Bundle
from faceops.review.decided import DecidedAlbum, in_words
from faceops.verification.verifier import sigmoid

CANDIDATES = 9  # one for each digit key
_COMPARED = 200  # nearest gallery faces of a release without normalised scores

FaceKey = str  # "<photo_id>.<place in the photo>", the same as long as an album is open


@dataclass(frozen=True)
class Candidate:
    """A person whom a face may show.

    Attributes:
        person: the name in the gallery, which is unique.
        shown: the name to show.
        probability: 0 to 1, by the verifier, for even prior odds.
        chance: 0 to 1, that the face shows the person, in this album; see `Chances`.
        words: the chance in words.
        refused: a user decided that the face does not show the person.
    """

    person: str
    shown: str
    probability: float
    chance: float
    words: str
    refused: bool


@dataclass(frozen=True)
class ReviewedFace:
    """A face.

    Attributes:
        key: see `FaceKey`.
        photo_path: below the photos' folder, as text.
        box: x, y, width, height in pixels of the upright photo.
        size: width and height of the upright photo, pixels.
        quality: 0 to 1; 0 for a box drawn by hand.
        decision, reason: as in the records.
        person: the name that is shown, "" for none.
        candidates: up to nine, the likeliest first.
        unknown: such as "unknown-007", "" if it belongs to no unknown person.
        sure: probability of its person, or of its first candidate, 0 to 1; 1 if it was confirmed.
        odd: it should be checked, see `near_limit`.
        note: a hint from the context of the face, a sentence or "".
    """

    key: FaceKey
    photo_id: str
    photo_path: str
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    quality: float
    decision: str
    reason: str
    person: str
    candidates: list[Candidate]
    unknown: str
    sure: float
    odd: bool
    note: str = ""


def near_limit(album: DecidedAlbum, budget: float) -> np.ndarray:
    """Return which faces are named so near the threshold that they should be checked, bool (F,)."""
    named = (album.faces.kind == IDENTIFIED) & ~album.is_confirmed
    near: np.ndarray = named & (album.faces.stranger_share >= NEAR_THE_LIMIT * budget)
    return near


def scores_of(
    album: DecidedAlbum, bundle: Bundle, embeddings: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return probability and stranger share (NaN if unknown) of Q faces and P people, (Q, P).

    Faces are named by these scores; 0 for a person who is not near enough to be compared.
    """
    people = len(album.gallery.people)
    search = album.rule.search
    if search is not None:
        odds = search.scores(embeddings)
        return sigmoid(odds), search.album.strangers_named(odds, search.enrolled)
    found = np.zeros((len(embeddings), people), np.float32)
    gallery = album.gallery.embeddings
    if len(gallery) and len(embeddings):
        rows, _ = nearest(embeddings, gallery, min(_COMPARED, len(gallery)))
        queries = np.repeat(np.arange(len(rows)), rows.shape[1])
        pairs = bundle.verify(embeddings[queries], gallery[rows.ravel()])
        np.maximum.at(found, (queries, album.gallery.person_rows[rows.ravel()]), pairs)
    return found, np.full(found.shape, np.nan)


def places_of(album: DecidedAlbum, decisions: Decisions, rows: Iterable[int]) -> list[Place | None]:
    """Return what people decided about each of these faces."""
    known = decisions.photos()
    by_photo: dict[int, list[Place | None]] = {}
    found: list[Place | None] = []
    for row in rows:
        photo = int(album.photo[row])
        photo_id = album.photos.photo_ids[photo] or ""
        if photo_id not in known:
            found.append(None)
            continue
        own = album.photos.rows_of(photo)
        if photo not in by_photo:
            boxes = album.photos.faces["box"][own].tolist()
            by_photo[photo] = decisions.match(photo_id, boxes)
        found.append(by_photo[photo][row - own.start])
    return found


def refused_people(album: DecidedAlbum, decisions: Decisions, rows: np.ndarray) -> list[set[str]]:
    """Return for each of these faces the names of the people whom it does not show by decision."""
    places = places_of(album, decisions, rows.tolist())
    if not any(place and place.refused for place in places):
        return [set() for _ in places]
    decided = DecidedFaces(decisions, album.gallery)  # a rename may not be followed yet
    return [set(map(decided.name_of, place.refused)) if place else set() for place in places]


def reviewed_faces(
    album: DecidedAlbum,
    bundle: Bundle,
    rows: np.ndarray,
    refused: Sequence[Collection[str]],
    budget: float,
) -> list[ReviewedFace]:
    """Return the faces `rows`, int64 (N,); `refused`: see `refused_people`."""
    photos, faces = album.photos, album.faces
    odd = near_limit(album, budget)
    candidates = _candidates(album, bundle, rows, refused)
    found = []
    for row, own in zip(rows.tolist(), candidates, strict=True):
        photo = int(album.photo[row])
        width, height = photos.sizes[photo].tolist()
        x, y, w, h = photos.faces["box"][row].tolist()
        person = int(faces.best[row]) if faces.kind[row] == IDENTIFIED else NOBODY
        reason, probability = int(faces.reason[row]), float(np.nan_to_num(faces.probability[row]))
        number = int(album.unknown[row])
        found.append(
            ReviewedFace(
                key=album.key(row),
                photo_id=photos.photo_ids[photo] or "",
                photo_path=album.texts[photo],
                box=(x, y, w, h),
                size=(width, height),
                quality=round(float(photos.faces["quality"][row]), 4),
                decision=str(KINDS[faces.kind[row]]),
                reason="" if reason < 0 else str(REASONS[reason]),
                person="" if person < 0 else album.shown[person],
                candidates=own,
                unknown=unknown_name(number) if number else "",
                sure=1.0 if album.is_confirmed[row] else probability,
                odd=bool(odd[row]),
            )
        )
    return found


def _candidates(
    album: DecidedAlbum, bundle: Bundle, rows: np.ndarray, refused: Sequence[Collection[str]]
) -> list[list[Candidate]]:
    people = album.gallery.people
    embeddings = album.photos.embeddings[rows]
    if not people or not len(rows):
        return [[] for _ in rows]
    probabilities, shares = scores_of(album, bundle, embeddings)
    most = min(CANDIDATES, len(people))
    is_refused = np.zeros((len(rows), len(people)), bool)
    for face, gone in enumerate(refused):
        if gone:
            is_refused[face] = [name in gone for name in people]
    counted = np.where(is_refused, 0, probabilities), np.where(is_refused, 1, shares)
    chances = _chances(album, *counted)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :most]
    shown = dict(zip(album.people, album.shown, strict=True))
    found = []
    for face, best in enumerate(order.tolist()):
        found.append([
            Candidate(
                people[person],
                shown.get(people[person], people[person]),
                round(float(probabilities[face, person]), 6),
                round(float(chances[face, person]), 6),
                in_words(float(chances[face, person])),
                bool(is_refused[face, person]),
            )
            for person in (best if embeddings[face].any() else ())
            if probabilities[face, person] > 0
        ])  # fmt: skip
    return found


def chances_of(album: DecidedAlbum, bundle: Bundle, embeddings: np.ndarray) -> np.ndarray:
    """Return the chance of Q faces to show each of P enrolled people, (Q, P); see `Candidate`."""
    return _chances(album, *scores_of(album, bundle, embeddings))


def _chances(album: DecidedAlbum, probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the chance of each face and person, (Q, P): that of the face, split by the odds."""
    best = album.chances.of(shares.min(axis=1))
    odds = probabilities / np.maximum(1 - probabilities, 1e-7)
    part = odds / np.maximum(odds.sum(axis=1, keepdims=True), 1e-9)
    return np.where(np.isnan(best)[:, None], probabilities, best[:, None] * part)
