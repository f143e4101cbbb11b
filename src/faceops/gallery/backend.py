"""What keeps a gallery: the interface of a folder and of a database.

It imports no NumPy, and neither does `faceops.gallery.folder`: a run over an unchanged folder of
photos loads nothing else of the gallery.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceops.gallery.faces_file import FaceTable
    from faceops.gallery.journal import Journal


DECISIONS_FILE = "decisions.sqlite"  # in a folder, see `faceops.gallery.journal`


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
        """The same, valid in any working directory."""

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
        """Return whether there is a gallery.

        Raises:
            FaceOpsError: there are only parts of one.
        """

    @abstractmethod
    def statement(self) -> dict[str, Any]:
        """Return the statement.

        Raises:
            UsageError: there is no gallery.
            FaceOpsError: it is damaged or of another format version.
        """

    @abstractmethod
    def read(self, *, is_locked: bool = False) -> tuple[dict[str, Any], "FaceTable"]:
        """Return statement and faces, if the caller holds the lock maybe with embeddings unread.

        Raises: as `statement`.
        """

    @abstractmethod
    def write(self, statement: Mapping[str, Any], faces: "FaceTable") -> "FaceTable":
        """Replace statement and faces, all or nothing; then remove crops of no face.

        What it writes is proportional to the faces that are new, changed or removed since `read`,
        as `FaceTable.stored` tells. Returns the faces with the places where they are stored now.
        The caller holds the lock. Raises: FaceOpsError if it cannot be written.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Bring the gallery to a state that `write` can replace; the caller holds the lock.

        It completes what a killed writer left, and migrates an earlier format with one sentence on
        stderr. Raises: as `statement`.
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
        """Remove the bytes of what was removed; return what is left, and why.

        For a folder nothing: its files are written anew. Raises: FaceOpsError.
        """
        return []

    def cells(self) -> Iterator[tuple[str, str | memoryview]]:
        """Yield the place and content of every text and of blocks of bytes, to search them all.

        Nothing for a folder, which is searched like all others.
        """
        return iter(())
