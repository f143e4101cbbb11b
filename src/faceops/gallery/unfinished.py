"""What an interrupted enrolment or re-embedding had computed, so that the next one continues.

A folder in the gallery, or on this machine for one in a database, with biometric data but no names.
It is removed whenever the gallery is saved: its faces are in the gallery then, or were forgotten.
"""

import hashlib
import io
import shutil
import zipfile
from contextlib import suppress

import numpy as np

import faceops
from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.gallery.storage import GalleryPlace, storage_of

UNFINISHED_FOLDER = ".unfinished"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class UnfinishedWork:
    """Arrays by name; may be shared by threads.

    Args:
        method: all that determines the arrays of a name; those of another method are not found.
    """

    def __init__(self, gallery: GalleryPlace, method: str) -> None:
        key = hashlib.sha256(f"{faceops.__version__} {method}".encode()).hexdigest()[:16]
        self._folder = storage_of(gallery).scratch / UNFINISHED_FOLDER / key

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Return what was kept as `name`; None if nothing was, or it is damaged."""
        try:
            with np.load(self._folder / f"{name}.npz", allow_pickle=False) as kept:
                return dict(kept)
        except _DAMAGED:
            return None

    def keep(self, name: str, **arrays: np.ndarray) -> None:
        """Keep `arrays`; if that fails, the next enrolment or re-embedding computes them again."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        with suppress(FaceOpsError):
            write_file(self._folder / f"{name}.npz", buffer.getvalue())


def remove_unfinished(gallery: GalleryPlace) -> None:
    """Remove all that was kept in `gallery`; of one in a database also a killed import."""
    storage = storage_of(gallery)
    scratch = storage.scratch
    shutil.rmtree(scratch / UNFINISHED_FOLDER if storage.folder else scratch, ignore_errors=True)
