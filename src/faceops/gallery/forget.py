"""Remove a person from the gallery."""

from pathlib import Path

from faceops.errors import FaceOpsError
from faceops.gallery.folder_lock import folder_lock
from faceops.gallery.person_name import person_key
from faceops.gallery.store import Gallery


def forget(gallery_dir: Path, person: str) -> int:
    """Remove all faces of `person`, in any spelling, and return how many there were.

    Raises:
        UsageError: there is no gallery.
        FaceOpsError: no such person; or as `enrol`.
    """
    key = person_key(person)
    Gallery.open(gallery_dir)  # before the lock, which would make the folder
    with folder_lock(gallery_dir):
        gallery = Gallery.open(gallery_dir, crops=True)
        rest = gallery.without(lambda face: person_key(face.person) == key)
        if len(rest.faces) == len(gallery.faces):
            raise FaceOpsError(f"{person} is not in the gallery {gallery_dir}.")
        rest.save()
    return len(gallery.faces) - len(rest.faces)
