"""Rename, merge and show enrolled people.

All functions raise a UsageError when there is no gallery, and a FaceOpsError when it is damaged, in
use or cannot be written, or when somebody is not enrolled.
"""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.crops import crop_path, format_1_crops
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.folder import FACES_FILE, GALLERY_FILE
from faceops.gallery.names import as_arguments, display_name, given_name, person_key
from faceops.gallery.store import Gallery, locked_gallery


def rename(gallery_dir: Path, old: str, new: str) -> tuple[str, int]:
    """Rename the person `old` to `new`; return the name that is shown and its number of faces.

    The gallery remembers it: enrolling the folder `old` again enrols the person as `new`. A name
    that another person has, or had, is refused.
    """
    return _change_name(gallery_dir, old, new, merges=False)


def merge(gallery_dir: Path, gone: str, kept: str) -> tuple[str, int]:
    """Merge the person `gone` into `kept`, equal faces once; return as `rename`."""
    return _change_name(gallery_dir, gone, kept, merges=True)


def _change_name(gallery_dir: Path, old: str, new: str, *, merges: bool) -> tuple[str, int]:
    name = given_name(new)
    with locked_gallery(gallery_dir) as gallery:
        shown = {person_key(person): person for person in gallery.people}
        old_key, new_key = person_key(display_name(old)), person_key(name)
        if old_key not in shown:
            raise FaceOpsError(f"{old} is not in the gallery {gallery_dir}.")
        if merges and old_key == new_key:
            raise UsageError(f"{old} and {new} are one name; name two people.")
        if merges and new_key not in shown:
            raise FaceOpsError(f"{new} is not in the gallery {gallery_dir}; to rename: rename.")
        if not merges and new_key in shown and new_key != old_key:
            raise FaceOpsError(
                f"{shown[new_key]} is enrolled already; if both are one person: "
                f"faceops people merge {as_arguments(old, new)}"
            )
        earlier = gallery.aliases.get(new_key)
        if not merges and earlier is not None and person_key(earlier) != old_key:
            # Results may still have the name: forgetting the person needs to know whose it was.
            raise FaceOpsError(f"{new} was {earlier}'s name before; choose another one.")
        name = shown[new_key] if merges else name
        names = {person: person for person in gallery.people} | {shown[old_key]: name}
        aliases = {
            key: name if person_key(target) == old_key else target
            for key, target in gallery.aliases.items()
        }
        if old_key != new_key:
            aliases[old_key] = name
        aliases.pop(new_key, None)
        changed = gallery.renamed(names).with_aliases(aliases)
        changed.save()
    return name, changed.persons.count(name)


def unalias(gallery_dir: Path, name: str) -> str:
    """Drop the earlier name `name`, in any spelling; return the person, who keeps the faces."""
    with locked_gallery(gallery_dir) as gallery:
        key = person_key(display_name(name))
        if key not in gallery.aliases:
            raise FaceOpsError(
                f"{name} is not an earlier name of a person in the gallery {gallery_dir}; "
                "`faceops people list` shows the earlier names."
            )
        others = {old: new for old, new in gallery.aliases.items() if old != key}
        gallery.with_aliases(others).save()
        return gallery.aliases[key]


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
    own = np.array([person_key(person) == key for person in gallery.persons], bool)
    if not own.any():
        raise FaceOpsError(f"{name} is not in the gallery {gallery.folder}.")
    rows, others = np.flatnonzero(own), np.flatnonzero(~own)
    cosines = gallery.embeddings[rows] @ gallery.embeddings.T  # (faces, M)
    faces = []
    for row, cosine in zip(rows, cosines, strict=True):
        face = gallery.faces[row]
        same = cosine[rows[rows != row]]
        nearest = others[np.argmax(cosine[others])] if len(others) else None
        faces.append(
            EnrolledFace(
                photo=face.photo,
                photo_id=face.photo_id,
                quality=round(face.quality, 4),
                mean_similarity=round(float(same.mean()), 4) if len(same) else None,
                other=gallery.persons[nearest] if nearest is not None else "",
                other_similarity=round(float(cosine[nearest]), 4) if nearest is not None else None,
            )
        )
    faces.sort(key=lambda face: (2.0 if (s := face.mean_similarity) is None else s, face.photo))
    return gallery.faces[rows[0]].person, faces


def portraits(folder: Path, people: Collection[str]) -> dict[str, bytes]:
    """Return the crop (PNG) of the best face of each of `people` who is enrolled in `folder`."""
    if not people or not (folder / GALLERY_FILE).is_file():
        return {}
    gallery = Gallery.open(folder)
    best: dict[str, tuple[int, GalleryFace]] = {}
    for row, face in enumerate(gallery.faces):
        if face.person in people:
            found = best.setdefault(face.person, (row, face))
            if face.quality > found[1].quality:
                best[face.person] = row, face
    if gallery.format_version == 1:
        wanted = {row: person for person, (row, _) in best.items()}
        crops = enumerate(format_1_crops(folder / FACES_FILE))
        return {wanted[row]: crop for row, crop in crops if row in wanted and crop}
    found_crops: dict[str, bytes] = {}
    for person, (_, face) in best.items():
        with contextlib.suppress(FileNotFoundError):  # forgotten by another process since then
            found_crops[person] = crop_path(folder, face.crop_id).read_bytes()
    return found_crops
