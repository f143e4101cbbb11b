"""What a killed enrolment or re-embedding had done, photo by photo, so that the next one goes on.

It lies in the gallery, holds biometric data but no names, and is removed whenever the gallery is
saved: what it was for is in the gallery then, or was forgotten.
"""

import hashlib
import io
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

import faceops
from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file

UNFINISHED_FOLDER = ".unfinished"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class UnfinishedWork:
    """Arrays by name; threads may share it.

    Args:
        gallery: the folder.
        method: all that decides the arrays of a name; other methods' are not found.
    """

    def __init__(self, gallery: Path, method: str) -> None:
        key = hashlib.sha256(f"{faceops.__version__} {method}".encode()).hexdigest()[:16]
        self._folder = gallery / UNFINISHED_FOLDER / key

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Return what was kept as `name`; None if nothing was, or it is damaged."""
        try:
            with np.load(self._folder / f"{name}.npz", allow_pickle=False) as kept:
                return dict(kept)
        except _DAMAGED:
            return None

    def keep(self, name: str, **arrays: np.ndarray) -> None:
        """Keep `arrays`; where that fails, they only have to be computed again."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        with suppress(FaceOpsError):
            write_file(self._folder / f"{name}.npz", buffer.getvalue())


def remove_unfinished(gallery: Path) -> None:
    """Remove all that was kept in `gallery`."""
    shutil.rmtree(gallery / UNFINISHED_FOLDER, ignore_errors=True)
