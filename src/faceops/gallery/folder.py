"""A gallery in a folder.

faces.parquet holds a row for each face with its embedding, crops/ the aligned crops, by which a
later release can embed the same faces again, and gallery.json states format version, contract and
aliases. Every file is replaced atomically. The Parquet file is written first and repeats contract
and aliases in its metadata; those count, so a writer that is killed between the two files leaves
a consistent gallery, and the next writer corrects gallery.json. faces.copy.parquet, written last,
is the copy from which `repair` restores faces.parquet; only repair reads it.

Galleries of format 1 have the crops in faces.parquet. They can be read; the first command that
changes one rewrites it in format 2.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object, write_file, write_json
from faceops.base.locks import folder_lock
from faceops.gallery.storage import GalleryStorage

if TYPE_CHECKING:
    from faceops.gallery.faces_file import GalleryFace
    from faceops.gallery.journal import Journal

GALLERY_FILE = "gallery.json"
FACES_FILE = "faces.parquet"
COPY_FILE = "faces.copy.parquet"  # the same bytes: names and embeddings are nowhere else
OUTPUTS_FILE = "outputs.jsonl"
DECISIONS_FILE = "decisions.sqlite"  # see `faceops.gallery.journal`


@dataclass(frozen=True)
class FolderStorage(GalleryStorage):
    """The gallery in the folder `path`, which need not exist."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def address(self) -> str:
        return str(self.path.resolve())

    @property
    def folder(self) -> Path:
        return self.path

    @property
    def scratch(self) -> Path:
        return self.path

    def stamp(self) -> str:
        """Return size, times and inode of the files; "" when one is missing.

        Those of the journal of decisions are included, if there is one.
        """
        try:
            files = [(self.path / name).stat() for name in (GALLERY_FILE, FACES_FILE)]
        except OSError:
            return ""
        with suppress(OSError):
            files.append((self.path / DECISIONS_FILE).stat())
        return " ".join(f"{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}:{s.st_ino}" for s in files)

    def contract_id(self) -> str:
        try:
            return str(read_json_object(self.path / GALLERY_FILE).get("contract_id", ""))
        except (OSError, ValueError):
            return ""

    def lock(self) -> AbstractContextManager[None]:
        return folder_lock(self.path)

    def exists(self) -> bool:
        from faceops.gallery.crops import CROPS_FOLDER

        if (self.path / GALLERY_FILE).exists():
            return True
        if any((self.path / name).exists() for name in (FACES_FILE, COPY_FILE)):
            self.statement()  # says how to repair it
        if (self.path / CROPS_FOLDER).exists():
            raise FaceOpsError(
                f"{self.path} has {CROPS_FOLDER} but no {GALLERY_FILE}; name an empty folder."
            )
        return False

    def statement(self) -> dict[str, Any]:
        from faceops.gallery.faces_file import read_statement

        return read_statement(self.path)

    def read(self) -> tuple[dict[str, Any], "Sequence[GalleryFace]"]:
        from faceops.gallery.faces_file import read_faces

        return read_faces(self.path / FACES_FILE, self.statement())

    def write(self, statement: dict[str, Any], faces: "Sequence[GalleryFace]") -> None:
        from faceops.gallery.crops import unused_crops
        from faceops.gallery.faces_file import encode_faces

        content = encode_faces(faces, statement)
        write_file(self.path / FACES_FILE, content)
        write_json(self.path / GALLERY_FILE, statement)
        # Flushed to the disk: after a power failure, at least one of the two files is whole.
        write_file(self.path / COPY_FILE, content, sync=True)
        for path in unused_crops(self.path, {face.crop_id for face in faces}):
            path.unlink(missing_ok=True)

    def prepare(self) -> None:
        from faceops.gallery.crops import format_1_crops
        from faceops.gallery.faces_file import FORMAT_VERSION, is_copied

        for left in self.path.glob(".*.tmp"):  # of a killed process; it may hold a forgotten person
            if left.is_file():
                left.unlink(missing_ok=True)
        statement, faces = self.read()
        if statement["schema_version"] == FORMAT_VERSION:
            # A writer may have been killed before it wrote the other files.
            if self.statement() != statement:
                write_json(self.path / GALLERY_FILE, statement)
            if not is_copied(self.path):
                content = (self.path / FACES_FILE).read_bytes()
                write_file(self.path / COPY_FILE, content, sync=True)
            return
        crop_ids = [self.store_png(crop) for crop in format_1_crops(self.path / FACES_FILE)]
        pairs = zip(faces, crop_ids, strict=True)
        migrated = [replace(face, crop_id=crop_id) for face, crop_id in pairs]
        self.write({**statement, "schema_version": FORMAT_VERSION}, migrated)
        print(
            f"{self.path}: migrated to gallery format {FORMAT_VERSION}, which keeps crops in their "
            "own files; earlier versions of faceops cannot read it.",
            file=sys.stderr,
        )

    def store_png(self, png: bytes) -> str:
        from faceops.gallery.crops import store_png

        return store_png(self.path, png)

    def png(self, crop_id: str) -> bytes:
        from faceops.gallery.crops import crop_path

        return crop_path(self.path, crop_id).read_bytes()

    def journal(self) -> "Journal":
        from faceops.gallery.journal import Journal

        return Journal(self.path)

    def output_lines(self) -> list[bytes]:
        path = self.path / OUTPUTS_FILE
        return path.read_bytes().splitlines() if path.exists() else []

    def add_output_lines(self, lines: Sequence[bytes]) -> None:
        # One write: the lines of two runs that start at once do not mix.
        with (self.path / OUTPUTS_FILE).open("ab", buffering=0) as file:
            file.write(b"".join(line + b"\n" for line in lines))

    def traces(
        self, is_mentioned: Callable[[str], bool], secrets: Sequence[bytes], marks: Sequence[bytes]
    ) -> list[str]:
        return []
