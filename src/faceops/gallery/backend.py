"""The interface of a gallery's storage, a folder or a database.

This module and `faceops.gallery.storage` import no NumPy: a run over an unchanged folder of photos
loads nothing else of the gallery.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceops.gallery.faces_file import FaceTable
    from faceops.gallery.journal import Journal


class GalleryStorage(ABC):
    """The faces, crops, decisions and notes of one gallery.

    A statement is what `Gallery.statement` returns. Messages name the gallery by `str(storage)`,
    which is also what --gallery takes, without a password.
    """

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    @abstractmethod
    def address(self) -> str:
        """The same as `str`, but valid in any working directory."""

    @property
    def folder(self) -> Path | None:
        """The folder that holds the gallery, None for a database."""
        return None

    @property
    @abstractmethod
    def scratch(self) -> Path:
        """A folder of this machine for work that is not finished, see `UnfinishedWork`."""

    @abstractmethod
    def stamp(self) -> str:
        """Return a text that changes with the faces or the decisions; "" without a gallery."""

    @abstractmethod
    def contract_id(self) -> str:
        """Return the contract that the gallery states, "" if that cannot be read."""

    @abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """Lock the gallery for one writer. Raises: FaceOpsError if another one has it."""

    @abstractmethod
    def exists(self) -> bool:
        """Return whether there is a gallery. Raises FaceOpsError: there are only parts of one."""

    @abstractmethod
    def statement(self) -> dict[str, Any]:
        """Return the statement.

        Raises:
            UsageError: there is no gallery.
            FaceOpsError: it is damaged or of another format version.
        """

    @abstractmethod
    def read(self, *, is_locked: bool = False) -> tuple[dict[str, Any], "FaceTable"]:
        """Return statement and faces. Raises: as `statement`.

        With `is_locked` (the caller holds the lock) embeddings may be read later, at first use.
        """

    @abstractmethod
    def write(self, statement: Mapping[str, Any], faces: "FaceTable") -> "FaceTable":
        """Replace statement and faces, all or nothing; then remove crops of no face.

        The amount written is proportional to the faces that were added, changed or removed since
        `read`, see `FaceTable.stored`. Returns the faces with their new places. The caller holds
        the lock. Raises: FaceOpsError if it cannot be written.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Complete what a killed writer left, and migrate an earlier format, before `write`.

        A migration is reported on stderr. The caller holds the lock. Raises: as `statement`.
        """

    @abstractmethod
    def store_png(self, png: bytes) -> str:
        """Store the bytes of a crop; return its crop id (their sha256), "" of no bytes."""

    @abstractmethod
    def png(self, crop_id: str) -> bytes:
        """Return the bytes of a crop. Raises: FileNotFoundError."""

    @abstractmethod
    def unused_crops(self, used: Collection[str]) -> int:
        """Return how many crops have an id that is not in `used`; the next `write` drops them."""

    @abstractmethod
    def journal(self) -> "Journal":
        """Return the journal of decisions, which need not exist yet."""

    @abstractmethod
    def output_lines(self) -> list[bytes]:
        """Return the notes of output folders, see `faceops.gallery.outputs`. Raises: OSError."""

    @abstractmethod
    def add_output_lines(self, lines: Sequence[bytes]) -> None:
        """Add notes, at any time, locked or not. Raises: OSError if that is not permitted."""

    def purge(self) -> list[str]:
        """Overwrite the bytes of removed rows; return what is left, and why. Raises: FaceOpsError.

        A folder has none: its files are replaced.
        """
        return []

    def cells(self) -> Iterator[tuple[str, str | memoryview]]:
        """Yield place and content of all texts and blocks of bytes, to search for traces.

        A folder yields none: its files are searched like those of other folders.
        """
        return iter(())
