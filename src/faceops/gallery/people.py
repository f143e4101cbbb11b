"""Give an enrolled person another name, or join two entries of one person."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.locks import folder_lock
from faceops.gallery.names import display_name, given_name, person_key
from faceops.gallery.store import FACES_FILE, Gallery


def rename(gallery_dir: Path, old: str, new: str) -> tuple[str, int]:
    """Call the person `old` `new`; return the name that is shown and how many faces have it.

    The gallery remembers it: enrolling the folder `old` again enrols the person as `new`.

    Raises:
        UsageError: there is no gallery, or `new` is no name.
        FaceOpsError: `old` is not enrolled, or `new` is, or was, the name of another person.
    """
    return _moved(gallery_dir, old, new, joins=False)


def merge(gallery_dir: Path, gone: str, kept: str) -> tuple[str, int]:
    """Make the faces of `gone` faces of `kept`, both enrolled; return as `rename`.

    Of a face that both have, one stays.

    Raises:
        UsageError: there is no gallery, or both names are one.
        FaceOpsError: one of them is not enrolled.
    """
    return _moved(gallery_dir, gone, kept, joins=True)


def _moved(gallery_dir: Path, old: str, new: str, *, joins: bool) -> tuple[str, int]:
    name = given_name(new)
    Gallery.open(gallery_dir)  # before the lock, which would make the folder
    with folder_lock(gallery_dir):
        gallery = Gallery.open(gallery_dir, crops=True)
        held = {person_key(person): person for person in gallery.people}
        old_key, new_key = person_key(display_name(old)), person_key(name)
        if old_key not in held:
            raise FaceOpsError(f"{old} is not in the gallery {gallery_dir}.")
        if joins and old_key == new_key:
            raise UsageError(f"{old} and {new} are one name; name two people.")
        if joins and new_key not in held:
            raise FaceOpsError(f"{new} is not in the gallery {gallery_dir}; to rename: rename.")
        if not joins and new_key in held and new_key != old_key:
            raise FaceOpsError(
                f"{held[new_key]} is enrolled already; if both are one person: "
                f"faceops people merge {old!r} {new!r}"
            )
        earlier = gallery.aliases.get(new_key)
        if not joins and earlier is not None and person_key(earlier) != old_key:
            # Results may hold it still: whose they are must stay known, to forget them one day.
            raise FaceOpsError(f"{new} was {earlier}'s name before; choose another one.")
        name = held[new_key] if joins else name
        names = {person: person for person in gallery.people} | {held[old_key]: name}
        aliases = {
            key: name if person_key(target) == old_key else target
            for key, target in gallery.aliases.items()
        }
        if old_key != new_key:
            aliases[old_key] = name
        aliases.pop(new_key, None)
        changed = gallery.renamed(names).with_aliases(aliases)
        changed.save()
    return name, sum(face.person == name for face in changed.faces)


def unalias(gallery_dir: Path, name: str) -> str:
    """Drop the earlier name `name`, in any spelling; return the person who had it.

    The faces stay with that person.

    Raises:
        UsageError: there is no gallery.
        FaceOpsError: `name` is no earlier name of anybody; the gallery is in use or damaged.
    """
    Gallery.open(gallery_dir)  # before the lock, which would make the folder
    with folder_lock(gallery_dir):
        gallery = Gallery.open(gallery_dir, crops=True)
        key = person_key(display_name(name))
        if key not in gallery.aliases:
            raise FaceOpsError(
                f"{name} is not an earlier name of anybody in the gallery {gallery_dir}; "
                "`faceops people list` shows the earlier names."
            )
        others = {old: new for old, new in gallery.aliases.items() if old != key}
        gallery.with_aliases(others).save()
        return gallery.aliases[key]


@dataclass(frozen=True)
class ShownFace:
    """One enrolled face.

    Attributes:
        likeness: mean cosine to the person's other faces, -1 to 1; None for an only face.
        other: the person, other than this one, whose face is the most alike; "" if there is none.
        other_likeness: cosine to that face; None if there is none.
    """

    photo: str
    photo_id: str
    quality: float
    likeness: float | None
    other: str
    other_likeness: float | None

    @property
    def is_odd(self) -> bool:
        """Whether it is more like somebody else than like the person's own faces."""
        return (
            self.likeness is not None
            and self.other_likeness is not None
            and self.other_likeness > self.likeness
        )


def show(gallery: Gallery, name: str) -> tuple[str, list[ShownFace]]:
    """Return the name that is shown and the faces of `name`, the least alike first.

    Raises:
        FaceOpsError: nobody of that name, in any spelling, is enrolled.
    """
    key = person_key(display_name(name))
    mine = np.array([person_key(person) == key for person in gallery.persons], bool)
    if not mine.any():
        raise FaceOpsError(f"{name} is not in the gallery {gallery.folder}.")
    rows, others = np.flatnonzero(mine), np.flatnonzero(~mine)
    cosines = gallery.embeddings[rows] @ gallery.embeddings.T  # (faces, M)
    shown = []
    for row, cosine in zip(rows, cosines, strict=True):
        face = gallery.faces[row]
        own = cosine[rows[rows != row]]
        nearest = others[np.argmax(cosine[others])] if len(others) else None
        shown.append(
            ShownFace(
                photo=face.photo,
                photo_id=face.photo_id,
                quality=round(face.quality, 4),
                likeness=round(float(own.mean()), 4) if len(own) else None,
                other=gallery.persons[nearest] if nearest is not None else "",
                other_likeness=round(float(cosine[nearest]), 4) if nearest is not None else None,
            )
        )
    shown.sort(key=lambda face: (face.likeness if face.likeness is not None else 2.0, face.photo))
    return gallery.faces[rows[0]].person, shown


AT_ONCE = 256  # faces; 25 kB each


def portraits(folder: Path, people: Collection[str]) -> dict[str, bytes]:
    """Return the best crop (PNG, 112 x 112) of each of `people`; memory is bounded.

    Who is not in the gallery has none, nor has anybody where there is no gallery.

    Raises:
        OSError, pyarrow.ArrowException: the gallery's faces cannot be read.
    """
    best: dict[str, tuple[float, bytes]] = {}
    path = folder / FACES_FILE
    if not people or not path.is_file():
        return {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(AT_ONCE, columns=["person", "quality", "crop"]):
            names, qualities = batch["person"].to_pylist(), batch["quality"].to_pylist()
            for row, (person, quality) in enumerate(zip(names, qualities, strict=True)):
                if person in people and quality > best.get(person, (-1.0, b""))[0]:
                    best[person] = quality, batch["crop"][row].as_py()
    return {person: crop for person, (_, crop) in best.items() if crop}
