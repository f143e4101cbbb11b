"""The photos that champion and challenger are compared on: of people whom neither has seen."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.progress import track
from faceops.dataset.duplicates import find_duplicates
from faceops.dataset.inspect_photos import Inspected
from faceops.dataset.names import name_key
from faceops.release.labelled_photos import LabelledPhoto, labelled_photos, set_aside


@dataclass(frozen=True)
class FrozenPhotos:
    """The photos of `people` people; `sha256` stands for their bytes and whose they are.

    `left_out` counts the people whom one of the two releases was trained or calibrated on;
    `data_sha256` stands for the whole folder, theirs included.
    """

    photos: list[LabelledPhoto]
    people: int
    left_out: int
    sha256: str
    data_sha256: str


def freeze(
    data: Path,
    seen: Iterable[str],
    pinned: str = "",
    seen_photos: frozenset[str] = frozenset(),
) -> FrozenPhotos:
    """Return the photos below `data` of people who are not among `seen`, by any spelling.

    Whoever has a photo that is among `seen_photos` was seen under another name. Photos that
    quarantine.csv sets aside, copies, photos that lie in two people's folders (of people who were
    seen too) and files that lie in nobody's play no part.

    Args:
        seen_photos: sha256 of the photos that trained or calibrated a release.
        pinned: the `data_sha256` that the folder must have; "" for any.

    Raises:
        UsageError: `data` holds no labelled photos of two people or more.
        FaceOpsError: a photo cannot be read, or the folder is not as it was pinned.
    """
    out = {name_key(person) for person in seen}
    listed, hashed = _hashed(data)
    whole = _digest(listed, hashed)
    if pinned and whole != pinned:
        raise FaceOpsError(
            f"{data} is not as gate.photos_sha256 pins it: it has {whole}, not {pinned}; bring the "
            "photos back, or pin these."
        )
    out |= {name_key(p.person) for p in hashed.values() if p.photo_id in seen_photos}
    left_out = {name_key(photo.person) for photo in listed} & out
    # A copy would be a pair of one person that is too easy; one photo of two people is a mistake.
    out_too = find_duplicates(hashed.values(), near_bits=-1)
    photos = [
        photo
        for photo in listed
        if photo.path in hashed and photo.path not in out_too and name_key(photo.person) not in out
    ]
    people = len({photo.person for photo in photos})
    return FrozenPhotos(photos, people, len(left_out), _digest(photos, hashed), whole)


def data_sha256(data: Path) -> str:
    """Return what stands for all labelled photos below `data`, see `FrozenPhotos`.

    Raises: as `freeze`.
    """
    return _digest(*_hashed(data))


def _hashed(data: Path) -> tuple[list[LabelledPhoto], dict[str, Inspected]]:
    """Return people's photos below `data`; and path -> what is known of those not set aside."""
    aside = set_aside(data)
    listed = [photo for photo in labelled_photos(data) if photo.person]
    hashed: dict[str, Inspected] = {}
    for photo in track(listed, "hashes of photos", len(listed)):
        try:
            photo_id = sha256_file(photo.file)
        except OSError as error:
            raise FaceOpsError(
                f"{photo.file} cannot be read ({error.strerror}), and the gate compares on all "
                "photos or none; mend or remove it."
            ) from None
        if photo_id not in aside:
            hashed[photo.path] = Inspected(photo.path, photo.person, photo_id, "", 0, 0, "", "")
    return listed, hashed


def _digest(photos: Iterable[LabelledPhoto], hashed: Mapping[str, Inspected]) -> str:
    lines = [
        f"{hashed[photo.path].photo_id}\t{name_key(photo.person)}\n"
        for photo in photos
        if photo.path in hashed
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
