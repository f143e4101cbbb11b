"""The photos that champion and challenger are compared on: of people whom neither has seen."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from faceops.dataset.duplicates import find_duplicates
from faceops.dataset.inspect_photos import Inspected
from faceops.dataset.names import name_key
from faceops.errors import FaceOpsError
from faceops.photos.content_hash import sha256_file
from faceops.progress import track
from faceops.release.labelled_photos import LabelledPhoto, labelled_photos, set_aside


@dataclass(frozen=True)
class FrozenPhotos:
    """The photos of `people` people; `sha256` stands for their bytes and whose they are.

    `left_out` counts the people whom one of the two releases was trained or calibrated on.
    """

    photos: list[LabelledPhoto]
    people: int
    left_out: int
    sha256: str


def freeze(data: Path, seen: Iterable[str]) -> FrozenPhotos:
    """Return the photos below `data` of people who are not among `seen`, by any spelling.

    Photos that quarantine.csv sets aside, copies, photos that lie in two people's folders and files
    that lie in nobody's play no part.

    Raises:
        UsageError: `data` holds no labelled photos of two people or more.
        FaceOpsError: a photo cannot be read.
    """
    out = {name_key(person) for person in seen}
    aside = set_aside(data)
    listed = [photo for photo in labelled_photos(data) if photo.person]
    left_out = {name_key(photo.person) for photo in listed} & out
    wanted = [photo for photo in listed if name_key(photo.person) not in out]
    hashed: dict[str, Inspected] = {}
    for photo in track(wanted, "hashes of photos", len(wanted)):
        try:
            photo_id = sha256_file(photo.file)
        except OSError as error:
            raise FaceOpsError(
                f"{photo.file} cannot be read ({error.strerror}), and the gate compares on all "
                "photos or none; mend or remove it."
            ) from None
        if photo_id not in aside:
            hashed[photo.path] = Inspected(photo.path, photo.person, photo_id, "", 0, 0, "", "")
    # A copy would be a pair of one person that is too easy; one photo of two people is a mistake.
    out_too = find_duplicates(hashed.values(), near_bits=-1)
    photos = [p for p in wanted if p.path in hashed and p.path not in out_too]
    lines = [f"{hashed[p.path].photo_id}\t{name_key(p.person)}\n" for p in photos]
    digest = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    people = len({photo.person for photo in photos})
    return FrozenPhotos(photos, people, len(left_out), digest)
