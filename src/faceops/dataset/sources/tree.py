"""Source tree: a folder a person, photos in it or below it."""

from pathlib import Path

from faceops.dataset.sources.labelled_photo import (
    LabelledPhoto,
    is_photo_name,
    photos_below,
    subfolders,
    wrong_layout,
)


def list_tree(root: Path) -> list[LabelledPhoto]:
    """Return the photos of `root`/<person>/**; an outer folder that holds all is passed over.

    Raises:
        FaceOpsError: no folders with photos.
    """
    while len(below := subfolders(root)) == 1 and subfolders(below[0]):
        root = below[0]
    photos = []
    for folder in subfolders(root):
        for path in photos_below(folder):
            file = "_".join(path.relative_to(folder).parts)
            origin = path.relative_to(root).as_posix()
            photos.append(LabelledPhoto(folder.name, origin, file, path))
    if not photos:
        loose = any(is_photo_name(path) for path in root.iterdir())
        found = "the photos lie in no person's folder" if loose else "no photos were found"
        raise wrong_layout(root, "tree", f"{found}, and <person>/<photo>.jpg is expected")
    return photos
