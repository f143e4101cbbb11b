"""Where names from a gallery were written to: `forget` must reach these folders.

outputs.jsonl in the gallery is only ever added to, so that runs may note their folder at any time.
A line is {"out": DIR} for an output folder, {"sidecars": DIR} for a folder of photos beside which
sidecars were written, or {"gone": DIR} when one of them was stated to be gone for good; a mere
"DIR" is an output too.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from faceops.base.errors import FaceOpsError, UsageError

OUTPUTS_FILE = "outputs.jsonl"
OUT, SIDECARS, GONE = "out", "sidecars", "gone"


class Outputs(NamedTuple):
    """Absolute folders, in the order in which they came.

    `folders` hold results, `sidecars` photos beside which sidecars were written; `gone` are those
    that were stated to be gone and not been written to since.
    """

    folders: list[Path]
    sidecars: list[Path]
    gone: list[Path]


def remember_output(gallery: Path, out: Path, sidecars: Path | None = None) -> bool:
    """Note in `gallery` that results are written to `out`, and `sidecars` beside those photos.

    It is to be called while `out` is locked, and before the gallery is read for the names: so
    `forget` knows of every folder that can get a name. Returns whether it is noted: a gallery that
    may only be read does not hinder naming, but `forget` must then be told of the folder.

    Raises:
        FaceOpsError: the list is damaged.
    """
    known = outputs_of(gallery)
    wanted = [(OUT, out.resolve())] if out.resolve() not in known.folders else []
    if sidecars is not None and sidecars.resolve() not in known.sidecars:
        wanted.append((SIDECARS, sidecars.resolve()))
    try:
        _append(gallery, wanted)
    except OSError:
        return False
    return True


def is_there(folder: Path) -> bool:
    """Return whether `folder` is there with anything in it: an empty one may await its share.

    One that may not be listed is there.
    """
    try:
        return any(True for _ in folder.iterdir())
    except PermissionError:
        return True
    except OSError:
        return False


def state_gone(gallery: Path, folder: Path) -> None:
    """Note that `folder`, an output or a folder of photos, is gone for good.

    Raises:
        UsageError: it is there.
        FaceOpsError: the list is damaged or cannot be written.
    """
    if is_there(folder):
        raise UsageError(f"{folder} is there, so it is not gone: people forget looks into it.")
    if folder.resolve() in outputs_of(gallery).gone:
        return
    try:
        _append(gallery, [(GONE, folder.resolve())])
    except OSError as error:
        raise FaceOpsError(
            f"{gallery / OUTPUTS_FILE} cannot be written ({error.strerror}); mend that."
        ) from None


def outputs_of(gallery: Path) -> Outputs:
    """Return the folders that names from `gallery` were written to.

    Raises:
        FaceOpsError: the list is damaged.
    """
    path = gallery / OUTPUTS_FILE
    noted: dict[str, dict[Path, None]] = {OUT: {}, SIDECARS: {}, GONE: {}}
    try:
        for kind, place in _lines(path):
            for other in (OUT, SIDECARS) if kind == GONE else (GONE,):
                noted[other].pop(place, None)
            noted[kind][place] = None
    except (OSError, ValueError) as error:
        raise FaceOpsError(
            f'{path} is damaged ({error}); mend it, a line {{"out": DIR}} for each output folder '
            "of `faceops identify`."
        ) from None
    return Outputs(*([*noted[kind]] for kind in (OUT, SIDECARS, GONE)))


def _lines(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.exists():
        return
    for line in path.read_text("ascii").splitlines():
        content = json.loads(line)
        if isinstance(content, str):
            content = {OUT: content}
        if not isinstance(content, dict) or len(content) != 1:
            raise ValueError(f"{line[:80]} is no such line")
        ((kind, place),) = content.items()
        if kind not in (OUT, SIDECARS, GONE) or not isinstance(place, str):
            raise ValueError(f"{line[:80]} is no such line")
        yield kind, Path(place)


def _append(gallery: Path, lines: list[tuple[str, Path]]) -> None:
    if lines:
        # One write: two runs that note their folders at once do not mix their lines.
        text = "".join(json.dumps({kind: str(place)}) + "\n" for kind, place in lines)
        with (gallery / OUTPUTS_FILE).open("ab", buffering=0) as file:
            file.write(text.encode("ascii"))
