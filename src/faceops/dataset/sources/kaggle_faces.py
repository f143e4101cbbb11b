"""Source kaggle-faces: the Kaggle face-recognition folder, files <Name>_<number>.jpg."""

import re
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.dataset.sources.labelled_photo import LabelledPhoto, photos_below, wrong_layout

_FILE = re.compile(r"(?P<person>.*[^\W\d_].*?)[_ ]+\(?\d+\)?")


def list_kaggle_faces(root: Path) -> list[LabelledPhoto]:
    """Return the photos <Name>_<number> below `root`, in whatever folder.

    Raises:
        FaceOpsError: no photos, or one that is named otherwise.
    """
    photos, first_other, seen = [], None, set()
    for path in photos_below(root):
        match = _FILE.fullmatch(path.stem)
        if match is None:
            first_other = first_other or path
            continue
        # The set has every photo twice, in two folders of the same content.
        key = (path.name, path.stat().st_size)
        if key in seen:
            continue
        seen.add(key)
        origin = path.relative_to(root).as_posix()
        photos.append(LabelledPhoto(match["person"], origin, path.name, path))
    if not photos:
        raise wrong_layout(root, "kaggle-faces", "files <Name>_<number>.jpg are expected")
    if first_other is not None:
        raise FaceOpsError(
            f"{first_other} is not named <Name>_<number> as the source kaggle-faces has it; rename "
            "or remove it."
        )
    return photos
