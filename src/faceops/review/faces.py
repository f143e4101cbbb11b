"""Faces as the page shows them: the people whom each may show, and why it has its name."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from faceops.base.nearest import nearest
from faceops.base.reasons import IDENTIFIED, REASONS, Reason
from faceops.gallery.decisions import Decisions, Place
from faceops.identification.engine.verdicts import NOBODY, DecidedFaces
from faceops.identification.unknown.unknown_people import unknown_name
from faceops.release.bundle import Bundle
from faceops.review.decided import DecidedAlbum, in_words
from faceops.verification.verifier import sigmoid

CANDIDATES = 9  # one for each digit key
NEAREST = 6  # enrolled faces that are shown
_COMPARED = 200  # nearest gallery faces of a release without normalised scores

FaceKey = str  # "<photo_id>.<place in the photo>", the same as long as an album is open


@dataclass(frozen=True)
class Candidate:
    person: str  # the name in the gallery, which is unique
    shown: str  # the name to show
    probability: float  # 0 to 1, by the verifier, for even prior odds
    chance: float  # 0 to 1, that the face shows the person, in this album; see `Chances`
    words: str  # the chance in words
    refused: bool  # a user decided that the face does not show the person


@dataclass(frozen=True)
class ReviewedFace:
    key: FaceKey  # see `FaceKey`
    photo_id: str
    photo_path: str  # below the photos' folder, as text
    box: tuple[float, float, float, float]  # x, y, width, height in pixels of the upright photo
    reason: str  # as in the records
    person: str  # the name that is shown, "" for none
    candidates: list[Candidate]  # up to nine, the likeliest first
    unknown: str  # such as "unknown-007", "" if it belongs to no unknown person
    odd: bool  # it should be checked, see `DecidedAlbum.is_near_limit`
    note: str = ""  # a hint from the context of the face, a sentence or ""


@dataclass(frozen=True)
class NearEnrolled:
    crop_id: str  # of its picture
    photo: str  # path of its photo below the folder that it was enrolled from
    probability: float  # 0 to 1, that both faces are one person


@dataclass(frozen=True)
class Why:
    """Why a face has its name, or is most like a person."""

    # person, shown: name in the gallery and name to show, "" if the face is like nobody
    person: str = ""
    shown: str = ""
    # Who confirmed the face ("somebody" if not stated), "" if its score decided
    decided_by: str = ""
    # chance, words: that the face shows the person, see `Candidate`
    chance: float = 0.0
    words: str = ""
    # The person's enrolled faces nearest to the face, the nearest first, without itself
    nearest: list[NearEnrolled] = field(default_factory=list)
    runner_up: Candidate | None = None  # the next person, None if nobody else is enrolled
    # All of that in words, and who would have the highest score if the first of `nearest` were not
    # enrolled
    sentence: str = ""


def percent(share: float) -> str:
    """Return a probability as a whole percentage, never 100."""
    return f"{min(99, int(share * 100))}\N{NO-BREAK SPACE}%"


def face_json(face: ReviewedFace, person: str = "") -> dict[str, Any]:
    """Return a face for the script; `person`: whom the page asks about, "" for nobody."""
    named = next((one for one in face.candidates if one.shown == face.person), None)
    about = next((one for one in face.candidates if one.person == person), named)
    settled = face.reason == Reason.CONFIRMED
    if settled:
        words = "confirmed"
    elif about:
        words = f"{about.words}, {percent(about.chance)}"
    elif face.reason and face.reason != Reason.BELOW_THRESHOLD:
        words = face.reason.replace("_", " ")
    else:
        words = face.unknown or "not known"
    return {
        "key": face.key,
        "photo": face.photo_id,
        "path": face.photo_path,
        "picture": f"/picture/face/{face.key}",
        "box": face.box,
        "words": words,
        "person": named.person if named else face.person,
        "shown": face.person,
        "unknown": face.unknown,
        "settled": settled,
        "odd": face.odd,
        "note": face.note,
        "candidates": [vars(candidate) for candidate in face.candidates],
    }


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
    album: DecidedAlbum, bundle: Bundle, rows: np.ndarray, refused: Sequence[Collection[str]]
) -> list[ReviewedFace]:
    """Return the faces `rows`, int64 (N,); `refused`: see `refused_people`."""
    photos, faces = album.photos, album.faces
    candidates = _candidates(album, bundle, rows, refused)
    found = []
    for row, own in zip(rows.tolist(), candidates, strict=True):
        photo, number = int(album.photo[row]), int(album.unknown[row])
        x, y, width, height = photos.faces["box"][row].tolist()
        person = int(faces.best[row]) if faces.kind[row] == IDENTIFIED else NOBODY
        reason = int(faces.reason[row])
        found.append(
            ReviewedFace(
                key=album.key(row),
                photo_id=photos.photo_ids[photo] or "",
                photo_path=album.texts[photo],
                box=(x, y, width, height),
                reason="" if reason < 0 else str(REASONS[reason]),
                person="" if person < 0 else album.shown[person],
                candidates=own,
                unknown=unknown_name(number) if number else "",
                odd=bool(album.is_near_limit[row]),
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
    is_refused = np.zeros((len(rows), len(people)), bool)
    for face, gone in enumerate(refused):
        if gone:
            is_refused[face] = [name in gone for name in people]
    counted = np.where(is_refused, 0, probabilities), np.where(is_refused, 1, shares)
    chances = _chances(album, *counted)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :CANDIDATES]
    shown = dict(zip(album.people, album.shown, strict=True))
    found = []
    for face, best in enumerate(order.tolist()):
        found.append([
            Candidate(
                people[person],
                shown.get(people[person], people[person]),
                round(float(probabilities[face, person]), 6),
                round(chance := float(chances[face, person]), 6),
                in_words(chance),
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


def why(
    album: DecidedAlbum, bundle: Bundle, row: int, candidates: list[Candidate], decided_by: str
) -> Why:
    """Return why the face `row` has its name; `decided_by`: see `Why`.

    `candidates` are the people whom it may show, the likeliest first.
    """
    faces, gallery = album.faces, album.gallery
    best = int(faces.best[row])
    if best < 0:
        return Why(decided_by=decided_by, sentence="The face is not compared with anybody.")
    person, shown = album.people[best], album.shown[best]
    own = next((one for one in candidates if one.person == person), None)
    others = [one for one in candidates if one.person != person]
    runner_up = others[0] if others else None
    chance, words = (own.chance, own.words) if own else (0.0, "unlikely")
    result = f"{words} {shown}" if not decided_by else f"{shown}, as {decided_by} confirmed"
    parts = [f"{result[:1].upper()}{result[1:]}."]
    if runner_up is not None:
        parts.append(f"The next is {runner_up.shown} ({runner_up.words}).")
    near, without = list[NearEnrolled](), ""
    if best < len(gallery.people):
        near, without = _nearest_enrolled(album, bundle, row, best)
    if near:
        then = f"{shown} all the same" if without == shown else f"most like {without or 'nobody'}"
        parts.append(f"Without the nearest enrolled face it would be {then}.")
    return Why(person, shown, decided_by, chance, words, near, runner_up, " ".join(parts))


def _nearest_enrolled(
    album: DecidedAlbum, bundle: Bundle, row: int, person: int
) -> tuple[list[NearEnrolled], str]:
    """Return a person's enrolled faces that are nearest to a face, without those of its photo.

    Also the shown name of the best person if the first of them were not enrolled, "" for nobody.
    """
    gallery = album.gallery
    own = np.flatnonzero(gallery.person_rows == person)
    photo_id = album.photos.photo_ids[int(album.photo[row])]
    others = own[[gallery.faces[at].photo_id != photo_id for at in own.tolist()]]
    if not len(others):
        return [], ""
    pairs = _probabilities(album, bundle, row, gallery.embeddings[others])
    order = np.argsort(-pairs, kind="stable")[:NEAREST]
    faces = zip(gallery.faces.take(others[order]), pairs[order].tolist(), strict=True)
    near = [NearEnrolled(face.crop_id, face.photo, round(pair, 6)) for face, pair in faces]
    scores = scores_of(album, bundle, album.photos.embeddings[[row]])[0][0].copy()
    scores[person] = -1.0
    rest = gallery.embeddings[own[own != others[order[0]]]]
    if len(rest):
        if (search := album.rule.search) is not None:
            rest = search.album.cohort.normalisation.templates(rest, np.zeros(len(rest), int))
        scores[person] = _probabilities(album, bundle, row, rest).max()
    best = int(scores.argmax())
    return near, album.shown[best] if scores[best] > 0 else ""


def _probabilities(album: DecidedAlbum, bundle: Bundle, row: int, others: np.ndarray) -> np.ndarray:
    """Return the probability (N,) of a face with each of the embeddings `others` (N, D)."""
    face, search = album.photos.embeddings[[row]], album.rule.search
    if search is None:
        return bundle.verify(np.repeat(face, len(others), axis=0), others)
    cohort = search.album.cohort
    return sigmoid(cohort.verifier.logit_matrix(cohort.describe(face), cohort.describe(others))[0])
