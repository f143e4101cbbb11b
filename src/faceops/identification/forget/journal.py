"""What the journal of decisions holds of a person, to be removed from it."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry
from faceops.gallery.names import current_key, display_name, keys_of_person, person_key
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.gallery.store import Gallery
from faceops.identification.forget.output_folder import NamedFace

_NAMES = (Action.NAME, Action.SHOW)
_SHOWS = (Action.CONFIRM, Action.DRAW)


@dataclass(frozen=True)
class JournalPerson:
    """A person in the gallery and in its journal.

    Attributes:
        ids: of the person in the journal, and of those who were merged into them.
        keys: of all names that are, or were, the person's and nobody else's.
        shown: keys of the names under which they were shown, which others may have too.
        also_shown: names of other people who are shown under a name of this one.
    """

    ids: frozenset[str]
    keys: frozenset[str]
    shown: frozenset[str]
    also_shown: list[str] = field(default_factory=list)

    @classmethod
    def find(cls, gallery: Gallery, decisions: Decisions, name: str) -> "JournalPerson":
        """Return who is, or was, called `name`."""
        own = keys_of_person(gallery.aliases, name)
        people = decisions.people()
        enrolled = {*gallery.keys.values()}
        current = {one for one, called in people.items() if _key(gallery, called) in own}
        if not current and not own & enrolled:
            former = decisions.current(decisions.person_named(display_name(name)))
            if person_key(people.get(former, "")) not in enrolled:
                current = {former} - {""}
        named = {entry.person for entry in decisions.entries.values() if entry.person}
        ids = {one for one in named if decisions.current(one) in current}
        others = {_key(gallery, called) for one, called in people.items() if one not in current}
        others |= enrolled - own
        was = {person_key(called) for one in ids for called in decisions.names_of(one)}
        own |= {key for key in was if key not in others and _key(gallery, key) in own | was}
        shows = [e for e in decisions.entries.values() if e.action == Action.SHOW]
        shown = {person_key(entry.detail) for entry in shows if entry.person in ids}
        also = [
            called
            for one, called in people.items()
            if one not in ids and person_key(decisions.shown_name(called)) in own
            if person_key(called) not in own
        ]
        return cls(frozenset(ids), frozenset(own), frozenset(shown), also)

    def is_named(self, text: str) -> bool:
        """Return whether a text is a name or an id of the person."""
        return text in self.ids or person_key(text) in self.keys

    def confirmed(self, decisions: Decisions) -> list[NamedFace]:
        """Return the faces that show the person as somebody decided."""
        return [
            NamedFace(photo_id, "", place.box)
            for photo_id in decisions.photos()
            for place in decisions.places(photo_id)
            if place.person in self.ids
        ]

    def entries(self, decisions: Decisions, faces: Iterable[NamedFace]) -> list[Entry]:
        """Return all entries about the person, and about `faces`, which are theirs.

        Faces that are confirmed as somebody else now keep the entries about others.
        """
        found = {entry.id for entry in decisions.entries.values() if self._is_about(entry)}
        shown = {
            (entry.photo_id, entry.box)
            for entry in decisions.entries.values()
            if entry.id in found and entry.action in _SHOWS and decisions.holds(entry.id)
        }
        places = shown | {(face.photo_id, face.box) for face in faces}
        for photo_id, box in places:
            if box is None or photo_id not in decisions.photos():
                continue
            (place,) = decisions.match(photo_id, [box])
            if place is None or not place.person or place.person in self.ids:
                found |= {entry.id for entry in decisions.about_face(photo_id, box)}
        undone = -1
        while undone != len(found):  # what undoes them, and what undoes that; links of photos
            undone = len(found)
            found |= {
                entry.id
                for entry in decisions.entries.values()
                if entry.action == Action.UNDO and entry.detail in found
            }
            found |= _idle_links(decisions, found)
        return [entry for entry in decisions.entries.values() if entry.id in found]

    def _is_about(self, entry: Entry) -> bool:
        is_merged = entry.action == Action.MERGE and entry.detail in self.ids
        is_named = entry.action in _NAMES and person_key(entry.detail) in self.keys
        return entry.person in self.ids or is_merged or is_named

    def remove(self, gallery: GalleryPlace, faces: Collection[NamedFace]) -> list[Entry]:
        """Remove these entries from the journal; return them.

        Entries of others that the person made stay, without the person's name.

        Raises: as `Journal.remove`.
        """
        journal = storage_of(gallery).journal()
        decisions = Decisions(journal.entries())
        removed = self.entries(decisions, faces)
        gone = {entry.id for entry in removed}
        signed = [
            entry
            for entry in decisions.entries.values()
            if entry.id not in gone and entry.by and self.is_named(entry.by)
        ]
        journal.remove(
            [*gone, *(entry.id for entry in signed)], [replace(entry, by="") for entry in signed]
        )
        return removed

    def marks(self, removed: Iterable[Entry], *names: str) -> list[bytes]:
        """Return what the bytes of the journal must not hold: the ids, and the names as JSON."""
        texts = [*self.ids, *names]
        texts += [e.detail for e in removed if e.action in _NAMES and self.is_named(e.detail)]
        return [json.dumps(text, ensure_ascii=False).encode() for text in dict.fromkeys(texts)]


def _idle_links(decisions: Decisions, gone: Collection[str]) -> set[str]:
    """Return the entries that link photos none of which has a decision but `gone`."""
    kept = [entry for entry in decisions.entries.values() if entry.id not in gone]
    links = [entry for entry in kept if entry.action == Action.SAME]
    decided = {entry.photo_id for entry in kept if entry.action != Action.SAME} - {""}
    while links:
        used = [one for one in links if one.photo_id in decided or one.detail in decided]
        if not used:
            break
        decided |= {photo_id for one in used for photo_id in (one.photo_id, one.detail)}
        links = [one for one in links if one not in used]
    return {one.id for one in links}


def _key(gallery: Gallery, name: str) -> str:
    return current_key(gallery.aliases, name)
