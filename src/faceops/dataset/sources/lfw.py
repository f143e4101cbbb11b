"""Source lfw: Labeled Faces in the Wild (Huang et al. 2007), any of its alignments."""

import re
from pathlib import Path

from faceops.dataset.sources.labelled_photo import (
    LabelledPhoto,
    folders_to_depth,
    subfolders,
    wrong_layout,
)

_FILE = re.compile(r"(?P<person>.+)_\d{4}\.jpg")


def _photos_of(person: Path) -> list[Path]:
    def belongs(path: Path) -> bool:
        match = _FILE.fullmatch(path.name)
        return match is not None and match["person"] == person.name

    return sorted(path for path in person.iterdir() if belongs(path))


def photos_folder(root: Path) -> Path:
    """Return `root` or the folder at most two levels below it that holds LFW's people.

    Raises:
        FaceOpsError: there is none.
    """
    for folder in folders_to_depth(root, 2):
        # Ten are enough to tell: one person's folder may have been emptied.
        if any(_photos_of(person) for person in subfolders(folder)[:10]):
            return folder
    raise wrong_layout(root, "lfw", "<Person_Name>/<Person_Name>_0001.jpg is expected")


def list_lfw(root: Path) -> list[LabelledPhoto]:
    """Return LFW's photos at `root` or below it."""
    return [
        LabelledPhoto(person.name, f"{person.name}/{path.name}", path.name, path)
        for person in subfolders(photos_folder(root))
        for path in _photos_of(person)
    ]


def lfw_protocols(root: Path) -> list[Path]:
    """Return the files people*.txt and pairs*.txt in `root`, or beside or in the photos' folder."""
    photos = photos_folder(root)
    found: dict[str, Path] = {}
    for folder in (root, photos.parent, photos):
        for pattern in ("people*.txt", "pairs*.txt"):
            for path in sorted(folder.glob(pattern)):
                found.setdefault(path.name, path)
    return [found[name] for name in sorted(found)]
