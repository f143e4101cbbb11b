"""Hints for the reviewer from the context of a face: its photo, the time, faces already named.

Hints set the order in which the page asks and suggest names for groups. They change no decision, no
probability and no record: their error rate is not measured, so no budget could be kept with them.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

import numpy as np

from faceops.base.errors import FaceOpsError, counted
from faceops.base.reasons import IDENTIFIED, UNKNOWN
from faceops.gallery.names import paths_shown_as
from faceops.identification.unknown.groups import MEAN_SHARE, lowest_cosine
from faceops.photos.photo_header import WITHOUT_PACKETS, read_header
from faceops.release.bundle import Bundle
from faceops.review.decided import DecidedAlbum
from faceops.review.results import Results

WITHIN_S = 60.0  # seconds between two photos of one moment
MOST = 120  # faces of a pile, the likeliest, whose photos are opened
NEAREST = 8  # photos of the person, before and after a photo, with which it is compared

Taken = Callable[[int], datetime | None]  # when a photo of an album was taken, by its place


def is_named_beside(album: DecidedAlbum) -> np.ndarray:
    """Return which unnamed faces are most like somebody named in the same photo, bool (F,)."""
    faces = album.faces
    key = album.photo.astype(np.int64) * max(1, len(album.people)) + faces.best
    found: np.ndarray = (faces.kind == UNKNOWN) & (faces.best >= 0)
    found &= np.isin(key, key[(faces.kind == IDENTIFIED) & (faces.best >= 0)])
    return found


class CaptureTimes:
    """The capture times of a run's photos; each file is opened once, when its time is needed.

    Camera raw files and JPEG XL have none: opening them is slow.
    """

    def __init__(self) -> None:
        self._known: dict[str, datetime | None] = {}

    def of(self, results: Results, album: DecidedAlbum, photo: int) -> datetime | None:
        """Return the capture time of a photo, None if its file is missing or has none."""
        photo_id = album.photos.photo_ids[photo] or ""
        if photo_id not in self._known:
            self._known[photo_id] = self._read(results, album.texts[photo])
        return self._known[photo_id]

    @staticmethod
    def _read(results: Results, text: str) -> datetime | None:
        if PurePosixPath(text).suffix.lower() in WITHOUT_PACKETS:
            return None
        for path in paths_shown_as(results.run.root, text):
            with suppress(FaceOpsError):
                return read_header(path, results.run.summary.limits).taken
        return None


def with_hints(
    album: DecidedAlbum, rows: np.ndarray, taken: Taken
) -> tuple[np.ndarray, dict[int, str]]:
    """Return the faces of a pile in the order in which to ask about them, and hints by face.

    First come those of the `MOST` likeliest whose photo was taken within `WITHIN_S` of a photo in
    the same folder in which the person is named; last come faces whose own photo has another face
    with the person's name.

    Args:
        rows: int64 (N,), faces that may show one person.
    """
    faces, beside = album.faces, is_named_beside(album)[rows]
    if not len(rows):
        return rows, {}
    person = int(faces.best[rows[0]])
    shown = album.shown[person]
    is_person = (faces.kind == IDENTIFIED) & (faces.best == person) & album.is_shown
    photos = np.unique(album.photo[is_person])
    sentence = f"{shown} is named on another face of this photo."
    notes = dict.fromkeys(rows[beside].tolist(), sentence)
    is_near = np.zeros(len(rows), bool)
    for place in np.flatnonzero(~beside & (faces.kind[rows] == UNKNOWN))[:MOST].tolist():
        if found := _same_moment(album, int(album.photo[rows[place]]), photos, taken):
            is_near[place] = True
            notes[int(rows[place])] = _moment_note(shown, album.texts[found[0]], found[1])
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


def _moment_note(shown: str, path: str, seconds: float) -> str:
    file = path.rpartition("/")[2]
    whole = round(abs(seconds))
    when = f"{counted(whole, 'second')} {'later' if seconds > 0 else 'earlier'}"
    return f"{shown} is named in {file}, taken {when if whole else 'in the same second'}."


@dataclass(frozen=True)
class Link:
    """A person whose faces in the album are linked to the faces of a group.

    Attributes:
        person: place in the album's people.
        confirmed, named: numbers of the person's linked faces that a user confirmed, and that were
            named by their score.
    """

    person: int
    confirmed: int
    named: int

    def note(self, shown: str) -> str:
        """Return the sentence about the group."""
        parts = []
        if self.confirmed:
            parts.append(f"{counted(self.confirmed, 'face')} confirmed as {shown}")
        if self.named:
            parts.append(f"{counted(self.named, 'face')} named {shown}")
        return f"Also like this group: {' and '.join(parts)}."


class Links:
    """Links of groups of unknown faces to named people, by the rule that groups unknown faces.

    A group is linked to a person if the two would join as groups of unknown faces: a face of each
    reaches the threshold of a link, and the mean cosine is high enough.
    """

    def __init__(self, album: DecidedAlbum, bundle: Bundle) -> None:
        self._album, self._embeddings = album, album.photos.embeddings
        faces, people = album.faces, len(album.people)
        named = (faces.kind == IDENTIFIED) & (faces.best >= 0) & album.is_shown
        rows = np.flatnonzero(named)
        rows = rows[self._embeddings[rows].any(axis=1)]  # drawn ones have none
        self._named = rows[np.argsort(faces.best[rows], kind="stable")]
        best = faces.best[self._named]
        self._starts = np.searchsorted(best, np.arange(people + 1))
        sums = np.zeros((people, self._embeddings.shape[1]), np.float32)
        np.add.at(sums, best, self._embeddings[self._named])
        self._means = sums / np.maximum(np.diff(self._starts), 1)[:, None]
        thresholds = bundle.release.thresholds
        unknown = max(1, int(np.count_nonzero(album.is_unknown & album.is_shown)))
        threshold = thresholds.for_groups(thresholds.default_budget, unknown)
        self._lowest = np.inf
        if threshold <= 1:
            self._lowest = lowest_cosine(bundle.verify, threshold, self._embeddings.shape[1])

    def of(self, rows: np.ndarray, refused: Sequence[Collection[str]]) -> Link | None:
        """Return the person with the highest mean cosine to a group, None if none is linked.

        People who are named in a photo of the group are left out.

        Args:
            rows: int64 (N,), the faces of the group.
            refused: for each face, the names of the people whom it does not show by decision.
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
        return Link(person, confirmed, len(linked) - confirmed)
