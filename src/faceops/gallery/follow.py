"""Apply the names and merges of a journal of decisions to its gallery.

The journal is written first. If the process is killed before the gallery is saved, or if decisions
of another machine were imported, the next change of a person brings the gallery up to date; until
then `Decisions.person_named` finds the people of the gallery by their former names.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry, new_id
from faceops.gallery.names import as_arguments, display_name, person_key
from faceops.gallery.storage import GalleryPlace
from faceops.gallery.store import Gallery, locked_gallery


@dataclass
class Followed:
    """A gallery to which decisions were applied.

    Attributes:
        done: a sentence for each person whose faces have another name now.
        refused: a sentence for each person whose new name somebody else has.
        merges: entries for faces that the other entries of their merge do not list.
    """

    gallery: Gallery
    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    merges: list[Entry] = field(default_factory=list)


def follow(gallery: Gallery, decisions: Decisions, made: Sequence[Entry] = ()) -> Followed:
    """Return `gallery` with the names that `decisions` give to its people.

    Args:
        made: the latest entries of `decisions`. Changes of spelling apply only to people whom they
            name; merges that they undo are undone even if the earlier name is no alias any more.
    """
    changed = [decisions.subject(entry) for entry in made]
    spelled = {entry.person for entry in changed if entry.action == Action.NAME}
    done = Followed(gallery)
    _split(done, decisions, {entry.id for entry in changed})
    for name, key in done.gallery.keys.items():
        if not (named := decisions.person_with_key(key)):
            continue
        person = decisions.current(named)
        target = decisions.name(person)
        if target in ("", name) or (person_key(target) == key and person not in spelled):
            continue
        enrolled = {known: one for one, known in done.gallery.keys.items()}
        other = enrolled.get(person_key(target), name)
        if person_key(other) == key:
            done.done.append(f"{name} is {target} now")
        elif named != person:
            target = other
            done.done.append(f"{name} and {target} are one person: {target}")
            merges = decisions.merges_of(named)
            noted = {place for entry in merges for place in entry.moved}
            if missing := places_moved(done.gallery, name, target) - noted:
                moved = tuple(sorted(missing))
                done.merges.append(replace(merges[-1], id=new_id(), detail=person, moved=moved))
        else:
            done.refused.append(
                f"{name} was renamed {target}, but {other} is enrolled already; if both are one "
                f"person: faceops people merge {as_arguments(name, other)}; else rename one of them"
            )
            continue
        done.gallery = renamed(done.gallery, name, target)
    return done


def renamed(gallery: Gallery, old: str, new: str) -> Gallery:
    """Return `gallery` with `new` instead of the person's name `old`, which becomes an alias."""
    old_key, new_key = person_key(old), person_key(new)
    aliases = {
        key: new if person_key(target) == old_key else target
        for key, target in gallery.aliases.items()
    }
    if old_key != new_key:
        aliases[old_key] = new
    aliases.pop(new_key, None)
    return gallery.renamed({old: new}).with_aliases(aliases)


def places_moved(gallery: Gallery, gone: str, kept: str) -> set[tuple[str, Box]]:
    """Return the places of the faces that change their person when `gone` becomes `kept`."""
    faces = gallery.faces
    places = {
        person: {(face.photo_id, face.box) for face in faces.take(faces.where("person", [person]))}
        for person in (gone, kept)
    }
    return places[gone] - places[kept]


def _split(done: Followed, decisions: Decisions, changed: Collection[str]) -> None:
    """Return faces to people whose merge was undone; until then their name is an alias."""
    for entry in decisions.merges():
        gone, kept = decisions.name(entry.person), decisions.name(entry.detail)
        if decisions.current(entry.person) != entry.person or not gone or not kept:
            continue
        alias = done.gallery.aliases.get(person_key(gone), "")
        if entry.id not in changed and person_key(alias) != person_key(kept):
            continue
        places: dict[str, list[Box]] = {}
        for photo_id, box in entry.moved:
            places.setdefault(photo_id, []).append(box)
        faces = done.gallery.faces
        theirs = [name for name, key in done.gallery.keys.items() if key == person_key(kept)]
        near = np.flatnonzero(faces.where("person", theirs) & faces.where("photo_id", places))
        is_back = [
            any(box_overlap(box, face.box) >= SAME_BOX for box in places[face.photo_id])
            for face in faces.take(near)
        ]
        back = near[np.array(is_back, bool)]
        own = {person_key(name) for name in decisions.names_of(entry.person)}
        aliases = {
            key: gone if key in own and person_key(target) == person_key(kept) else target
            for key, target in done.gallery.aliases.items()
            if key != person_key(gone)
        }
        if not len(back) and aliases == done.gallery.aliases:
            continue
        done.done.append(f"{gone} is not {kept} any longer: {len(back)} faces are {gone}'s again")
        faces = faces.with_persons(back, [gone] * len(back))
        done.gallery = replace(done.gallery, faces=faces, stamp="").with_aliases(aliases)


class People:
    """The people of a locked gallery and of its journal, which agree except for `refused`.

    Attributes:
        done, refused: see `Followed`, of what was left to do when the gallery was locked.
    """

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.journal = gallery.storage.journal()
        self.decisions = Decisions(self.journal.entries())
        followed = follow(gallery, self.decisions)
        self.done, self.refused = followed.done, followed.refused
        if followed.done:
            self._save(followed, [])

    def find(self, name: str) -> str:
        """Return the name of an enrolled person, or of one in the journal; "" if there is none."""
        key = person_key(display_name(name))
        names = {person_key(known): known for known in self.decisions.people().values()}
        names |= {known: person for person, known in self.gallery.keys.items()}
        return names.get(key, "")

    def require(self, name: str) -> str:
        """Return the same; raise a FaceOpsError if there is none."""
        if known := self.find(name):
            return known
        raise FaceOpsError(f"{name} is not in the gallery {self.gallery.storage}.")

    def decide(self, entries: Sequence[Entry]) -> list[str]:
        """Add entries to the journal, and apply them; return what changed in the gallery.

        Raises:
            FaceOpsError: a person would get a name that somebody else has, and nothing was changed;
                a file cannot be written.
        """
        after = Decisions([*self.decisions.entries.values(), *entries])
        followed = follow(self.gallery, after, entries)
        refused = [line for line in followed.refused if line not in self.refused]
        refused += sorted(_doubled(after) - _doubled(self.decisions))
        if refused:
            raise FaceOpsError(f"{refused[0]}. Nothing was changed.")
        self._save(followed, entries)
        return followed.done

    def add(self, entries: Sequence[Entry]) -> list[Entry]:
        """Add entries of another machine, and apply them; return the new ones.

        Afterwards `done` and `refused` are of this change. Raises: as `Journal.merge`.
        """
        new = self.journal.merge(entries)
        self.decisions = Decisions(self.journal.entries())
        followed = follow(self.gallery, self.decisions, new)
        self.done, self.refused = followed.done, followed.refused
        self._save(followed, [])
        return new

    def _save(self, followed: Followed, entries: Sequence[Entry]) -> None:
        if added := [*entries, *followed.merges]:
            self.decisions.add(self.journal.append(added))
        self.gallery = followed.gallery.save() if followed.done else followed.gallery


def _doubled(decisions: Decisions) -> set[str]:
    """Return a sentence for each name that two people have."""
    names: dict[str, list[str]] = {}
    for name in decisions.people().values():
        names.setdefault(person_key(name), []).append(name)
    return {
        f"{same[0]} is another person's name now; give that person another name first: "
        f"faceops people rename {as_arguments(same[0], 'NAME')}"
        for same in names.values()
        if len(same) > 1
    }


@contextmanager
def locked_people(gallery: GalleryPlace) -> Iterator[People]:
    """Lock the gallery, and yield its people, to be changed.

    Raises: as `locked_gallery`; FaceOpsError: the journal is damaged.
    """
    with locked_gallery(gallery) as opened:
        yield People(opened)
