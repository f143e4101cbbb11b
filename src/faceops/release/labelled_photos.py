"""The photos of a folder of people: whose they are, and which of them count twice."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from faceops.base.errors import UsageError
from faceops.dataset.names import name_key
from faceops.dataset.quarantine import QUARANTINE_FILE, read_quarantine
from faceops.photos.photo_error import printable
from faceops.photos.walk import walk_photos

_TWO_PEOPLE = "figures need photos of two people or more."


@dataclass(frozen=True)
class LabelledPhoto:
    """`path` is relative to the data folder and POSIX; `person` as the folder spells it."""

    file: Path
    path: str
    person: str


def labelled_photos(data: Path, people: Iterable[str] | None = None) -> list[LabelledPhoto]:
    """Return the photos below `data`/photos, or below `data` itself, sorted by path.

    The first folder names the person; spellings of one person are one. Files that lie in no
    person's folder have the person "". Only those of `people` are listed, where that is given.

    Raises:
        UsageError: photos of nobody or of one person alone, whom no protocol can tell from others;
            or `people` names somebody who has none.
    """
    root = data / "photos" if (data / "photos").is_dir() else data
    if (data / "data" / "photos").is_dir():
        raise UsageError(f"{data} holds more than photos of people; name {data / 'data'}.")
    photos = []
    spelling: dict[str, str] = {}
    for file in walk_photos(root):
        parts = file.relative_to(root).parts
        person = printable(Path(parts[0])) if len(parts) > 1 else ""
        person = spelling.setdefault(name_key(person), person)
        photos.append(LabelledPhoto(file, printable(file.relative_to(data)), person))
    if not any(photo.person for photo in photos):
        raise UsageError(
            f"{data} holds no photos of people; name a folder with photos/<person>/<photo>."
        )
    if len(named := {photo.person for photo in photos if photo.person}) == 1:
        (only,) = named
        nested = any(len(photo.file.relative_to(root).parts) > 2 for photo in photos)
        raise UsageError(
            f"{data} holds photos of one person alone, {only}; "
            + (f"if its folders are the people, name {root / only}." if nested else _TWO_PEOPLE)
        )
    if people is None:
        return photos
    wanted = {name_key(name): name for name in people}
    if absent := [name for key, name in wanted.items() if key not in spelling]:
        raise UsageError(
            f"{data} has no photos of {absent[0]}"
            + (f" and {len(absent) - 1} more people of the list" if len(absent) > 1 else "")
            + "; correct --people."
        )
    return [photo for photo in photos if photo.person and name_key(photo.person) in wanted]


def set_aside(data: Path) -> frozenset[str]:
    """Return the sha256 of the photos that quarantine.csv in `data` sets aside."""
    return frozenset(read_quarantine(data / QUARANTINE_FILE))
