"""The files of a gallery, and the folders that names from it were written to.

It imports no NumPy: a run over an unchanged folder of photos loads nothing else of the gallery.

outputs.jsonl is append-only, so that any run may note its folder at any time. A line is
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
from faceops.base.files import read_json_object

GALLERY_FILE = "gallery.json"
FACES_FILE = "faces.parquet"
COPY_FILE = "faces.copy.parquet"  # the same bytes: names and embeddings are nowhere else
OUTPUTS_FILE = "outputs.jsonl"
DECISIONS_FILE = "decisions.sqlite"  # see `faceops.gallery.journal`
KINDS = OUT, SIDECARS, GONE = "out", "sidecars", "gone"


def gallery_stamp(folder: Path) -> str:
    """Return size, times and inode of the gallery's files; "" when one is missing.

    Those of the journal of decisions are included, if there is one.
    """
    try:
        files = [(folder / name).stat() for name in (GALLERY_FILE, FACES_FILE)]
    except OSError:
        return ""
    with suppress(OSError):
        files.append((folder / DECISIONS_FILE).stat())
    return " ".join(f"{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}:{s.st_ino}" for s in files)


def stated_contract_id(folder: Path) -> str:
    """Return the contract id that gallery.json states, "" if it cannot be read.

    It finds the release of an unchanged run; `Gallery.open` says what is wrong with the gallery.
    """
    try:
        return str(read_json_object(folder / GALLERY_FILE).get("contract_id", ""))
    except (OSError, ValueError):
        return ""


class OutputFolders(NamedTuple):
    """Absolute folders with results and of photos with sidecars, in the order of the notes.

    `gone` are those that were declared gone and not written to since.
    """

    folders: list[Path]
    sidecars: list[Path]
    gone: list[Path]


def remember_output(gallery: Path, out: Path, sidecars: Path | None = None) -> bool:
    """Record in `gallery` that results are written to `out`, and sidecars below `sidecars`.

    Call it while `out` is locked and before the gallery is read, so that `forget` knows every
    folder that can receive a name. Returns False when the gallery is read-only: naming goes on,
    but `forget` must then be given the folder. Raises as `output_folders`.
    """
    known = output_folders(gallery)
    new = [(OUT, out.resolve())] if out.resolve() not in known.folders else []
    if sidecars is not None and sidecars.resolve() not in known.sidecars:
        new.append((SIDECARS, sidecars.resolve()))
    try:
        _append(gallery, new)
    except OSError:
        return False
    return True


def has_content(folder: Path) -> bool:
    """Return whether `folder` holds anything; an empty one may be the mount point of a share.

    A folder that may not be listed counts as one with content.
    """
    try:
        return any(True for _ in folder.iterdir())
    except OSError as error:
        return isinstance(error, PermissionError)


def declare_gone(gallery: Path, folder: Path) -> None:
    """Record that `folder`, an output or a folder of photos, is gone for good.

    Raises:
        UsageError: it exists and has content.
        FaceOpsError: the list is damaged or cannot be written.
    """
    if has_content(folder):
        raise UsageError(f"{folder} exists, so it is not gone: people forget searches it.")
    if folder.resolve() in output_folders(gallery).gone:
        return
    try:
        _append(gallery, [(GONE, folder.resolve())])
    except OSError as error:
        raise FaceOpsError(
            f"{gallery / OUTPUTS_FILE} cannot be written ({error.strerror}); make it writable."
        ) from None


def output_folders(gallery: Path) -> OutputFolders:
    """Return the folders that names from `gallery` were written to.

    Raises:
        FaceOpsError: the list is damaged.
    """
    path = gallery / OUTPUTS_FILE
    noted: dict[str, dict[Path, None]] = {kind: {} for kind in KINDS}
    try:
        for kind, folder in map(_parse_line, _lines(path)):
            for other in (OUT, SIDECARS) if kind == GONE else (GONE,):
                noted[other].pop(folder, None)
            noted[kind][folder] = None
    except (OSError, ValueError) as error:
        raise FaceOpsError(
            f"{path} is damaged ({error}); `faceops gallery repair --gallery {gallery}` keeps its "
            'readable lines; add a line {"out": DIR} for each other output folder of `identify`.'
        ) from None
    return OutputFolders(*map(list, noted.values()))


def readable_lines(gallery: Path) -> Iterator[bytes]:
    """Yield the lines of outputs.jsonl that can be read."""
    for line in _lines(gallery / OUTPUTS_FILE):
        with suppress(ValueError):
            _parse_line(line)
            yield line + b"\n"


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


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


def _append(gallery: Path, lines: list[tuple[str, Path]]) -> None:
    if lines:
        # One write: the lines of two runs that start at once do not mix.
        text = "".join(json.dumps({kind: str(folder)}) + "\n" for kind, folder in lines)
        with (gallery / OUTPUTS_FILE).open("ab", buffering=0) as file:
            file.write(text.encode("ascii"))
