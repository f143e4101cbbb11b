"""Copy photos into their people's folders; raw photos are copies, never links."""

import filecmp
import shutil
from collections.abc import Iterator
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path, write_file
from faceops.base.progress import track
from faceops.dataset.names import folder_name, name_key
from faceops.dataset.sources.labelled_photo import LabelledPhoto


def copy_photos(
    photos: list[LabelledPhoto], data: Path, source: str, before: dict[str, str]
) -> tuple[dict[str, str], int]:
    """Copy what is not there to `data`/photos, byte for byte.

    A file name that another photo has taken gets the source's name behind it.

    Args:
        before: path -> origin of what this source has brought earlier.

    Returns:
        path (POSIX, relative to `data`) -> origin of all `photos`, and how many were written.

    Raises:
        FaceOpsError: a file cannot be read or written.
    """
    root = data / "photos"
    existing = sorted(root.iterdir()) if root.is_dir() else []
    folders = {name_key(path.name): path.name for path in existing if path.is_dir()}
    origins: dict[str, str] = {}
    written = 0
    for photo in track(photos, f"import {source}"):
        person = folders.setdefault(name_key(photo.person), folder_name(photo.person))
        for file in _file_names(photo.file, source):
            relative = f"photos/{person}/{file}"
            path = data / relative
            if relative in origins or before.get(relative, photo.origin) != photo.origin:
                continue  # another photo of this source has that name
            if not path.exists():
                _write(photo, path)
                written += 1
            elif not _is_same(photo, path):
                continue
            origins[relative] = photo.origin
            break
    return origins, written


def _file_names(file: str, source: str) -> Iterator[str]:
    """Yield the photo's own name, then names that tell it from another photo of that name."""
    stem, suffix = Path(file).stem, Path(file).suffix
    yield file
    yield f"{stem}__{source}{suffix}"
    number = 2
    while True:
        yield f"{stem}__{source}_{number}{suffix}"
        number += 1


def _is_same(photo: LabelledPhoto, path: Path) -> bool:
    if isinstance(photo.content, Path):
        return path.is_file() and filecmp.cmp(photo.content, path, shallow=False)
    return path.is_file() and path.read_bytes() == photo.content()


def _write(photo: LabelledPhoto, path: Path) -> None:
    if not isinstance(photo.content, Path):
        write_file(path, photo.content())
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            shutil.copyfile(photo.content, temporary)
    except OSError as error:
        raise FaceOpsError(
            f"{photo.content} cannot be copied to {path} ({error.strerror}); free space or give "
            "permission, and run it again to go on."
        ) from None
