"""The published release's bundle: joined from published weights, checked, kept in the cache.

Its statement (release.json), evaluation, model card and verifier lie here as files. Its other
models are joined from the weights of weights.toml, as parts.json says. `write` writes all of these
files anew.
"""

import base64
import hashlib
import io
import json
import shutil
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from faceops.base.errors import FaceOpsError
from faceops.base.files import replace_folder, sha256_file
from faceops.base.work import DeviceChoice
from faceops.dataset.names import name_key
from faceops.registry import FILES, PUBLISHED, published_folder, published_statement
from faceops.release.bundle import Bundle, check_files
from faceops.release.contract import VERIFIER
from faceops.release.release_file import RELEASE_FILE, DamagedBundleError, Precision
from faceops.weights import weight_path, weights_cache, work_folder

PARTS_FILE, PEOPLE_FILE = "parts.json", "people.txt"
COPIED = (RELEASE_FILE, "evaluation.json", "model_card.md", VERIFIER)


class Parts(TypedDict):
    """A file, as pieces of weights and bytes of its own; see `join`."""

    own: str  # base64 of the compressed bytes that come from no weight, in their order
    # Each: bytes of `own` before the piece; weight, start and length of the piece.
    pieces: list[tuple[int, str, int, int]]


def load_published(
    threads: int = 1, precision: Precision = "float32", device: DeviceChoice = "cpu"
) -> Bundle:
    """Load the published release; its bundle is made if the cache has none, or a damaged one.

    `threads` and `device` as in `Bundle.load`.

    Raises:
        FaceOpsError: a weight is not available, the cache cannot be written, or as `Bundle.load`.
    """
    if precision != "float32" and not published_statement()[precision]:
        raise FaceOpsError(
            f"the published release offers no {precision} embedder: quantising needs a rebuild; "
            "use --precision float32."
        )
    folder = published_folder()
    assemble(folder)
    try:
        return Bundle.load(folder, threads, PUBLISHED, precision=precision, device=device)
    except DamagedBundleError:
        assemble(folder, replace=True)
        return Bundle.load(folder, threads, PUBLISHED, precision=precision, device=device)


def assemble(folder: Path, *, replace: bool = False) -> None:
    """Make the bundle `folder`; one that is complete stays, unless `replace`.

    It appears as a whole, after all of its files have been checked. Processes that make it at the
    same time do not disturb each other.

    Raises FaceOpsError: as `load_published`.
    """
    if not replace and _is_complete(folder):
        return
    files: dict[str, Parts] = json.loads((FILES / PARTS_FILE).read_text("utf-8"))
    pieces = [piece for parts in files.values() for piece in parts["pieces"]]
    paths = {name: weight_path(name) for name in dict.fromkeys(name for _, name, _, _ in pieces)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with work_folder(weights_cache()) as work:
            made = work / "bundle"
            made.mkdir()
            weights = {name: path.read_bytes() for name, path in paths.items()}
            for name, parts in files.items():
                (made / name).write_bytes(join(parts, weights))
            for name in COPIED:
                shutil.copyfile(FILES / name, made / name)
            _check(made)
            if replace or not _is_complete(folder):  # another process may have been first
                replace_folder(made, folder)
    except OSError as error:
        if _is_complete(folder):  # another process was first
            return
        raise FaceOpsError(
            f"the published release cannot be kept in {folder} ({error}); set FACEOPS_CACHE to a "
            "folder that can be written and has 100 MB free."
        ) from None


def _is_complete(folder: Path) -> bool:
    """Whether the release.json in `folder` is the package's; `Bundle.load` checks the other files.

    The folder appears as a whole, so that they are there.
    """
    try:
        return sha256_file(folder / RELEASE_FILE) == sha256_file(FILES / RELEASE_FILE)
    except OSError:
        return False


def _check(folder: Path) -> None:
    try:
        check_files(folder)
    except DamagedBundleError as error:
        reason = str(error).replace(f"{folder}/", "").partition(";")[0]
        raise FaceOpsError(
            f"the published release of this faceops is damaged: {reason}; install faceops again."
        ) from None


def join(parts: Parts, weights: Mapping[str, bytes]) -> bytes:
    """Return the file that `parts` describe; `weights` holds the bytes of each weight by name."""
    own = io.BytesIO(zlib.decompress(base64.b64decode(parts["own"])))
    content: list[bytes | memoryview] = []
    for before, name, start, length in parts["pieces"]:
        content += [own.read(before), memoryview(weights[name])[start : start + length]]
    return b"".join([*content, own.read()])


def people_mark(person: str) -> str:
    """Return what people.txt has of a person's name: the start of its sha256."""
    return hashlib.sha256(name_key(person).encode()).hexdigest()[:12]


def calibration_people(people: Iterable[str]) -> list[str]:
    """Return which of `people`, in any spelling, the published release was calibrated on."""
    marks = set((FILES / PEOPLE_FILE).read_text("ascii").split())
    return [person for person in people if people_mark(person) in marks]
