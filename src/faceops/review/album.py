"""The decisions that people make on the review page."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from faceops.base.errors import UsageError, printable
from faceops.dataset.names import given_name, person_key
from faceops.faces.detector import Box
from faceops.gallery import history as histories
from faceops.gallery import people as enrolled_people
from faceops.gallery.history import undoable
from faceops.gallery.journal import TRUSTED, Action, Entry, Ignored, new_batch, new_person
from faceops.gallery.people import locked_people
from faceops.gallery.similarity import Agreement
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import ForgetResult, forget_person
from faceops.identification.unknown.unknown_people import is_unknown_name, unknown_number
from faceops.review import lists
from faceops.review.decided import SURE, DecidedAlbum
from faceops.review.faces import FaceKey
from faceops.review.live import Change
from faceops.review.views import AlbumViews

T = TypeVar("T")

SMALLEST_BOX = 4  # pixels, of one that is drawn by hand


@dataclass(frozen=True)
class Outcome:
    batch: str = ""  # id that `undo` takes; "" if nothing was decided
    question: str = ""  # to be answered before the decision is made, "" if it was made
    person: str = ""  # name in the gallery of a person who was renamed or merged


class Album(AlbumViews):
    """An album with the decisions that change it; thread-safe.

    Each decision returns the id of its batch, for `undo`. It raises a UsageError if a face or an
    unknown person does not exist any more, and a FaceOpsError if the journal cannot be written.
    """

    def confirm(self, keys: Sequence[FaceKey], person: str, listed: bool = False) -> str:
        """Decide that these faces show `person`.

        With `listed` (the name was chosen from the page's list, not typed) the person must exist:
        a page that is still open must not bring back somebody who was forgotten since.
        """
        with self.lock:
            if listed:
                self._require(person)
            return self._decide_who(keys, Action.CONFIRM, person)

    def doubt(self, keys: Sequence[FaceKey], person: str) -> str:
        """Return a question if a new `person` would get faces very likely of another one, or "".

        A misspelled name would become a second person with the same faces, and faces that are like
        both would be ambiguous.
        """
        album = self.decided
        if self._name_of(album, given_name(person)) in album.people:
            return ""
        faces = self._reviewed(album, np.array([album.row(key) for key in keys]))
        best = (face.candidates[0] for face in faces if face.candidates)
        sure = Counter(one.shown for one in best if one.words in SURE)
        if not sure:
            return ""
        ((other, count),) = sure.most_common(1)
        what = "This face is" if len(keys) == 1 else f"{count} of the {len(keys)} faces are"
        return f"{what} very likely {other}. Is {given_name(person)} another person?"

    def refuse(self, keys: Sequence[FaceKey], person: str) -> str:
        """Decide that these faces do not show `person`."""
        with self.lock:
            self._require(person)
            return self._decide_who(keys, Action.REFUSE, person)

    def ignore(self, keys: Sequence[FaceKey], kind: str = Ignored.STRANGER) -> str:
        """Decide that nobody is to be asked about these faces; `kind` is an `Ignored`."""
        if kind not in list(Ignored):
            raise UsageError(f"a face is ignored as {', '.join(Ignored)}, not as {kind!r}.")
        with self.lock:
            return self._decide(self._about(keys, Action.IGNORE, detail=kind), keys)

    def draw(self, photo_id: str, box: Box, person: str) -> str:
        """Decide that the box, x, y, width, height in upright pixels, shows `person`."""
        with self.lock:
            width, height = self.decided.photos.sizes[self.decided.photo_at(photo_id)].tolist()
            x, y, w, h = box
            if min(w, h) < SMALLEST_BOX:
                raise UsageError("the box is too small; draw it again.")
            if not (0 <= x < x + w <= width and 0 <= y < y + h <= height):
                raise UsageError("the box lies outside the photo; draw it again.")
            person_id, entries = self._naming(person)
            drawn = Entry(Action.DRAW, photo_id, (x, y, w, h), (width, height), person_id)
            return self._write([*entries, drawn], {photo_id}, draws=True)

    def undo(self, batch: str) -> str:
        with self.lock:
            entries = histories.batches_of(self.decisions).get(batch, [])
            undone = undoable(self.decisions, entries)
            if not undone:
                raise UsageError("this decision was undone already; load the page again.")
            about = [self.decisions.subject(one) for one in undone]
            photos = {one.photo_id for one in about if one.photo_id}
            entries = [Entry(Action.UNDO, detail=one.id) for one in undone]
            if any(one.action in (Action.NAME, Action.SHOW, Action.MERGE) for one in about):
                batch, entries = self._as_batch(entries)
                self._change_people(lambda: self._decide_people(entries))
                return batch
            draws = any(one.action == Action.DRAW for one in about)
            return self._write(entries, photos, draws)

    def name_group(
        self, unknown: str, person: str, trust: bool = False, faces: int | None = None
    ) -> Outcome:
        """Decide that all faces of an unknown person show `person`; `faces`: see `_keys_of`."""
        with self.lock:
            keys = self._keys_of(unknown, faces)
            album, name = self.decided, self._name_of(self.decided, given_name(person))
            embeddings = album.photos.embeddings[[album.row(key) for key in keys]]
            if not trust and (question := self._disagreement(embeddings, name, album.gallery)):
                return Outcome(question=question)
            return Outcome(self._decide_who(keys, Action.CONFIRM, person, TRUSTED if trust else ""))

    def merge_groups(self, one: str, other: str, faces: int | None = None) -> str:
        """Merge two unknown people under the number of `one`; `faces`: see `_keys_of`."""
        with self.lock:
            if unknown_number(one) == unknown_number(other):
                raise UsageError(f"{printable(one)} is merged with another unknown person only.")
            first, second = self._keys_of(one, faces), self._keys_of(other)
            keys, number = [*first, *second], unknown_number(one)
            about = self._about(keys, Action.CONFIRM, new_person())
            return self._decide(about, keys, lambda album: _regrouped(album, keys, number))

    def split(self, keys: Sequence[FaceKey]) -> str:
        """Decide that these faces of an unknown person are another unknown person."""
        with self.lock:
            album, person = self.decided, new_person()
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

    def merge_people(self, gone: str, kept: str, trust: bool = False) -> Outcome:
        """Merge `gone` into `kept`; without `trust` only if their faces are similar."""
        with self.lock:
            album, folder, batch = self.decided, self.place, new_batch()
            gone, kept = self._name_of(album, gone), self._name_of(album, kept)
            faces = album.gallery.faces
            is_gone = faces.where("person", [gone])
            embeddings = faces.embeddings[is_gone]
            if not len(embeddings):
                embeddings = album.photos.embeddings[lists.person_rows(album, gone)]
            others = album.gallery.without(is_gone)
            if not trust and (question := self._disagreement(embeddings, kept, others)):
                return Outcome(question=question)
            name, _ = self._change_people(
                lambda: enrolled_people.merge(folder, gone, kept, by=self.by, batch=batch)
            )
            return Outcome(batch, person=name)

    def rename(self, old: str, new: str, is_another: bool = False) -> Outcome:
        """Rename a person; with `is_another`, another person may have the same name."""
        with self.lock:
            folder, batch = self.place, new_batch()
            old, other = (self._name_of(self.decided, given_name(one)) for one in (old, new))
            is_taken = other in self.decided.people and person_key(other) != person_key(old)
            if is_taken and not is_another:
                return Outcome(
                    question=f"{given_name(new)} is, or was, the name of {other}. Are {old} and "
                    f"{other} one person, or two people with one name?"
                )
            name, _ = self._change_people(
                lambda: enrolled_people.rename(
                    folder, old, new, is_another=is_another, by=self.by, batch=batch
                )
            )
            is_made = any(one.batch == batch for one in self.decisions.entries.values())
            return Outcome(batch if is_made else "", person=name)

    def forget(self, person: str) -> ForgetResult:
        """Remove a person from the gallery, its journal and all results."""
        done = forget_person(self.place, person, (self.out,))
        self.reload()
        return done

    def choose_picture(self, person: str, key: FaceKey) -> str:
        """Choose the face that is shown as a person's picture."""
        with self.lock:
            self._require(person)
            person_id, entries = self._naming(person)
            chosen = self._about([key], Action.PICTURE, person_id)
            return self._write([*entries, *chosen], set())

    def drop_enrolled(self, crop_id: str) -> str:
        """Decide that an enrolled face does not show its person, which removes it."""
        with self.lock:
            face = self._enrolled(crop_id)
            person_id, entries = self._naming(face.person)
            refused = Entry(Action.REFUSE, face.photo_id, face.box, person=person_id)
            return self._write([*entries, refused], {face.photo_id})

    def _naming(self, person: str) -> tuple[str, list[Entry]]:
        name = self._name_of(self.decided, given_name(person))
        if is_unknown_name(name):
            raise UsageError(f"{name} is nobody's name: faces without a name are called so.")
        return self.decisions.naming(name)

    def _about(
        self, keys: Collection[FaceKey], action: Action, person: str = "", detail: str = ""
    ) -> list[Entry]:
        if not keys:
            raise UsageError("no face is chosen.")
        photos = self.decided.photos
        entries = []
        for key in dict.fromkeys(keys):
            row = self.decided.row(key)
            x, y, w, h = photos.faces["box"][row].tolist()
            width, height = photos.sizes[self.decided.photo[row]].tolist()
            place = key.partition(".")[0], (x, y, w, h), (width, height)
            entries.append(Entry(action, *place, person, detail))
        return entries

    def _decide_who(
        self, keys: Collection[FaceKey], action: Action, person: str, detail: str = ""
    ) -> str:
        """Write that the faces show a person, or do not."""
        person_id, entries = self._naming(person)
        return self._decide(entries + self._about(keys, action, person_id, detail), keys)

    def _decide(
        self, entries: list[Entry], keys: Collection[FaceKey], change: Change | None = None
    ) -> str:
        return self._write(entries, {key.partition(".")[0] for key in keys}, change=change)

    def _write(
        self,
        entries: Sequence[Entry],
        photo_ids: set[str],
        draws: bool = False,
        change: Change | None = None,
    ) -> str:
        batch, made = self._as_batch(entries)
        self.write(made, photo_ids, draws, change)
        return batch

    def _as_batch(self, entries: Sequence[Entry]) -> tuple[str, list[Entry]]:
        """Return the id of a new batch, and the entries in it, by who decides.

        Entries that name a person have no batch: they stay when the batch is undone.
        """
        batch = new_batch()
        return batch, [
            replace(entry, by=self.by, batch="" if entry.action == Action.NAME else batch)
            for entry in entries
        ]

    def _decide_people(self, entries: Sequence[Entry]) -> None:
        with locked_people(self.place) as people:
            people.decide(entries)

    def _require(self, person: str) -> None:
        name = self._name_of(self.decided, given_name(person))
        if name not in self.decided.people:
            raise UsageError(f"{printable(person)} is not in the album; load the page again.")

    def _keys_of(self, unknown: str, faces: int | None = None) -> list[FaceKey]:
        """Return the faces of an unknown person.

        UsageError if they are not as many as the page showed, `faces`: the group was changed since
        in another tab or by another user, who must look at it again.
        """
        rows = lists.group_rows(self.decided, unknown_number(unknown))
        if not len(rows):
            raise UsageError(f"there is no {printable(unknown)} any more; load the page again.")
        if faces not in (None, len(rows)):
            raise UsageError(
                f"{printable(unknown)} has {len(rows)} faces now, not the {faces} that were shown; "
                "load the page again."
            )
        return [self.decided.key(row) for row in rows.tolist()]

    def _disagreement(self, embeddings: np.ndarray, name: str, gallery: Gallery) -> str:
        """Return the question to ask before faces, (N, D), are an enrolled person's, or ""."""
        contradiction = Agreement(gallery, self.bundle).contradiction(name, embeddings)
        return f"{contradiction}. Do they show {name} all the same?" if contradiction else ""

    def _change_people(self, act: Callable[[], T]) -> T:
        """Call `act`, which changes people in gallery and journal, and show the new names.

        A person who is split off appears only when the whole album has been decided again.
        """
        with self.lock:
            before = {self.decisions.person_id(name): name for name in self.decided.people}
            done = self.change_gallery(act)
            renames = [
                (name, now)
                for person, name in before.items()
                if (now := self.decisions.name(person)) not in ("", name)
            ]
            shown_name = self.decisions.shown_name
            self.apply(lambda album: _with_names(album, renames, shown_name))
            return done


def _with_names(
    album: DecidedAlbum, renames: Sequence[tuple[str, str]], shown_name: Callable[[str], str]
) -> DecidedAlbum:
    for old, new in renames:
        album = album.renamed(old, new)
    return replace(album, shown=list(map(shown_name, album.people)))


def _regrouped(album: DecidedAlbum, keys: Sequence[FaceKey], number: int) -> DecidedAlbum:
    unknown = album.unknown.copy()
    unknown[[album.row(key) for key in keys]] = number
    return replace(album, unknown=unknown)
