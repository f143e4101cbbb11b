"""The photos of the comparison: of people that neither release was trained or calibrated on."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.work import track
from faceops.dataset.importer import read_imported
from faceops.dataset.names import name_key
from faceops.dataset.reviewed import REVIEWED_FILE, read_reviewed
from faceops.dataset.validate import HashedPhoto, find_duplicates
from faceops.release.evaluate.embed_photos import LabelledPhoto, labelled_photos, quarantined_photos


@dataclass(frozen=True)
class FrozenPhotos:
    """The photos of `people` people who trained or calibrated neither release."""

    photos: list[LabelledPhoto]  # the photos, without copies and without those in quarantine.csv
    people: int  # how many people they show
    left_out: int  # people who were left out because a release was trained or calibrated on them
    sha256: str  # of the bytes of `photos` and of the names of their people
    data_sha256: str  # the same of the whole folder
    # Which source each of `photos` was imported from, "" where no import brought it
    sources: tuple[str, ...] = ()


def freeze(
    data: Path,
    seen: Iterable[str],
    pinned: str = "",
    seen_photos: frozenset[str] = frozenset(),
) -> FrozenPhotos:
    """Return the photos below `data` of people who are not among `seen`, in any spelling.

    Photos that lie in the folders of two people are left out.

    Args:
        seen: people that a release was trained or calibrated on.
        pinned: the expected `data_sha256`; "" accepts any.
        seen_photos: sha256 of the photos that a release was trained or calibrated on; people who
            have one of them are left out too.

    Raises:
        UsageError: `data` holds no labelled photos of two people or more.
        FaceOpsError: a photo cannot be read, or `data_sha256` is not `pinned`.
    """
    listed, hashed = _hashed(data)
    whole = _digest(listed, hashed)
    if pinned and whole != pinned:
        raise FaceOpsError(
            f"{data} is not as gate.photos_sha256 pins it: it has {whole}, not {pinned}; restore "
            "the photos, or pin these."
        )
    out = {name_key(person) for person in seen}
    out |= {name_key(p.person) for p in hashed.values() if p.photo_id in seen_photos}
    left_out = {name_key(photo.person) for photo in listed} & out
    # A copy makes a genuine pair that is too easy; a photo of two people has a wrong label.
    duplicates = find_duplicates(hashed.values())
    photos = [
        photo
        for photo in listed
        if photo.path in hashed
        and photo.path not in duplicates
        and name_key(photo.person) not in out
    ]
    people = len({photo.person for photo in photos})
    imported = read_imported(data)
    sources = tuple(imported.get(photo.path, "") for photo in photos)
    return FrozenPhotos(photos, people, len(left_out), _digest(photos, hashed), whole, sources)


def touched_by_review(folders: Iterable[Path]) -> tuple[set[str], frozenset[str]]:
    """Return the people and the photos (sha256) from which data folders have reviewed faces.

    The gate leaves them out, whatever a release was trained on: they were chosen for being hard for
    a champion.

    Raises:
        FaceOpsError: a list of reviewed faces is damaged.
    """
    faces = [face for folder in folders for face in read_reviewed(folder / REVIEWED_FILE)]
    return {face.person for face in faces}, frozenset(face.photo_id for face in faces)


def data_sha256(data: Path) -> str:
    """Return the sha256 of all labelled photos below `data`, see `FrozenPhotos`.

    Raises: as `freeze`.
    """
    return _digest(*_hashed(data))


def _hashed(data: Path) -> tuple[list[LabelledPhoto], dict[str, HashedPhoto]]:
    """Return the labelled photos below `data`, and those not in quarantine.csv by path."""
    quarantined = quarantined_photos(data)
    listed = [photo for photo in labelled_photos(data) if photo.person]
    hashed: dict[str, HashedPhoto] = {}
    for photo in track(listed, "hashes of photos", len(listed)):
        try:
            photo_id = sha256_file(photo.file)
        except OSError as error:
            raise FaceOpsError(
                f"{photo.file} cannot be read ({error.strerror}), and the gate needs every photo; "
                "repair or remove it."
            ) from None
        if photo_id not in quarantined:
            hashed[photo.path] = HashedPhoto(photo.path, photo.person, photo_id)
    return listed, hashed


def _digest(photos: Iterable[LabelledPhoto], hashed: Mapping[str, HashedPhoto]) -> str:
    lines = [
        f"{hashed[photo.path].photo_id}\t{name_key(photo.person)}\n"
        for photo in photos
        if photo.path in hashed
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
