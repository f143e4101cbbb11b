"""Rename, merge, split and show enrolled people.

All functions raise a UsageError when there is no gallery, and a FaceOpsError when it or its journal
is damaged, in use or cannot be written, or when somebody is not enrolled. `by` is who decides.
"""

import contextlib
import itertools
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.crops import format_1_crops
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.follow import People, locked_people, places_moved
from faceops.gallery.journal import Action, Entry, new_batch, new_id, new_person
from faceops.gallery.names import as_arguments, display_name, given_name, person_key
from faceops.gallery.storage import FACES_FILE, GalleryPlace, storage_of
from faceops.gallery.store import Gallery


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


@dataclass(frozen=True)
class EnrolledFace:
    """One face of a person, as `faceops people show` prints it.

    Attributes:
        mean_similarity: mean cosine to the person's other faces, -1 to 1; None for an only face.
        other: the other person with the most similar face; "" if there is none.
        other_similarity: cosine to that face; None if there is none.
    """

    photo: str
    photo_id: str
    quality: float
    mean_similarity: float | None
    other: str
    other_similarity: float | None

    @property
    def is_suspicious(self) -> bool:
        """Whether it is more like another person's face than like the person's own faces."""
        own, other = self.mean_similarity, self.other_similarity
        return own is not None and other is not None and other > own


def show(gallery: Gallery, name: str) -> tuple[str, list[EnrolledFace]]:
    """Return the name that is shown and the faces of `name`, the least similar first."""
    key = person_key(display_name(name))
    names = [person for person in gallery.people if person_key(person) == key]
    own = gallery.faces.where("person", names)
    if not own.any():
        raise FaceOpsError(f"{name} is not in the gallery {gallery.storage}.")
    rows, others = np.flatnonzero(own), np.flatnonzero(~own)
    cosines = gallery.embeddings[rows] @ gallery.embeddings.T  # (faces, M)
    faces = []
    for row, face, cosine in zip(rows, gallery.faces.take(rows), cosines, strict=True):
        same, other, similarity = cosine[rows[rows != row]], "", None
        mean = round(float(same.mean()), 4) if len(same) else None
        if len(others):
            nearest = others[np.argmax(cosine[others])]
            other, similarity = gallery.persons[nearest], round(float(cosine[nearest]), 4)
        quality = round(face.quality, 4)
        faces.append(EnrolledFace(face.photo, face.photo_id, quality, mean, other, similarity))
    faces.sort(key=lambda face: (2.0 if (s := face.mean_similarity) is None else s, face.photo))
    return gallery.faces[int(rows[0])].person, faces


def portraits(place: GalleryPlace, people: Collection[str]) -> dict[str, bytes]:
    """Return the crop (PNG) of the best face of each of `people` who is enrolled at `place`."""
    storage = storage_of(place)
    if not people or not storage.contract_id():
        return {}
    gallery = Gallery.open(place)
    best: dict[str, tuple[int, GalleryFace]] = {}
    rows = np.flatnonzero(gallery.faces.where("person", people))
    for row, face in zip(rows.tolist(), gallery.faces.take(rows), strict=True):
        if face.person not in best or face.quality > best[face.person][1].quality:
            best[face.person] = row, face
    if gallery.format_version == 1 and storage.folder:
        wanted = {row: person for person, (row, _) in best.items()}
        crops = enumerate(format_1_crops(storage.folder / FACES_FILE))
        return {wanted[row]: crop for row, crop in crops if row in wanted and crop}
    found: dict[str, bytes] = {}
    for person, (_, face) in best.items():
        with contextlib.suppress(FileNotFoundError):  # forgotten by another process since then
            found[person] = storage.png(face.crop_id)
    return found
