"""The album of the review page: the latest results in memory, decided anew as people decide.

A decision is written to the journal first, then applied to the faces concerned, both within a key's
time; a thread then decides the whole album anew, as the next run will. Readers get a finished
`DecidedAlbum`, which nobody changes; one lock guards the journal's state and the change of albums.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceops.base.errors import InUseError, UsageError, printable
from faceops.base.locks import folder_lock
from faceops.base.progress import progress_to
from faceops.base.shortage import user_error
from faceops.faces.detector import Box
from faceops.gallery import people as enrolled_people
from faceops.gallery.agreement import comparison, dissimilar_photos
from faceops.gallery.decisions import Decisions
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.folder import gallery_stamp
from faceops.gallery.journal import Action, Entry, Ignored, Journal, new_batch, new_person
from faceops.gallery.names import given_name, person_key
from faceops.gallery.store import Gallery
from faceops.identification.engine.verdicts import DecidedFaces
from faceops.identification.forget.forget import ForgetResult, forget_person
from faceops.identification.latest_run import latest_run
from faceops.identification.records.output_folder import SUMMARY_FILE
from faceops.identification.run import identify
from faceops.identification.summary import Summary
from faceops.identification.unknown.unknown_people import unknown_number
from faceops.release.bundle import Bundle
from faceops.review import doctor as doctors
from faceops.review import history as histories
from faceops.review import pictures
from faceops.review import piles as lists
from faceops.review.decided import DecidedAlbum, as_recorded, decide_again, decide_all
from faceops.review.faces import FaceKey, ReviewedFace, places_of, reviewed_faces
from faceops.review.results import Results

SETTLE_S = 0.5  # decisions within so many seconds are decided together
LOOK_EVERY_S = 2.0  # for what other processes have changed
COUNT = 60  # faces of one answer, unless it is asked for others

Change = Callable[[DecidedAlbum], DecidedAlbum]


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


@dataclass(frozen=True)
class Status:
    """What the album does now.

    Attributes:
        state: "idle", "deciding", "publishing" or "waiting" (for another process).
        text: a sentence for the page.
        progress: of publishing, 0 to 1.
        version: of what is shown.
        run_id: of the results that the album was opened with, or reloaded.
        unpublished: number of decisions that the results do not have yet.
        error: a sentence about the last thing that failed, "" if nothing did.
    """

    state: str
    text: str
    progress: float
    version: int
    run_id: str
    unpublished: int
    error: str


class Album:
    """The latest results in `out`, with the gallery and its journal; usable from several threads.

    Faces are named by their `FaceKey`, people by their name in the gallery, in any spelling.

    Args:
        by: name of the person who decides, "" if not stated.

    Raises:
        UsageError: `out` has no results, or `gallery` is none.
        FaceOpsError: they are damaged, or of another release than `bundle`.
    """

    def __init__(self, out: Path, gallery: Path, bundle: Bundle, by: str = "") -> None:
        self.out, self.by = out, by
        self._bundle, self._folder = bundle, gallery
        self._journal = Journal(gallery)
        self._lock = threading.RLock()
        self._since: list[Change] = []  # changes that the whole album was not decided with yet
        self._wake, self._closed = threading.Event(), threading.Event()
        self._version = 0
        self._publishing: float | None = None  # its progress
        self._waiting = self._error = ""
        self._is_deciding = True
        self._load()
        self._wake.set()
        self._thread = threading.Thread(target=self._work, name="decide album", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the state."""
        self._closed.set()
        self._wake.set()
        self._thread.join()
        self._results.store.close()

    # What the page shows.

    @property
    def version(self) -> int:
        """Rises whenever what is shown may have changed."""
        return self._version

    @property
    def people(self) -> list[str]:
        """The names that are known, for completion."""
        return sorted(self._album.people, key=str.casefold)

    @property
    def status(self) -> Status:
        """What the album does now."""
        with self._lock:
            state, text = "idle", "everything is decided"
            progress = self._publishing or 0.0
            unpublished = len(self._decisions.entries) - self._published
            if unpublished > 0:
                text = f"{unpublished} decisions are not in the results yet: publish them"
            if self._is_deciding:
                state, text = "deciding", "the album is decided anew"
            if self._publishing is not None:
                state, text = "publishing", f"publishing {100 * progress:.0f} %"
            if self._waiting:
                state, text = "waiting", self._waiting
            run_id = self._results.run.summary.run_id
            error = self._error
            return Status(state, text, progress, self._version, run_id, unpublished, error)

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until the whole album is decided with all decisions; return whether it is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._lock:
                if not (self._is_deciding or self._since or self._wake.is_set()):
                    return True
            time.sleep(0.02)
        return False

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
        with self._lock:
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
        with self._lock:
            (place,) = places_of(album, self._decisions, [row])
            entry = self._decisions.entries.get(place.entry) if place and place.person else None
        decided_by = "" if entry is None else entry.by or "somebody"
        candidates = self._reviewed(album, np.array([row]))[0].candidates
        return doctors.why(album, self._bundle, row, candidates, decided_by)

    def history(self, start: int = 0, count: int = COUNT) -> list[histories.Made]:
        """Return what was decided, the latest first."""
        with self._lock:
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
        return pictures.face_picture(self._results, album, album.row(key), size)

    def photo_picture(self, photo_id: str, side: int = 1280) -> bytes:
        """Return a photo, upright, with a longest side of `side` pixels, JPEG."""
        return pictures.photo_picture(self._results, self._album, photo_id, side)

    def enrolled_picture(self, crop_id: str) -> bytes:
        """Return the crop of an enrolled face, PNG."""
        return pictures.enrolled_picture(self._album.gallery, crop_id)

    # Decisions; each returns the batch that `undo` takes back.

    def confirm(self, keys: Sequence[FaceKey], person: str) -> str:
        """Decide that these faces show `person`, who may be new."""
        with self._lock:
            person_id, entries = self._naming(person)
            return self._decide(entries + self._about(keys, Action.CONFIRM, person_id), keys)

    def refuse(self, keys: Sequence[FaceKey], person: str) -> str:
        """Decide that these faces do not show `person`."""
        with self._lock:
            person_id, entries = self._naming(person)
            return self._decide(entries + self._about(keys, Action.REFUSE, person_id), keys)

    def ignore(self, keys: Sequence[FaceKey], kind: str = Ignored.STRANGER) -> str:
        """Decide that nobody is to be asked about these faces; `kind` is an `Ignored`."""
        if kind not in list(Ignored):
            raise UsageError(f"a face is ignored as {', '.join(Ignored)}, not as {kind!r}.")
        with self._lock:
            return self._decide(self._about(keys, Action.IGNORE, detail=kind), keys)

    def draw(self, photo_id: str, box: Box, person: str) -> str:
        """Decide that the box, x, y, width, height in upright pixels, shows `person`."""
        with self._lock:
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
        with self._lock:
            entries = histories.batches_of(self._decisions).get(batch, [])
            undone = [one for one in entries if self._decisions.holds(one.id)]
            if not undone:
                raise UsageError("this decision was undone already; load the page again.")
            about = [self._subject(one) for one in undone]
            photos = {one.photo_id for one in about if one.photo_id}
            draws = any(one.action == Action.DRAW for one in about)
            return self._write([Entry(Action.UNDO, detail=one.id) for one in undone], photos, draws)

    def name_group(self, unknown: str, person: str, trust: bool = False) -> Outcome:
        """Decide that all faces of an unknown person show `person`."""
        with self._lock:
            keys = self._keys_of(unknown)
            if not trust and (question := self._disagreement(keys, person)):
                return Outcome(question=question)
            return Outcome(self.confirm(keys, person))

    def merge_groups(self, one: str, other: str) -> str:
        """Decide that two unknown people are one, who keeps the number of `one`."""
        with self._lock:
            first, second = self._keys_of(one), self._keys_of(other)
            keys, number = [*first, *second], unknown_number(one)
            about = self._about(keys, Action.CONFIRM, new_person())
            return self._decide(about, keys, lambda album: _regrouped(album, keys, number))

    def split(self, keys: Sequence[FaceKey]) -> str:
        """Decide that these faces of an unknown person are another unknown person."""
        with self._lock:
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
        return self._change_people(enrolled_people.merge, gone, kept)

    def rename(self, old: str, new: str) -> str:
        """Give a person another name."""
        return self._change_people(enrolled_people.rename, old, new)

    def forget(self, person: str) -> ForgetResult:
        """Remove a person from the gallery, its journal and all results."""
        done = forget_person(self._folder, person, (self.out,))
        with self._lock:
            self._load()
        self._wake.set()
        return done

    def choose_picture(self, person: str, key: FaceKey) -> str:
        """Choose the face that stands for a person."""
        with self._lock:
            person_id, entries = self._naming(person)
            chosen = self._about([key], Action.PICTURE, person_id)
            return self._write([*entries, *chosen], set())

    def drop_enrolled(self, crop_id: str) -> str:
        """Decide that an enrolled face does not show its person: it leaves the gallery."""
        with self._lock:
            face = doctors.enrolled_face(self._album.gallery, crop_id)
            person_id, entries = self._naming(face.person)
            refused = Entry(Action.REFUSE, face.photo_id, face.box, person=person_id)
            return self._write([*entries, refused], {face.photo_id})

    # Results.

    def publish(self, wait: bool = False) -> None:
        """Run identify with the settings of the latest run, in a thread; `status` says how far.

        Args:
            wait: until it has ended.
        """
        with self._lock:
            if self._publishing is not None:
                return
            self._publishing, self._error = 0.0, ""
        thread = threading.Thread(target=self._publish, name="publish", daemon=True)
        thread.start()
        if wait:
            thread.join()

    def _publish(self) -> None:
        try:
            while not self._closed.is_set():
                try:
                    with progress_to(self._note_progress):
                        self._identify()
                    break
                except InUseError:
                    self._waiting = (
                        "identify is running in another process: decisions are kept, and the "
                        "results follow when it has ended"
                    )
                    self._closed.wait(LOOK_EVERY_S)
            with self._lock:
                self._waiting = ""
                self._load()
        except Exception as error:  # noqa: BLE001  the page goes on and says it
            self._fail(error)
        finally:
            with self._lock:
                self._publishing, self._waiting = None, ""
                self._version += 1
            self._wake.set()

    def _identify(self) -> Summary:
        with folder_lock(self.out):  # else loading the gallery was for nothing
            self._waiting = ""
        gallery = Gallery.open(self._folder, self._bundle.release.contract_id)
        run = self._results.run
        return identify(run.photos, gallery, self._bundle, self.out, run.settings())

    def _note_progress(self, what: str, share: float) -> None:
        with self._lock:
            self._publishing = share
            self._version += 1

    # The state, and the thread.

    def _load(self) -> None:
        """Read results, gallery and journal; the caller holds the lock, or is the constructor."""
        results = Results.load(self.out, self._bundle)
        gallery = Gallery.open(self._folder, self._bundle.release.contract_id)
        decisions = Decisions(self._journal.entries())
        album = as_recorded(results, self._bundle, gallery, decisions)
        before = getattr(self, "_results", None)
        self._results, self._gallery, self._decisions = results, gallery, decisions
        self._summary_stamp, self._stamp = _summary_stamp(self.out), gallery.stamp
        self._album, self._since = album, []
        self._budget = results.run.summary.budget
        started = results.run.summary.started
        self._published = sum(one.time <= started for one in decisions.entries.values())
        self._version += 1
        if before is not None:
            before.store.close()

    def _work(self) -> None:
        """Decide the whole album whenever something was decided; look for others' changes."""
        while not self._closed.is_set():
            if not self._wake.wait(LOOK_EVERY_S):
                self._look()
                continue
            self._wake.clear()
            if self._closed.is_set():
                return
            self._closed.wait(SETTLE_S if self._since else 0)
            try:
                self._decide_all()
            except Exception as error:  # noqa: BLE001  the page goes on and says it
                self._fail(error)
            self._is_deciding = self._wake.is_set()

    def _decide_all(self) -> None:
        with self._lock:
            self._is_deciding = True
            results, gallery, count = self._results, self._gallery, len(self._since)
            entries = list(self._decisions.entries.values())
        decisions = Decisions(entries)
        album = decide_all(results, self._bundle, _without_refused(gallery, decisions), decisions)
        with self._lock:
            if results is not self._results:
                return
            self._since = self._since[count:]
            for change in self._since:
                album = change(album)
            self._album = album
            self._version += 1

    def _look(self) -> None:
        """Take over what other processes have written: results, gallery or journal."""
        try:
            with self._lock:
                if self._publishing is None and self._has_new_results():
                    self._load()
                    self._wake.set()
                    return
                if gallery_stamp(self._folder) == self._stamp:
                    return
                contract_id = self._bundle.release.contract_id
                self._gallery = Gallery.open(self._folder, contract_id)
                self._stamp = self._gallery.stamp
                self._decisions.add(self._journal.entries())
            self._wake.set()
        except Exception as error:  # noqa: BLE001  files are just being replaced
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = str(user_error(error) or f"{type(error).__name__}: {error}")
        self._version += 1

    def _has_new_results(self) -> bool:
        try:
            stamp = _summary_stamp(self.out)
        except OSError:
            return False
        if stamp == self._summary_stamp:
            return False
        self._summary_stamp = stamp
        return latest_run(self.out).summary.run_id != self._results.run.summary.run_id

    def _reviewed(self, album: DecidedAlbum, rows: np.ndarray) -> list[ReviewedFace]:
        with self._lock:  # decisions change
            return reviewed_faces(album, self._bundle, self._decisions, rows)

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
        entries: list[Entry],
        photo_ids: set[str],
        draws: bool = False,
        change: Change | None = None,
    ) -> str:
        """Write decisions to the journal, and apply them to these photos; return their batch."""
        batch = new_batch()
        with self._lock:
            is_known = gallery_stamp(self._folder) == self._stamp
            stated = [replace(entry, by=self.by, batch=batch) for entry in entries]
            self._decisions.add(self._journal.append(stated))
            if is_known:  # else `_look` reads what others have written
                self._stamp = gallery_stamp(self._folder)

            def apply(album: DecidedAlbum) -> DecidedAlbum:
                decided = DecidedFaces(self._decisions, album.gallery)
                album = album.with_people(decided)
                if draws:
                    album = album.with_drawn(self._results, decided)
                results, bundle = self._results, self._bundle
                album = decide_again(album, results, bundle, decided, photo_ids)
                return change(album) if change else album

            self._apply(apply)
        return batch

    def _apply(self, change: Change) -> None:
        self._album = change(self._album)
        self._since.append(change)
        self._version += 1
        self._is_deciding = True
        self._wake.set()

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
        gallery = album.gallery
        if name not in gallery.people:
            return ""
        own = np.array([one == name for one in gallery.persons], bool)
        rows = [album.row(key) for key in keys]
        faces = [album.photos.embeddings[[row]] for row in rows]
        thresholds, verify = self._bundle.release.thresholds, self._bundle.verify
        budget = thresholds.default_budget
        compare = comparison(thresholds, verify, lambda n: thresholds.for_search(budget, n))
        others = compare.describe(gallery.embeddings[~own])
        unlike = dissimilar_photos(faces, gallery.embeddings[own], others, compare)
        if 2 * len(unlike) <= len(faces):
            return ""
        return (
            f"{len(unlike)} of the {len(faces)} faces are unlike the enrolled faces of {name}. "
            "Are they the same person?"
        )

    def _change_people(
        self, change: Callable[[Path, str, str], tuple[str, int]], old: str, new: str
    ) -> str:
        """Change names in the gallery, and in the album at once; return the batch."""
        with self._lock:
            before = set(self._decisions.entries)
            old = self._name_of(self._album, old)
            name, _ = change(self._folder, old, new)
            self._gallery = Gallery.open(self._folder, self._bundle.release.contract_id)
            self._decisions.add(self._journal.entries())
            self._stamp = gallery_stamp(self._folder)
            self._apply(lambda album: album.renamed(old, name))
            batches = [
                entry.batch
                for entry in self._decisions.entries.values()
                if entry.id not in before and entry.batch
            ]
            return batches[-1] if batches else ""


def _regrouped(album: DecidedAlbum, keys: Sequence[FaceKey], number: int) -> DecidedAlbum:
    """Return the album in which these faces are the unknown person with this number."""
    unknown = album.unknown.copy()
    unknown[[album.row(key) for key in keys]] = number
    return replace(album, unknown=unknown)


def _without_refused(gallery: Gallery, decisions: Decisions) -> Gallery:
    """Return the gallery without the faces of which somebody said that they are not the person's.

    It keeps its stamp, so it is still known to be that of the files.
    """
    known = decisions.photos()

    def is_refused(face: GalleryFace) -> bool:
        if face.photo_id not in known:
            return False
        (place,) = decisions.match(face.photo_id, [face.box])
        refused = {decisions.current(one) for one in place.refused} if place else set()
        return bool(refused) and decisions.person_id(face.person) in refused

    if not any(map(is_refused, gallery.faces)):
        return gallery
    return replace(gallery.without(is_refused), stamp=gallery.stamp)


def _summary_stamp(out: Path) -> tuple[int, int, int]:
    found = (out / SUMMARY_FILE).stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
