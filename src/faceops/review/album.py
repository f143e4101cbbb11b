"""The album of the review page: what it lists, and the decisions that people make on it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceops.base.errors import UsageError, printable
from faceops.faces.detector import Box
from faceops.gallery import people as enrolled_people
from faceops.gallery.agreement import Agreement
from faceops.gallery.decisions import Decisions
from faceops.gallery.follow import locked_people
from faceops.gallery.journal import TRUSTED, Action, Entry, Ignored, new_person
from faceops.gallery.names import given_name, person_key
from faceops.identification.forget.forget import ForgetResult, forget_person
from faceops.identification.unknown.name_unknown import DISAGREEING
from faceops.identification.unknown.unknown_people import unknown_number
from faceops.release.bundle import Bundle
from faceops.review import doctor as doctors
from faceops.review import history as histories
from faceops.review import pictures
from faceops.review import piles as lists
from faceops.review.decided import DecidedAlbum
from faceops.review.faces import FaceKey, ReviewedFace, places_of, refused_people, reviewed_faces
from faceops.review.live import Change, LiveAlbum, Status, stated

COUNT = 60  # faces of one answer, unless it is asked for others


@dataclass(frozen=True)
class Outcome:
    """What came of a decision: its batch or, if it was not made, the question to answer first."""

    batch: str = ""
    question: str = ""


@dataclass(frozen=True)
class ReviewedPhoto:
    """A photo with its faces; `size` is its upright width and height, pixels."""

    photo_id: str
    path: str
    size: tuple[int, int]
    faces: list[ReviewedFace]


@dataclass(frozen=True)
class Found:
    """What a search found: people as (name in the gallery, name to show), photos as (id, path)."""

    people: list[tuple[str, str]]
    photos: list[tuple[str, str]]


class Album:
    """The latest results in `out`, with the gallery and its journal; usable from several threads.

    Faces are named by their `FaceKey`, people by their name in the gallery, in any spelling. Every
    method raises a UsageError for what is not there, with a sentence for the page.

    Args:
        by: name of the person who decides, "" if not stated.

    Attributes:
        publish: see `LiveAlbum.publish`.

    Raises:
        UsageError, FaceOpsError: as `LiveAlbum`.
    """

    def __init__(self, out: Path, gallery: Path, bundle: Bundle, by: str = "") -> None:
        self.by = by
        self._live = LiveAlbum(out, gallery, bundle)
        self.close, self.wait, self.publish = self._live.close, self._live.wait, self._live.publish

    # What the page shows.

    @property
    def version(self) -> int:
        """Rises whenever what is shown may have changed."""
        return self._live.version

    @property
    def status(self) -> Status:
        """What the album does now."""
        return self._live.status

    @property
    def people(self) -> list[str]:
        """The names that are known, for completion."""
        return sorted(self._album.people, key=str.casefold)

    @property
    def _album(self) -> DecidedAlbum:
        return self._live.decided

    @property
    def _budget(self) -> float:
        return self._live.results.run.summary.budget

    @property
    def _bundle(self) -> Bundle:
        return self._live.bundle

    @property
    def _decisions(self) -> Decisions:
        return self._live.decisions

    def decided(self) -> DecidedAlbum:
        """Return the album as it is decided now."""
        return self._album

    def piles(self) -> list[lists.Pile]:
        """Return the people of whom faces are to be confirmed, the one with most faces first."""
        return lists.piles(self._album, self._budget)

    def pile(self, person: str, start: int = 0, count: int = COUNT) -> list[ReviewedFace]:
        """Return the faces that may show `person`, the likeliest first."""
        album = self._album
        rows = lists.pile_rows(album, self._budget, self._name_of(album, person))
        return self._reviewed(album, rows[start : start + count])

    def people_cards(self) -> list[lists.PersonCard]:
        """Return the enrolled and named people by name."""
        with self._live.lock:
            return lists.people_cards(self._album, self._decisions, self._budget)

    def person(self, name: str, start: int = 0, count: int = COUNT) -> list[ReviewedFace]:
        """Return the faces that are named `name`, the least sure first."""
        album = self._album
        rows = lists.person_rows(album, self._name_of(album, name))
        return self._reviewed(album, rows[start : start + count])

    def groups(self) -> list[lists.Group]:
        """Return the unknown people, the one with most faces first."""
        return lists.groups(self._album, self._bundle)

    def group(self, name: str, start: int = 0, count: int = COUNT) -> list[ReviewedFace]:
        """Return the faces of an unknown person such as unknown-007, the best first."""
        album = self._album
        rows = lists.group_rows(album, unknown_number(name))
        return self._reviewed(album, rows[start : start + count])

    def face(self, key: FaceKey) -> ReviewedFace:
        """Return a face; UsageError if there is none."""
        album = self._album
        return self._reviewed(album, np.array([album.row(key)]))[0]

    def photo(self, photo_id: str) -> ReviewedPhoto:
        """Return a photo with its faces; UsageError if there is none."""
        album = self._album
        place = album.photo_places.get(photo_id)
        if place is None:
            raise UsageError("there is no such photo in this album; load the page again.")
        rows = np.arange(*album.photos.starts[place : place + 2])
        rows = rows[album.is_shown[rows]]
        width, height = album.photos.sizes[place].tolist()
        faces = self._reviewed(album, rows)
        return ReviewedPhoto(photo_id, album.texts[place], (width, height), faces)

    def why(self, key: FaceKey) -> doctors.Why:
        """Return why a face has its name."""
        album = self._album
        row = album.row(key)
        with self._live.lock:
            (place,) = places_of(album, self._decisions, [row])
            entry = self._decisions.entries.get(place.entry) if place and place.person else None
        decided_by = "" if entry is None else entry.by or "somebody"
        candidates = self._reviewed(album, np.array([row]))[0].candidates
        return doctors.why(album, self._bundle, row, candidates, decided_by)

    def history(self, start: int = 0, count: int = COUNT) -> list[histories.Made]:
        """Return what was decided, the latest first."""
        with self._live.lock:
            return histories.history(self._decisions, start, count)

    def doctor(self) -> doctors.Doctor:
        """Return the enrolled faces and people that are to be looked at."""
        album = self._album
        shown = dict(zip(album.people, album.shown, strict=True))
        return doctors.examine(album.gallery, self._bundle, shown)

    def search(self, text: str, most: int = 20) -> Found:
        """Return people and photos whose name or path has `text`, in any case."""
        album, wanted = self._album, text.casefold().strip()
        if not wanted:
            return Found([], [])
        people = [
            pair
            for pair in zip(album.people, album.shown, strict=True)
            if any(wanted in name.casefold() for name in pair)
        ]
        people.sort(key=lambda pair: (not pair[1].casefold().startswith(wanted), pair[1]))
        photos = []
        for photo_id, place in album.photo_places.items():
            if wanted in album.texts[place].casefold():
                photos.append((photo_id, album.texts[place]))
                if len(photos) == most:
                    break
        return Found(people[:most], photos)

    def face_picture(self, key: FaceKey, size: int = 96) -> bytes:
        """Return a square picture of a face, WebP."""
        album = self._album
        return pictures.face_picture(self._live.results, album, album.row(key), size)

    def photo_picture(self, photo_id: str, side: int = 1280) -> bytes:
        """Return a photo, upright, with a longest side of `side` pixels, JPEG."""
        return pictures.photo_picture(self._live.results, self._album, photo_id, side)

    def enrolled_picture(self, crop_id: str) -> bytes:
        """Return the crop of an enrolled face, PNG."""
        return pictures.enrolled_picture(self._album.gallery, crop_id)

    # Decisions; each returns the batch that `undo` takes back.

    def confirm(self, keys: Sequence[FaceKey], person: str) -> str:
        """Decide that these faces show `person`, who may be new."""
        with self._live.lock:
            person_id, entries = self._naming(person)
            return self._decide(entries + self._about(keys, Action.CONFIRM, person_id), keys)

    def refuse(self, keys: Sequence[FaceKey], person: str) -> str:
        """Decide that these faces do not show `person`."""
        with self._live.lock:
            person_id, entries = self._naming(person)
            return self._decide(entries + self._about(keys, Action.REFUSE, person_id), keys)

    def ignore(self, keys: Sequence[FaceKey], kind: str = Ignored.STRANGER) -> str:
        """Decide that nobody is to be asked about these faces; `kind` is an `Ignored`."""
        if kind not in list(Ignored):
            raise UsageError(f"a face is ignored as {', '.join(Ignored)}, not as {kind!r}.")
        with self._live.lock:
            return self._decide(self._about(keys, Action.IGNORE, detail=kind), keys)

    def draw(self, photo_id: str, box: Box, person: str) -> str:
        """Decide that the box, x, y, width, height in upright pixels, shows `person`."""
        with self._live.lock:
            place = self._album.photo_places.get(photo_id)
            if place is None:
                raise UsageError("there is no such photo in this album; load the page again.")
            width, height = self._album.photos.sizes[place].tolist()
            x, y, w, h = map(float, box)
            if not (0 <= x < x + w <= width and 0 <= y < y + h <= height):
                raise UsageError("the box lies outside the photo; draw it again.")
            person_id, entries = self._naming(person)
            size = (width, height)
            drawn = Entry(Action.DRAW, photo_id, (x, y, w, h), size, person=person_id)
            return self._write([*entries, drawn], {photo_id}, draws=True)

    def undo(self, batch: str) -> str:
        """Take back what was decided together under `batch`."""
        with self._live.lock:
            entries = histories.batches_of(self._decisions).get(batch, [])
            undone = [one for one in entries if self._decisions.holds(one.id)]
            if not undone:
                raise UsageError("this decision was undone already; load the page again.")
            about = [self._subject(one) for one in undone]
            photos = {one.photo_id for one in about if one.photo_id}
            entries = [Entry(Action.UNDO, detail=one.id) for one in undone]
            if any(one.action in (Action.NAME, Action.SHOW, Action.MERGE) for one in about):
                batch, entries = stated(entries, self.by)
                self._change_people(lambda: self._decide_people(entries))
                return batch
            draws = any(one.action == Action.DRAW for one in about)
            return self._write(entries, photos, draws)

    def name_group(self, unknown: str, person: str, trust: bool = False) -> Outcome:
        """Decide that all faces of an unknown person show `person`."""
        with self._live.lock:
            keys = self._keys_of(unknown)
            if not trust and (question := self._disagreement(keys, person)):
                return Outcome(question=question)
            person_id, entries = self._naming(person)
            detail = TRUSTED if trust else ""
            entries += self._about(keys, Action.CONFIRM, person_id, detail)
            return Outcome(self._decide(entries, keys))

    def merge_groups(self, one: str, other: str) -> str:
        """Decide that two unknown people are one, who keeps the number of `one`."""
        with self._live.lock:
            first, second = self._keys_of(one), self._keys_of(other)
            keys, number = [*first, *second], unknown_number(one)
            about = self._about(keys, Action.CONFIRM, new_person())
            return self._decide(about, keys, lambda album: _regrouped(album, keys, number))

    def split(self, keys: Sequence[FaceKey]) -> str:
        """Decide that these faces of an unknown person are another unknown person."""
        with self._live.lock:
            album, person = self._album, new_person()
            rows = [album.row(key) for key in keys]
            numbers = {int(album.unknown[row]) for row in rows} - {0}
            chosen = set(keys)
            entries = self._about(keys, Action.CONFIRM, person)
            for number in numbers:
                rest = map(album.key, lists.group_rows(album, number).tolist())
                if others := [key for key in rest if key not in chosen]:
                    entries += self._about(others, Action.REFUSE, person)
            number = int(album.unknown.max(initial=0)) + 1
            return self._decide(entries, keys, lambda album: _regrouped(album, keys, number))

    def merge_people(self, gone: str, kept: str) -> str:
        """Make two people one, who is called `kept`."""
        gone, kept = self._name_of(self._album, gone), self._name_of(self._album, kept)
        folder = self._live.folder
        return self._change_people(lambda: enrolled_people.merge(folder, gone, kept, by=self.by))

    def rename(self, old: str, new: str) -> str:
        """Give a person another name."""
        old, folder = self._name_of(self._album, old), self._live.folder
        return self._change_people(lambda: enrolled_people.rename(folder, old, new, by=self.by))

    def forget(self, person: str) -> ForgetResult:
        """Remove a person from the gallery, its journal and all results."""
        done = forget_person(self._live.folder, person, (self._live.out,))
        self._live.reload()
        return done

    def choose_picture(self, person: str, key: FaceKey) -> str:
        """Choose the face that stands for a person."""
        with self._live.lock:
            person_id, entries = self._naming(person)
            chosen = self._about([key], Action.PICTURE, person_id)
            return self._write([*entries, *chosen], set())

    def drop_enrolled(self, crop_id: str) -> str:
        """Decide that an enrolled face does not show its person: it leaves the gallery."""
        with self._live.lock:
            face = doctors.enrolled_face(self._album.gallery, crop_id)
            person_id, entries = self._naming(face.person)
            refused = Entry(Action.REFUSE, face.photo_id, face.box, person=person_id)
            return self._write([*entries, refused], {face.photo_id})

    def _reviewed(self, album: DecidedAlbum, rows: np.ndarray) -> list[ReviewedFace]:
        with self._live.lock:  # decisions change
            refused = refused_people(album, self._decisions, rows)
        return reviewed_faces(album, self._bundle, rows, refused)

    # Journal entries.

    def _name_of(self, album: DecidedAlbum, person: str) -> str:
        """Return the person's name as the album has it, in the spelling of the gallery."""
        if person in album.places:
            return person
        key = person_key(person)
        current = album.gallery.aliases.get(key, person)
        return next((one for one in album.people if person_key(one) == person_key(current)), person)

    def _naming(self, person: str) -> tuple[str, list[Entry]]:
        """Return the id of a person, who may be new, and the entries that name them."""
        name = self._name_of(self._album, given_name(person))
        return self._decisions.naming(name)

    def _about(
        self, keys: Collection[FaceKey], action: Action, person: str = "", detail: str = ""
    ) -> list[Entry]:
        """Return an entry about each face."""
        if not keys:
            raise UsageError("no face is chosen.")
        photos = self._album.photos
        entries = []
        for key in dict.fromkeys(keys):
            row = self._album.row(key)
            photo = int(self._album.photo[row])
            x, y, w, h = photos.faces["box"][row].tolist()
            width, height = photos.sizes[photo].tolist()
            photo_id = photos.photo_ids[photo] or ""
            size = (width, height)
            entries.append(Entry(action, photo_id, (x, y, w, h), size, person, detail))
        return entries

    def _decide(
        self, entries: list[Entry], keys: Sequence[FaceKey], change: Change | None = None
    ) -> str:
        """Write decisions about faces, and apply them; return their batch."""
        return self._write(entries, {key.partition(".")[0] for key in keys}, change=change)

    def _write(
        self,
        entries: Sequence[Entry],
        photo_ids: set[str],
        draws: bool = False,
        change: Change | None = None,
    ) -> str:
        """Write decisions as one batch, see `LiveAlbum.write`; return it."""
        batch, made = stated(entries, self.by)
        self._live.write(made, photo_ids, draws, change)
        return batch

    def _decide_people(self, entries: Sequence[Entry]) -> None:
        with locked_people(self._live.folder) as people:
            people.decide(entries)

    def _subject(self, entry: Entry) -> Entry:
        """Return the entry that `entry` is about in the end, if it undoes others."""
        while entry.action == Action.UNDO and entry.detail in self._decisions.entries:
            entry = self._decisions.entries[entry.detail]
        return entry

    def _keys_of(self, unknown: str) -> list[FaceKey]:
        rows = lists.group_rows(self._album, unknown_number(unknown))
        if not len(rows):
            raise UsageError(f"there is no {printable(unknown)} any more; load the page again.")
        return [self._album.key(row) for row in rows.tolist()]

    def _disagreement(self, keys: Sequence[FaceKey], person: str) -> str:
        """Return the question to ask before these faces are the enrolled `person`'s, or ""."""
        album = self._album
        name = self._name_of(album, given_name(person))
        if name not in album.gallery.people:
            return ""
        rows = [album.row(key) for key in keys]
        unlike = Agreement(album.gallery, self._bundle).unlike(name, album.photos.embeddings[rows])
        if unlike.mean() < DISAGREEING:
            return ""
        return (
            f"{unlike.sum()} of the {len(rows)} faces are unlike the faces that are enrolled as "
            f"{name}. Do they show {name} all the same?"
        )

    def _change_people(self, act: Callable[[], object]) -> str:
        """Let `act` change people in gallery and journal; return the batch.

        The album shows new names at once. Who is separate again appears when all is decided anew.
        """
        with self._live.lock:
            before = {self._decisions.person_id(name): name for name in self._album.people}
            entries = self._live.change_gallery(act)
            renames = [
                (name, now)
                for person, name in before.items()
                if (now := self._decisions.name(person)) not in ("", name)
            ]
            self._live.apply(lambda album: _with_names(album, renames))
            batches = [entry.batch for entry in entries if entry.batch]
            return batches[-1] if batches else ""


def _with_names(album: DecidedAlbum, renames: Sequence[tuple[str, str]]) -> DecidedAlbum:
    for old, new in renames:
        album = album.renamed(old, new)
    return album


def _regrouped(album: DecidedAlbum, keys: Sequence[FaceKey], number: int) -> DecidedAlbum:
    """Return the album in which these faces are the unknown person with this number."""
    unknown = album.unknown.copy()
    unknown[[album.row(key) for key in keys]] = number
    return replace(album, unknown=unknown)
