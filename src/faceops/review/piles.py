"""What the page lists: piles of faces to confirm, people, and groups of unknown people.

All functions take one decided album, and return rows of its faces or cards about people.
"""

from dataclasses import dataclass

import numpy as np

from faceops.base.reasons import IDENTIFIED, UNKNOWN, Reason, reason_code
from faceops.gallery.decisions import Decisions
from faceops.identification.engine.verdicts import NOBODY
from faceops.identification.unknown.unknown_people import unknown_name
from faceops.release.bundle import Bundle
from faceops.review.context import Links, is_named_beside
from faceops.review.decided import DecidedAlbum
from faceops.review.faces import FaceKey, chances_of, near_limit, refused_people

# Least chance with which an unnamed face is in the pile of its best person; without normalised
# scores, least probability.
PLAUSIBLE_CHANCE, PLAUSIBLE = 0.2, 0.5
PERHAPS_CHANCE = 0.5  # least chance with which a name is suggested for a group
_AMBIGUOUS = reason_code(Reason.AMBIGUOUS)


@dataclass(frozen=True)
class Pile:
    """Faces to confirm as one person.

    Attributes:
        person, shown: name in the gallery and name to show.
        faces: number of faces.
        keys: of the first faces, for pictures.
    """

    person: str
    shown: str
    faces: int
    keys: list[FaceKey]


@dataclass(frozen=True)
class PersonCard:
    """A person who is enrolled or named.

    Attributes:
        key: of the album's face that is the person's picture, "" if there is none.
        crop_id: without `key`, of the enrolled face that is the picture, "" if there is none.
        photos: number of photos in which the person is named.
        enrolled: number of faces in the gallery.
        odd: number of named faces to check, see `near_limit`.
    """

    person: str
    shown: str
    key: FaceKey
    crop_id: str
    photos: int
    enrolled: int
    odd: int


@dataclass(frozen=True)
class Group:
    """An unknown person.

    Attributes:
        name: such as "unknown-007".
        photos, faces: numbers of photos and faces.
        keys: of the best faces, for pictures.
        perhaps, shown: name in the gallery and name to show of the suggested person, "" for none:
            the best person of at least half of the faces, else the person to whom the group is
            linked, see `Links`.
        chance: median chance of the faces to show that person, 0 to 1, see `Chances`; 0 for a
            person to whom they are only linked.
        note: a sentence about the links, "" without links.
    """

    name: str
    photos: int
    faces: int
    keys: list[FaceKey]
    perhaps: str = ""
    shown: str = ""
    chance: float = 0.0
    note: str = ""


def to_confirm(album: DecidedAlbum, budget: float) -> np.ndarray:
    """Return the rows of faces that are in a pile, the likeliest first, int64 (N,).

    Faces whose person is named on another face of the same photo come last.
    """
    faces = album.faces
    nameless = (faces.kind == UNKNOWN) & (faces.best >= 0)
    asked = nameless & (is_plausible(album) | (faces.reason == _AMBIGUOUS))
    rows = np.flatnonzero((asked | near_limit(album, budget)) & album.is_shown)
    share, probability = faces.stranger_share[rows], np.nan_to_num(faces.probability[rows])
    beside = is_named_beside(album)[rows]
    return rows[np.lexsort((rows, -probability, np.nan_to_num(share), beside))]


def is_plausible(album: DecidedAlbum) -> np.ndarray:
    """Return which faces may show their best person, bool (F,); see `PLAUSIBLE_CHANCE`."""
    chances = album.chances.of(album.faces.stranger_share)
    plausible: np.ndarray = np.where(
        np.isnan(chances), album.faces.probability >= PLAUSIBLE, chances >= PLAUSIBLE_CHANCE
    )
    return plausible


def pile_rows(album: DecidedAlbum, budget: float, person: str) -> np.ndarray:
    """Return the rows of a person's pile, the likeliest first, int64 (N,)."""
    rows = to_confirm(album, budget)
    return rows[album.faces.best[rows] == album.places.get(person, NOBODY - 1)]


def piles(album: DecidedAlbum, budget: float, pictures: int = 4) -> list[Pile]:
    """Return the piles, by the expected number of faces that show the person, descending."""
    rows = to_confirm(album, budget)
    chances = np.nan_to_num(album.chances.of(album.faces.stranger_share), nan=1.0)
    best = album.faces.best[rows]
    found = []
    for person, own in _by_value(best, rows):
        keys = [album.key(row) for row in own[:pictures].tolist()]
        pile = Pile(album.people[person], album.shown[person], len(own), keys)
        found.append((-float(chances[own].sum()), pile.shown, pile))
    return [pile for *_, pile in sorted(found, key=lambda one: one[:2])]


def person_rows(album: DecidedAlbum, person: str) -> np.ndarray:
    """Return the rows of faces named as a person, the least probable first, int64 (N,)."""
    faces, place = album.faces, album.places.get(person, NOBODY - 1)
    named = (faces.kind == IDENTIFIED) & (faces.best == place) & album.is_shown
    rows = np.flatnonzero(named)
    sure = np.where(album.is_confirmed[rows], np.inf, np.nan_to_num(faces.probability[rows]))
    share = np.nan_to_num(faces.stranger_share[rows])
    return rows[np.lexsort((rows, -share, sure))]


def people_cards(album: DecidedAlbum, decisions: Decisions, budget: float) -> list[PersonCard]:
    """Return the people, sorted by the shown name."""
    faces, gallery = album.faces, album.gallery
    named = np.flatnonzero((faces.kind == IDENTIFIED) & album.is_shown)
    odd = near_limit(album, budget)
    of_person = dict(_by_value(faces.best[named], named))
    enrolled = np.bincount(gallery.person_rows, minlength=len(album.people))
    best_crop: dict[str, tuple[float, str]] = {}
    for face in gallery.faces:
        if face.quality > best_crop.get(face.person, (-1.0, ""))[0]:
            best_crop[face.person] = face.quality, face.crop_id
    quality = album.photos.faces["quality"]
    cards = []
    for place, person in enumerate(album.people):
        rows = of_person.get(place, np.zeros(0, np.int64))
        if not len(rows) and not enrolled[place]:
            continue
        row = _chosen(album, decisions, person, rows)
        if row is None and len(rows) and not best_crop.get(person, (0, ""))[1]:
            row = int(rows[np.argmax(quality[rows])])
        cards.append(
            PersonCard(
                person,
                album.shown[place],
                "" if row is None else album.key(row),
                "" if row is not None else best_crop.get(person, (0, ""))[1],
                len(np.unique(album.photo[rows])),
                int(enrolled[place]),
                int(odd[rows].sum()),
            )
        )
    return sorted(cards, key=lambda card: (card.shown.casefold(), card.person))


def _chosen(album: DecidedAlbum, decisions: Decisions, person: str, rows: np.ndarray) -> int | None:
    place = decisions.picture(person)
    row = None if place is None else album.row_at(*place)
    return row if row in rows else None


def groups(
    album: DecidedAlbum, bundle: Bundle, decisions: Decisions, pictures: int = 6
) -> list[Group]:
    """Return the unknown people, the one with most faces first."""
    rows = np.flatnonzero((album.unknown > 0) & album.is_unknown & album.is_shown)
    if not len(rows):
        return []
    quality, links = album.photos.faces["quality"], Links(album, bundle)
    refused = dict(zip(rows.tolist(), refused_people(album, decisions, rows), strict=True))
    result = []
    for number, own in _by_value(album.unknown[rows], rows):
        person, shown, chance = _perhaps(album, bundle, own)
        link, note = links.of(own, [refused[row] for row in own.tolist()]), ""
        if link and person in ("", album.people[link.person]):
            person, shown = album.people[link.person], album.shown[link.person]
            note = link.note(shown)
        best_first = own[np.argsort(-quality[own], kind="stable")][:pictures]
        keys = [album.key(row) for row in best_first.tolist()]
        count = len(np.unique(album.photo[own]))
        name = unknown_name(number)
        result.append(Group(name, count, len(own), keys, person, shown, chance, note))
    return sorted(result, key=lambda group: (-group.faces, group.name))


def _perhaps(album: DecidedAlbum, bundle: Bundle, rows: np.ndarray) -> tuple[str, str, float]:
    """Return `Group.perhaps`, `shown` and `chance` for a group's faces."""
    nobody, best = ("", "", 0.0), album.faces.best[rows]
    place = int(np.bincount(best[best >= 0], minlength=1).argmax())
    is_best = best == place
    enrolled = album.gallery.people
    # A person who is not the most probable one of a face has a chance of one half at most.
    if 2 * is_best.sum() < len(rows) or place >= len(enrolled):
        return nobody
    share, probability = album.faces.stranger_share[rows], album.faces.probability[rows]
    known = album.chances.of(share)
    most = np.where(is_best, np.where(np.isnan(known), probability, known), 0)
    if np.median(most) < PERHAPS_CHANCE:  # an upper bound, which is fast to compute
        return nobody
    own = chances_of(album, bundle, album.photos.embeddings[rows])[:, place]
    chance = float(np.median(np.where(is_best, own, 0)))
    name = album.people[place]
    return (name, album.shown[place], round(chance, 6)) if chance >= PERHAPS_CHANCE else nobody


def group_rows(album: DecidedAlbum, number: int) -> np.ndarray:
    """Return the rows of an unknown person's faces, the best first, int64 (N,)."""
    rows = np.flatnonzero((album.unknown == number) & album.is_unknown & album.is_shown)
    return rows[np.argsort(-album.photos.faces["quality"][rows], kind="stable")]


def _by_value(values: np.ndarray, rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return each value with its rows in order, values ascending."""
    order = np.argsort(values, kind="stable")
    sorted_values = values[order]
    starts = np.flatnonzero(np.diff(sorted_values, prepend=sorted_values[:1] - 1))
    parts = np.split(rows[order], starts[1:])
    return list(zip(sorted_values[starts].tolist(), parts, strict=False))
