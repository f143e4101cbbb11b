"""What the page lists: piles of faces to confirm, people, and groups of unknown people.

Hints come from the context of a face: its photo, the time, faces already named. They set the order
in which the page asks, and suggest names for groups. They change no decision, no probability and no
record: their error rate is not measured, so no budget could be kept with them.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from faceops.base.errors import counted
from faceops.base.reasons import CODES, IDENTIFIED, UNKNOWN, Reason
from faceops.gallery.decisions import Decisions
from faceops.identification.engine.verdicts import NOBODY
from faceops.identification.unknown.groups import MEAN_SHARE, lowest_cosine
from faceops.identification.unknown.unknown_people import unknown_name
from faceops.release.bundle import Bundle
from faceops.review.decided import DecidedAlbum
from faceops.review.faces import FaceKey, chances_of, refused_people

# Least chance with which an unnamed face is in the pile of its best person; without normalised
# scores, least probability.
PLAUSIBLE_CHANCE, PLAUSIBLE = 0.2, 0.5
PERHAPS_CHANCE = 0.5  # least chance with which a name is suggested for a group
WITHIN_S = 60.0  # seconds between two photos of one moment
MOST = 120  # faces of a pile, the likeliest, whose photos are opened
NEAREST = 8  # photos of the person, before and after a photo, with which it is compared
_PILE_PICTURES, _GROUP_PICTURES = 4, 6
_AMBIGUOUS = CODES[Reason.AMBIGUOUS]

Taken = Callable[[int], datetime | None]  # when a photo of an album was taken, by its place


@dataclass(frozen=True)
class Pile:
    # person, shown: name in the gallery and name to show
    person: str
    shown: str
    faces: int  # number of faces
    keys: list[FaceKey]  # of the first faces, for pictures


@dataclass(frozen=True)
class PersonCard:
    person: str
    shown: str
    key: FaceKey  # of the album's face that is the person's picture, "" if there is none
    crop_id: str  # without `key`, of the enrolled face that is the picture, "" if there is none
    photos: int  # number of photos in which the person is named
    enrolled: int  # number of faces in the gallery
    odd: int  # number of named faces to check, see `DecidedAlbum.is_near_limit`


@dataclass(frozen=True)
class Group:
    name: str  # such as "unknown-007"
    photos: int
    faces: int
    keys: list[FaceKey]  # of the best faces, for pictures
    # perhaps, shown: name in the gallery and name to show of the suggested person, "" for none: the
    # best person of at least half of the faces, else the person to whom the group is linked, see
    # `Links`
    perhaps: str = ""
    shown: str = ""
    # Median chance of the faces to show that person, 0 to 1, see `Chances`; 0 for a person to whom
    # they are only linked
    chance: float = 0.0
    note: str = ""  # a sentence about the links, "" without links


def to_confirm(album: DecidedAlbum) -> np.ndarray:
    """Return the rows of faces that are in a pile, the likeliest first, int64 (N,).

    Faces whose person is named on another face of the same photo come last.
    """
    faces = album.faces
    chances = album.chances.of(faces.stranger_share)
    is_plausible = np.where(
        np.isnan(chances), faces.probability >= PLAUSIBLE, chances >= PLAUSIBLE_CHANCE
    )
    nameless = (faces.kind == UNKNOWN) & (faces.best >= 0)
    asked = nameless & (is_plausible | (faces.reason == _AMBIGUOUS))
    rows = np.flatnonzero((asked | album.is_near_limit) & album.is_shown)
    share, probability = faces.stranger_share[rows], np.nan_to_num(faces.probability[rows])
    beside = _is_named_beside(album)[rows]
    return rows[np.lexsort((rows, -probability, np.nan_to_num(share), beside))]


def _is_named_beside(album: DecidedAlbum) -> np.ndarray:
    """Return which unnamed faces are most like somebody named in the same photo, bool (F,)."""
    faces = album.faces
    key = album.photo.astype(np.int64) * max(1, len(album.people)) + faces.best
    found: np.ndarray = (faces.kind == UNKNOWN) & (faces.best >= 0)
    return found & np.isin(key, key[album.is_named])


def pile_rows(album: DecidedAlbum, person: str) -> np.ndarray:
    """Return the rows of a person's pile, the likeliest first, int64 (N,)."""
    rows = to_confirm(album)
    return rows[album.faces.best[rows] == album.places.get(person, NOBODY - 1)]


def piles(album: DecidedAlbum) -> list[Pile]:
    """Return the piles, by the expected number of faces that show the person, descending."""
    rows = to_confirm(album)
    chances = np.nan_to_num(album.chances.of(album.faces.stranger_share), nan=1.0)
    found = []
    for person, own in _by_value(album.faces.best[rows], rows):
        keys = [album.key(row) for row in own[:_PILE_PICTURES].tolist()]
        pile = Pile(album.people[person], album.shown[person], len(own), keys)
        found.append((-float(chances[own].sum()), pile.shown, pile))
    return [pile for *_, pile in sorted(found, key=lambda one: one[:2])]


def with_hints(
    album: DecidedAlbum, rows: np.ndarray, taken: Taken
) -> tuple[np.ndarray, dict[int, str]]:
    """Return the faces of a pile in the order in which to ask about them, and hints by face.

    First come those of the `MOST` likeliest whose photo was taken within `WITHIN_S` of a photo in
    the same folder in which the person is named; last come faces whose own photo has another face
    with the person's name. `rows` int64 (N,).
    """
    if not len(rows):
        return rows, {}
    faces, beside = album.faces, _is_named_beside(album)[rows]
    person = int(faces.best[rows[0]])
    shown = album.shown[person]
    photos = np.unique(album.photo[album.is_named & (faces.best == person)])
    sentence = f"{shown} is named on another face of this photo."
    notes = dict.fromkeys(rows[beside].tolist(), sentence)
    is_near = np.zeros(len(rows), bool)
    for place in np.flatnonzero(~beside & (faces.kind[rows] == UNKNOWN))[:MOST].tolist():
        row = int(rows[place])
        if found := _same_moment(album, int(album.photo[row]), photos, taken):
            is_near[place] = True
            file, whole = album.texts[found[0]].rpartition("/")[2], round(abs(found[1]))
            when = f"{counted(whole, 'second')} {'later' if found[1] > 0 else 'earlier'}"
            when = when if whole else "in the same second"
            notes[row] = f"{shown} is named in {file}, taken {when}."
    return rows[np.lexsort((~is_near, beside))], notes


def _same_moment(
    album: DecidedAlbum, photo: int, others: np.ndarray, taken: Taken
) -> tuple[int, float] | None:
    """Return the one of `others` that was taken nearest to `photo`, and how many seconds later."""
    at, folder = int(np.searchsorted(others, photo)), album.texts[photo].rpartition("/")[0]
    near = others[max(0, at - NEAREST) : at + NEAREST].tolist()
    near = [one for one in near if one != photo and album.texts[one].rpartition("/")[0] == folder]
    time = taken(photo) if near else None
    if time is None:
        return None
    apart = [(one, _seconds(time, other)) for one in near if (other := taken(one))]
    best = min(apart, key=lambda pair: abs(pair[1]), default=None)
    return best if best and abs(best[1]) <= WITHIN_S else None


def _seconds(one: datetime, other: datetime) -> float:
    """Return how much later `other` is; time zones count only if both times have one."""
    if one.tzinfo is None or other.tzinfo is None:
        one, other = one.replace(tzinfo=None), other.replace(tzinfo=None)
    return (other - one).total_seconds()


def person_rows(album: DecidedAlbum, person: str) -> np.ndarray:
    """Return the rows of faces named as a person, the least probable first, int64 (N,)."""
    faces, place = album.faces, album.places.get(person, NOBODY - 1)
    rows = np.flatnonzero(album.is_named & (faces.best == place))
    sure = np.where(album.is_confirmed[rows], np.inf, np.nan_to_num(faces.probability[rows]))
    share = np.nan_to_num(faces.stranger_share[rows])
    return rows[np.lexsort((rows, -share, sure))]


def people_cards(album: DecidedAlbum, decisions: Decisions) -> list[PersonCard]:
    """Return the people, sorted by the shown name."""
    gallery, quality = album.gallery, album.photos.faces["quality"]
    named = np.flatnonzero(album.is_named)
    of_person = dict(_by_value(album.faces.best[named], named))
    enrolled = np.bincount(gallery.person_rows, minlength=len(album.people))
    best_crop: dict[str, tuple[float, str]] = {}
    for face in gallery.faces:
        if face.quality > best_crop.get(face.person, (-1.0, ""))[0]:
            best_crop[face.person] = face.quality, face.crop_id
    cards = []
    for place, person in enumerate(album.people):
        rows = of_person.get(place, np.zeros(0, np.int64))
        if not len(rows) and not enrolled[place]:
            continue
        _, crop_id = best_crop.get(person, (0, ""))
        chosen = decisions.picture(person)
        row = None if chosen is None else album.row_at(*chosen)
        row = row if row in rows else None
        if row is None and len(rows) and not crop_id:
            row = int(rows[np.argmax(quality[rows])])
        cards.append(
            PersonCard(
                person,
                album.shown[place],
                key="" if row is None else album.key(row),
                crop_id="" if row is not None else crop_id,
                photos=len(np.unique(album.photo[rows])),
                enrolled=int(enrolled[place]),
                odd=int(album.is_near_limit[rows].sum()),
            )
        )
    return sorted(cards, key=lambda card: (card.shown.casefold(), card.person))


def groups(album: DecidedAlbum, bundle: Bundle, decisions: Decisions) -> list[Group]:
    """Return the unknown people, the one with most faces first."""
    rows = np.flatnonzero((album.unknown > 0) & album.is_unknown)
    if not len(rows):
        return []
    quality, links = album.photos.faces["quality"], Links(album, bundle)
    refused = dict(zip(rows.tolist(), refused_people(album, decisions, rows), strict=True))
    result = []
    for number, own in _by_value(album.unknown[rows], rows):
        person, shown, chance = _perhaps(album, bundle, own)
        link, note = links.of(own, [refused[row] for row in own.tolist()]), ""
        if link and person in ("", album.people[link[0]]):
            person, shown, note = album.people[link[0]], album.shown[link[0]], link[1]
        best_first = own[np.argsort(-quality[own], kind="stable")][:_GROUP_PICTURES]
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
    # A person who is not the most probable one of a face has a chance of one half at most.
    if 2 * is_best.sum() < len(rows) or place >= len(album.gallery.people):
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


class Links:
    """Links of groups of unknown faces to named people, by the rule that groups unknown faces.

    A group is linked to a person if the two would join as groups of unknown faces: a face of each
    reaches the threshold of a link, and the mean cosine is high enough.
    """

    def __init__(self, album: DecidedAlbum, bundle: Bundle) -> None:
        self._album, self._embeddings = album, album.photos.embeddings
        best, people = album.faces.best, len(album.people)
        rows = np.flatnonzero(album.is_named)
        rows = rows[self._embeddings[rows].any(axis=1)]  # drawn ones have none
        self._named = rows[np.argsort(best[rows], kind="stable")]
        self._starts = np.searchsorted(best[self._named], np.arange(people + 1))
        sums = np.zeros((people, self._embeddings.shape[1]), np.float32)
        np.add.at(sums, best[self._named], self._embeddings[self._named])
        self._means = sums / np.maximum(np.diff(self._starts), 1)[:, None]
        thresholds = bundle.release.thresholds
        unknown = max(1, int(np.count_nonzero(album.is_unknown)))
        threshold = thresholds.for_groups(thresholds.default_budget, unknown)
        self._lowest = np.inf
        if threshold <= 1:
            self._lowest = lowest_cosine(bundle.verify, threshold, self._embeddings.shape[1])

    def of(self, rows: np.ndarray, refused: Sequence[Collection[str]]) -> tuple[int, str] | None:
        """Return the person with the highest mean cosine to a group, and the sentence about it.

        None if nobody is linked. People who are named in a photo of the group are left out. `rows`
        int64 (N,) are the faces of the group; `refused` has for each the names of the people whom
        it does not show by decision.
        """
        album, faces = self._album, self._album.faces
        if not len(self._named):
            return None
        means = self._means @ self._embeddings[rows].mean(axis=0)
        beside = album.photos.rows_of_all(np.unique(album.photo[rows]))
        gone = {album.places[name] for names in refused for name in names if name in album.places}
        means[faces.best[beside[faces.kind[beside] == IDENTIFIED]]] = -1
        means[sorted(gone)] = means[np.diff(self._starts) == 0] = -1
        person = int(means.argmax())
        own = self._named[self._starts[person] : self._starts[person + 1]]
        cosines = self._embeddings[rows] @ self._embeddings[own].T
        linked = own[(cosines >= self._lowest).any(axis=0)]
        if not len(linked) or means[person] < MEAN_SHARE * self._lowest:
            return None
        confirmed = int(album.is_confirmed[linked].sum())
        counts = (("confirmed as", confirmed), ("named", len(linked) - confirmed))
        shown = album.shown[person]
        parts = [f"{counted(count, 'face')} {what} {shown}" for what, count in counts if count]
        return person, f"Also like this group: {' and '.join(parts)}."


def group_rows(album: DecidedAlbum, number: int) -> np.ndarray:
    """Return the rows of an unknown person's faces, the best first, int64 (N,)."""
    rows = np.flatnonzero((album.unknown == number) & album.is_unknown)
    return rows[np.argsort(-album.photos.faces["quality"][rows], kind="stable")]


def _by_value(values: np.ndarray, rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return each value with its rows in order, values ascending."""
    order = np.argsort(values, kind="stable")
    found, starts = np.unique(values[order], return_index=True)
    return list(zip(found.tolist(), np.split(rows[order], starts[1:]), strict=False))
