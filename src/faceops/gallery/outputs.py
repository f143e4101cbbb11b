"""The folders to which names from a gallery were written, as recorded in the gallery.

This module imports no NumPy, see `faceops.gallery.backend`. Lines (of outputs.jsonl, for a gallery
in a folder) are only appended, so that any run can record its folder at any time. A line is
{"out": DIR} for an output folder, {"sidecars": DIR} for a folder of photos beside which sidecars
were written, or {"gone": DIR} for one of them that the user declared gone for good; a plain "DIR"
is an output folder too. `forget` cleans all these folders.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.stores import NoBucketError, ObjectStore, is_url, place, shown
from faceops.gallery.backend import GalleryStorage
from faceops.gallery.storage import GalleryPlace, storage_of

KINDS = OUT, SIDECARS, GONE = "out", "sidecars", "gone"


class OutputFolders(NamedTuple):
    """Absolute folders with results and of photos with sidecars, in the order of the notes.

    `gone` are those that were declared gone and not written to since.
    """

    folders: list[Path]
    sidecars: list[Path]
    gone: list[Path]


def remember_output(gallery: GalleryPlace, out: Path, sidecars: Path | None = None) -> bool:
    """Record in `gallery` that results are written to `out`, and sidecars below `sidecars`.

    Call it while `out` is locked and before the gallery is read, so that `forget` knows every
    folder that can receive a name. Returns False when the gallery is read-only: naming goes on,
    but `forget` must then be given the folder. Raises as `output_folders`.
    """
    known = output_folders(gallery)
    new = [(OUT, out.resolve())] if out.resolve() not in known.folders else []
    if sidecars is not None and _resolved(sidecars) not in known.sidecars:
        new.append((SIDECARS, _resolved(sidecars)))
    try:
        _append(storage_of(gallery), new)
    except OSError:
        return False
    return True


def has_content(folder: Path) -> bool:
    """Return whether `folder` holds anything; an empty one may be the mount point of a share.

    A folder that may not be listed counts as one with content, and so does one in a store that does
    not answer.
    """
    if is_url(folder):
        try:
            return any(True for _ in ObjectStore.at(folder).objects())
        except FaceOpsError as error:
            return not isinstance(error, NoBucketError)
    try:
        return any(True for _ in folder.iterdir())
    except OSError as error:
        return isinstance(error, PermissionError)


def declare_gone(gallery: GalleryPlace, folder: Path) -> None:
    """Record that `folder`, an output or a folder of photos, is gone for good.

    Raises:
        UsageError: it exists and has content; it is a URL with credentials.
        FaceOpsError: the list is damaged or cannot be written.
    """
    folder = _resolved(folder)
    if has_content(folder):
        raise UsageError(f"{shown(folder)} exists, so it is not gone: people forget searches it.")
    if folder in output_folders(gallery).gone:
        return
    storage = storage_of(gallery)
    try:
        _append(storage, [(GONE, folder)])
    except OSError as error:
        raise FaceOpsError(
            f"{_notes(storage)} cannot be written ({error.strerror}); make it writable."
        ) from None


def output_folders(gallery: GalleryPlace) -> OutputFolders:
    """Return the folders that names from `gallery` were written to.

    Raises FaceOpsError: the list is damaged.
    """
    storage = storage_of(gallery)
    noted: dict[str, dict[Path, None]] = {kind: {} for kind in KINDS}
    try:
        for kind, folder in map(_parse_line, storage.output_lines()):
            for other in (OUT, SIDECARS) if kind == GONE else (GONE,):
                noted[other].pop(folder, None)
            noted[kind][folder] = None
    except (OSError, ValueError) as error:
        raise FaceOpsError(
            f"{_notes(storage)} is damaged ({error}); `faceops gallery repair --gallery {gallery}` "
            'keeps its readable lines; add a line {"out": DIR} for each other output folder of '
            "`identify`."
        ) from None
    return OutputFolders(*map(list, noted.values()))


def readable_lines(gallery: GalleryPlace) -> Iterator[bytes]:
    """Yield the lines of the notes that can be read."""
    for line in storage_of(gallery).output_lines():
        with suppress(ValueError):
            _parse_line(line)
            yield line + b"\n"


def _resolved(folder: Path) -> Path:
    return place(shown(folder)) if is_url(folder) else folder.resolve()


def _notes(storage: GalleryStorage) -> str:
    return f"{storage}/outputs.jsonl" if storage.folder else f"the list of outputs in {storage}"


def _parse_line(line: bytes) -> tuple[str, Path]:
    try:
        content = json.loads(line.decode("ascii"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    content = {OUT: content} if isinstance(content, str) else content
    items = list(content.items()) if isinstance(content, dict) else []
    if len(items) != 1 or items[0][0] not in KINDS or not isinstance(items[0][1], str):
        raise ValueError(f"unknown line {line[:80]!r}")
    return items[0][0], Path(items[0][1])


def _append(storage: GalleryStorage, lines: list[tuple[str, Path]]) -> None:
    if lines:
        storage.add_output_lines(
            [json.dumps({kind: shown(folder)}).encode("ascii") for kind, folder in lines]
        )
