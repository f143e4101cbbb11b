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
    """Return the photos of `root`/<person>/**: each folder in `root` is a person.

    Raises:
        FaceOpsError: no folders with photos, or photos in no person's folder.
    """
    if loose := _photos_in(root):
        raise wrong_layout(
            root,
            "tree",
            f"{len(loose)} photos lie in no person's folder (the first is {loose[0].name}), and "
            "<person>/<photo>.jpg is expected",
        )
    photos = []
    for folder in subfolders(root):
        for path in photos_below(folder):
            file = "_".join(path.relative_to(folder).parts)
            origin = path.relative_to(root).as_posix()
            photos.append(LabelledPhoto(folder.name, origin, file, path))
    if not photos:
        raise wrong_layout(
            root, "tree", "no photos were found, and <person>/<photo>.jpg is expected"
        )
    return photos


def without_wrapper(unpacked: Path) -> Path:
    """Return the folder in an unpacked archive that holds the people's folders.

    Archives often have one top folder that is nobody: it holds no photos itself, but
    folders with photos. One person's folder of albums looks the same from outside, so a
    folder that the user names is never looked through in this way.
    """
    below = subfolders(unpacked)
    if len(below) != 1 or _photos_in(unpacked) or _photos_in(below[0]):
        return unpacked
    holds_people = any(_photos_in(folder) for folder in subfolders(below[0]))
    return below[0] if holds_people else unpacked


def _photos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_photo_name(path) and path.is_file())
