"""Rename, merge and split people; the gallery follows its journal of decisions.

The journal is written first. If the process is killed before the gallery is saved, or if decisions
of another machine were imported, the next change of a person brings the gallery up to date; until
then `Decisions.person_named` finds the people of the gallery by their former names.

Functions that take the place of a gallery raise a UsageError when there is none, and a FaceOpsError
when it or its journal is damaged, in use or cannot be written, or when somebody is not enrolled.
`by` is who decides.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError, as_arguments
from faceops.dataset.names import display_name, given_name, person_key
from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry, new_batch, new_id, new_person
from faceops.gallery.storage import GalleryPlace
from faceops.gallery.store import Gallery, locked_gallery


@dataclass
class Followed:
    """A gallery to which decisions were applied."""

    gallery: Gallery
    # A sentence for each person whose faces have another name now
    done: list[str] = field(default_factory=list)
    # A sentence for each person whose new name somebody else has
    refused: list[str] = field(default_factory=list)
    # Entries for faces that the other entries of their merge do not list
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
        self._read_journal()

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

        Raises FaceOpsError: a person would get a name that somebody else has, and nothing was
        changed; a file cannot be written.
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
        self._read_journal(new)
        return new

    def _read_journal(self, new: Sequence[Entry] = ()) -> None:
        self.decisions = Decisions(self.journal.entries())
        followed = follow(self.gallery, self.decisions, new)
        self.done, self.refused = followed.done, followed.refused
        self._save(followed, [])

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


def rename(
    gallery_dir: GalleryPlace,
    old: str,
    new: str,
    *,
    is_another: bool = False,
    by: str = "",
    batch: str = "",
) -> tuple[str, int]:
    """Rename the person `old` to `new`; return the person's name and number of faces.

    The gallery remembers it: enrolling the folder `old` again enrols the person as `new`. A name
    that another person has, or had, is refused; with `is_another` the person is shown under it all
    the same, and gets it with a number as the name in the gallery, which is unique. `batch` is of
    the entries that are made.
    """
    name = given_name(new)
    with locked_people(gallery_dir) as people:
        found = people.require(old)
        old_key, new_key = person_key(found), person_key(name)
        other = people.find(name) if new_key != old_key else ""
        earlier = people.gallery.aliases.get(new_key, found)
        is_taken = bool(other) or person_key(earlier) != old_key
        if other and not is_another:
            raise FaceOpsError(
                f"{other} is enrolled already; if both are one person: faceops people merge "
                f"{as_arguments(old, new)}; if they are two who have one name: faceops people "
                f"rename --another-person {as_arguments(old, new)}"
            )
        if is_taken and not is_another:
            # Results may still have the name: forgetting the person needs to know whose it was.
            raise FaceOpsError(
                f"{new} was {earlier}'s name before; choose another one, or add --another-person."
            )
        batch, shown = batch or new_batch(), name
        if is_taken:
            name = _numbered(people, name, old_key)
        if name != found or is_taken:
            person, entries = people.decisions.naming(found)
            about = Entry(Action.NAME, person=person, detail=name, by=by, batch=batch)
            showing = replace(about, id=new_id(), action=Action.SHOW, detail=shown)
            people.decide([*entries, about, *([showing] if is_taken else [])])
        return name, people.gallery.count_of(name)


def _numbered(people: People, name: str, own_key: str) -> str:
    for number in itertools.count(2):
        numbered = f"{name} ({number})"
        key = person_key(numbered)
        if key == own_key or not (people.find(numbered) or key in people.gallery.aliases):
            return numbered
    raise AssertionError


def merge(
    gallery_dir: GalleryPlace, gone: str, kept: str, *, by: str = "", batch: str = ""
) -> tuple[str, int]:
    """Merge the person `gone` into `kept`, equal faces once; return as `rename`."""
    name = given_name(kept)
    with locked_people(gallery_dir) as people:
        found = people.require(gone)
        if person_key(found) == person_key(name):
            raise UsageError(f"{gone} and {kept} are one name; name two people.")
        if not (name := people.find(name)):
            raise FaceOpsError(f"{kept} is not in the gallery {gallery_dir}; to rename: rename.")
        person, entries = people.decisions.naming(found)
        into, more = people.decisions.naming(name)
        # So that the earlier names are that person's again when the merge is undone.
        aliases = [
            Entry(Action.NAME, person=person, detail=key)
            for key, target in people.gallery.aliases.items()
            if person_key(target) == person_key(found) and not people.decisions.person_named(key)
        ]
        if aliases and not entries:
            entries = [Entry(Action.NAME, person=person, detail=found)]
        moved = tuple(sorted(places_moved(people.gallery, found, name)))
        batch = batch or new_batch()
        about = Entry(Action.MERGE, person=person, detail=into, moved=moved, by=by, batch=batch)
        people.decide([*aliases, *entries, *more, about])
        return name, people.gallery.count_of(name)


def split(gallery_dir: GalleryPlace, kept: str, gone: str = "", *, by: str = "") -> tuple[str, int]:
    """Undo that the person `gone` was merged into `kept`; return the name and number of faces.

    The faces that came from `gone` are that person's again, those that were enrolled since stay;
    decisions about `gone` too. Without `gone` if only one person was merged into `kept`.
    """
    with locked_people(gallery_dir) as people:
        name = people.require(kept)
        decisions = people.decisions
        person = decisions.current(decisions.person_named(name))
        merged = {
            entry.person: decisions.own_name(entry.person)
            for entry in decisions.merges()
            if decisions.holds(entry.id) and decisions.current(entry.person) == person
        }
        keys = {person_key(display_name(gone))} if gone else set()
        chosen = {
            one
            for one in merged
            if not keys or keys & set(map(person_key, decisions.names_of(one)))
        }
        if len(chosen) != 1:
            raise FaceOpsError(_cannot_split(people, name, gone, sorted(merged.values())))
        (one,) = chosen
        undone = Entry(Action.UNDO, by=by, batch=new_batch())
        merges = decisions.merges_of(one)
        people.decide([replace(undone, id=new_id(), detail=entry.id) for entry in merges])
        return merged[one], people.gallery.count_of(merged[one])


def _cannot_split(people: People, kept: str, gone: str, merged: list[str]) -> str:
    if merged:
        which = f"{gone} was not merged into {kept}" if gone else f"several people are {kept}"
        return f"{which}; name one of these: {', '.join(merged)}."
    earlier = [
        key
        for key, target in people.gallery.aliases.items()
        if person_key(target) == person_key(kept)
    ]
    what = f"nobody was merged into {kept} since this gallery has a journal of decisions"
    if not earlier:
        return f"{what}."
    return (
        f"{what}; {', '.join(sorted(earlier))} may have been merged before, and that cannot be "
        f"undone: faceops people unalias {as_arguments(earlier[0])}, and enrol that person's "
        "photos again."
    )


def unalias(gallery_dir: GalleryPlace, name: str, *, by: str = "") -> str:
    """Drop the earlier name `name`, in any spelling; return the person, who keeps the faces.

    A person who gets the name from now on is another one for the journal too.
    """
    with locked_people(gallery_dir) as people:
        name = display_name(name)
        key = person_key(name)
        if key not in people.gallery.aliases:
            raise FaceOpsError(
                f"{name} is not an earlier name of a person in the gallery {gallery_dir}; "
                "`faceops people list` shows the earlier names."
            )
        if not people.find(name) and people.decisions.person_named(name):
            another = Entry(Action.NAME, person=new_person(), detail=name, by=by)
            people.decide([replace(another, batch=new_batch())])
        others = dict(people.gallery.aliases)
        kept = others.pop(key)
        people.gallery.with_aliases(others).save()
        return kept


def current_key(aliases: Mapping[str, str], name: str) -> str:
    """Return the key (`person_key`) of the name that the person `name` has now, in any spelling."""
    key = person_key(display_name(name))
    visited = {key}
    while key in aliases:
        key = person_key(aliases[key])
        if key in visited:  # only a file that was edited by hand has a cycle
            break
        visited.add(key)
    return key


def keys_of_person(aliases: Mapping[str, str], name: str) -> frozenset[str]:
    """Return the keys of every name of the person who is, or was, called `name`."""
    current = current_key(aliases, name)
    earlier = {key for key in aliases if current_key(aliases, key) == current}
    return frozenset({current, *earlier, person_key(display_name(name))})
