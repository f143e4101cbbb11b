"""One photo of a source and whom it shows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faceops.base.errors import FaceOpsError

SUFFIXES = frozenset(
    ".jpg .jpeg .jfif .png .webp .bmp .gif .tif .tiff .heic .heif .avif".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo as a source has it.

    Attributes:
        person: as the source spells the name.
        origin: names the photo within the source.
        file: the file name that it gets.
        content: the path of its file, or a function that makes its bytes.
    """

    person: str
    origin: str
    file: str
    content: Path | Callable[[], bytes]


def is_photo_name(path: Path) -> bool:
    """Return whether `path` is named as a photo, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def photos_below(folder: Path) -> list[Path]:
    """Return the files below `folder` that are named as photos, sorted; nothing hidden."""
    found = [
        path
        for path in folder.rglob("*")
        if is_photo_name(path)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, sorted; hidden ones left out, as is macOS' `__MACOSX`."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    )


def folders_to_depth(folder: Path, depth: int) -> list[Path]:
    """Return `folder` and the folders at most `depth` levels below it, the nearer ones first."""
    level, found = [folder], [folder]
    for _ in range(depth):
        level = [below for one in level for below in subfolders(one)]
        found += level
    return found


def wrong_layout(folder: Path, source: str, expected: str) -> FaceOpsError:
    """Return the error for a folder that is not laid out as `source` is."""
    return FaceOpsError(
        f"{folder} is not laid out as the source {source}: {expected}; name the right folder or "
        "choose another source."
    )
