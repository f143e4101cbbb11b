"""Source pins: Pins Face Recognition, folders pins_<Name>."""

from pathlib import Path

from faceops.dataset.sources.labelled_photo import (
    LabelledPhoto,
    folders_to_depth,
    photos_below,
    subfolders,
    wrong_layout,
)

_PREFIX = "pins_"


def list_pins(root: Path) -> list[LabelledPhoto]:
    """Return the photos of the folders pins_<Name> in `root` or at most two levels below it.

    Raises:
        FaceOpsError: there are no such folders, or no photos in them.
    """
    for parent in folders_to_depth(root, 2):
        people = [f for f in subfolders(parent) if f.name.lower().startswith(_PREFIX)]
        photos = [
            LabelledPhoto(
                folder.name[len(_PREFIX) :],
                path.relative_to(parent).as_posix(),
                "_".join(path.relative_to(folder).parts),
                path,
            )
            for folder in people
            for path in photos_below(folder)
        ]
        if photos:
            return photos
    raise wrong_layout(root, "pins", "folders pins_<Name> with photos are expected")
