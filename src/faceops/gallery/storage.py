"""Where a gallery is kept: in a folder, or in a PostgreSQL database that machines share.

In a folder, faces/ holds segments: Parquet files of at most `SEGMENT_FACES` faces with their
embeddings, each named by its content and immutable. A change of the gallery writes only the
segments that it touches. gallery.json lists them, with format version, contract and aliases; it is
replaced atomically, last. A killed writer so leaves the gallery as it was, and files that the next
writer removes. crops/ has the aligned crops, from which another release can embed the faces again.
copy/ has second copies of the segments and gallery.json, flushed to the disk, which only `repair`
reads.

Earlier formats have all faces in faces.parquet, with a copy; format 1 has the crops there too. They
can be read; the first command that changes such a gallery rewrites it.
"""

import filecmp
import hashlib
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from faceops.base.errors import DamageError, FaceOpsError, UsageError, first_line, shortage
from faceops.base.files import folder_lock, read_json_object, write_file, write_json
from faceops.gallery.backend import GalleryStorage

if TYPE_CHECKING:
    from faceops.gallery.faces_file import FaceTable
    from faceops.gallery.journal import Journal

GALLERY_FILE = "gallery.json"
SEGMENTS_FOLDER = "faces"
COPY_FOLDER = "copy"
OUTPUTS_FILE = "outputs.jsonl"
DECISIONS_FILE = "decisions.sqlite"  # see `faceops.gallery.journal`
FACES_FILE = "faces.parquet"  # of formats 1 and 2, and of archives
FACES_COPY = "faces.copy.parquet"
CROPS_FOLDER = "crops"
_CROP_FILE = re.compile(r"(?P<id>[0-9a-f]{64})\.png|\.[0-9a-f]{64}\.png\.tmp")  # or half written
SEGMENT_FACES = 16_384
_SEGMENTS = "segments"  # in gallery.json: number of faces by the segment's name
FIRST_WITH_SEGMENTS = 3  # format
_NAME_DIGITS = 15  # hexadecimal, of a segment's sha256: a positive int64
_READS = 5  # while a writer replaces what is read
_Manifest = tuple[dict[str, Any], dict[int, int]]
_Parsed = TypeVar("_Parsed")


def crop_path(gallery: Path, crop_id: str) -> Path:
    """Return the path of the crop in the folder of a gallery."""
    return gallery / CROPS_FOLDER / crop_id[:2] / f"{crop_id}.png"


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
        """Return size, times and inode of gallery.json and of the journal, if there is one."""
        try:
            files = [(self.path / GALLERY_FILE).stat()]
        except OSError:
            return ""
        for name in (FACES_FILE, DECISIONS_FILE):
            with suppress(OSError):
                files.append((self.path / name).stat())
        return " ".join(f"{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}:{s.st_ino}" for s in files)

    def contract_id(self) -> str:
        try:
            return str(read_json_object(self.path / GALLERY_FILE).get("contract_id", ""))
        except (OSError, ValueError):
            return ""

    def lock(self) -> AbstractContextManager[None]:
        return folder_lock(self.path)

    def exists(self) -> bool:
        if (self.path / GALLERY_FILE).exists():
            return True
        if self.has_parts():
            self.statement()  # says how to repair it
        if (self.path / CROPS_FOLDER).exists():
            raise FaceOpsError(
                f"{self.path} has {CROPS_FOLDER} but no {GALLERY_FILE}; name an empty folder."
            )
        return False

    def has_parts(self) -> bool:
        """Return whether the folder holds a gallery, whole or not."""
        names = (GALLERY_FILE, f"{COPY_FOLDER}/{GALLERY_FILE}", FACES_FILE, FACES_COPY)
        return any((self.path / name).is_file() for name in names)

    def statement(self) -> dict[str, Any]:
        return self._manifest()[0]

    def _manifest(self, damage: list[str] | None = None) -> _Manifest:
        """Return the statement, and the number of faces by segment; `damage`: see `_parsed`."""
        from faceops.gallery.faces_file import FORMAT_VERSION, complete_statement

        def parse(path: Path) -> _Manifest:
            content = read_json_object(path)
            listed = dict(content.get(_SEGMENTS, {}))
            segments = {int(name, 16): int(faces) for name, faces in listed.items()}
            return complete_statement(content), segments

        path = self.path / GALLERY_FILE
        if not self.has_parts():
            raise UsageError(
                f"{self.path} is not a gallery (it has no {GALLERY_FILE}); enrol people first: "
                f"faceops enrol PEOPLE_DIR --gallery {self.path}"
            )
        try:
            statement, segments = self._parsed(parse, path, damage)
        except DamageError as error:
            if damage is None or not self._is_early():
                raise
            damage.append(str(error).partition(";")[0])
            return {"schema_version": 2}, {}  # the file of faces states the rest
        version = statement["schema_version"]
        if version not in range(1, FORMAT_VERSION + 1):
            raise FaceOpsError(
                f"{path} has schema version {version}, this faceops reads {FORMAT_VERSION}; use "
                "the faceops that wrote it, or enrol into a new folder."
            )
        return statement, segments

    def _is_early(self) -> bool:
        return any((self.path / name).is_file() for name in (FACES_FILE, FACES_COPY))

    def _parsed(
        self, parse: Callable[[Path], _Parsed], path: Path, damage: list[str] | None
    ) -> _Parsed:
        """Return what `parse` reads from the file, or from its copy if it is damaged.

        `damage` gets what is damaged; with None a damaged file raises a DamageError.
        """
        from faceops.gallery.faces_file import DAMAGED

        try:
            return parse(path)
        except DAMAGED as error:
            if lack := shortage(error):
                raise lack from None
            what = f"{path} is damaged ({first_line(error)})"
        repair = f"run `faceops gallery repair --gallery {self.path}`."
        try:
            found = parse(self._copy_of(path))
        except DAMAGED:
            is_segment = path.parent.name == SEGMENTS_FOLDER
            if is_segment and int(path.stem, 16) not in self._manifest([])[1]:
                raise DamageError(
                    f"{self.path} was changed since it was read; run the command again."
                ) from None
            if path.name == GALLERY_FILE and self._is_early():
                raise DamageError(f"{what}; the faces are in {FACES_FILE}: {repair}") from None
            raise DamageError(
                f"{what}; it has no whole copy: names and embeddings are lost, crops and photos "
                "are not; import an archive of `faceops gallery export`, or enrol into a new "
                "folder."
            ) from None
        if damage is None:
            raise DamageError(f"{what}; nothing is lost, its copy is whole: {repair}")
        damage.append(what)
        return found

    def _copy_of(self, path: Path) -> Path:
        return self.path / (FACES_COPY if path.name == FACES_FILE else f"{COPY_FOLDER}/{path.name}")

    def read(
        self, damage: list[str] | None = None, *, is_locked: bool = False
    ) -> "tuple[dict[str, Any], FaceTable]":
        """Return statement and faces; with `damage`, from copies where a file is damaged.

        Raises:
            UsageError: there is no gallery.
            DamageError: a file is damaged, with `damage` its copy too.
        """
        for _ in range(_READS):
            manifest = self._manifest(damage)
            try:
                statement, faces = self._faces(*manifest, damage)
                if not is_locked:
                    faces.vectors.matrix()  # another process may delete the files later
                return statement, faces
            except DamageError:  # unless a writer has replaced a segment since
                if self._manifest([] if damage is None else damage) == manifest:
                    raise
        raise FaceOpsError(f"{self.path} is changed all the time; wait until that has ended.")

    def _faces(
        self, statement: dict[str, Any], segments: Mapping[int, int], damage: list[str] | None
    ) -> "tuple[dict[str, Any], FaceTable]":
        import numpy as np

        from faceops.gallery import faces_file

        files: list[tuple[Path, int, int | None]]
        files = [(self.path / FACES_FILE, faces_file.UNSAVED, None)]
        if statement["schema_version"] >= FIRST_WITH_SEGMENTS:
            files = [(self._segment_path(one), one, count) for one, count in segments.items()]
        parts = []
        for path, segment, expected in files:
            parse = partial(faces_file.parse_columns, statement=statement, count=expected)
            complete, columns = self._parsed(parse, path, damage)
            shape = len(columns), complete["embedding_size"]
            parse_rows = partial(faces_file.parse_embeddings, count=shape[0], size=shape[1])
            read = partial(self._parsed, parse_rows, path, damage)
            vectors = faces_file.Embeddings.of(read, *shape)
            segments_of = np.full(shape[0], segment, np.int64)
            parts.append(faces_file.FaceTable(columns, vectors, segments_of))
            statement = complete
        return statement, faces_file.FaceTable.joined(parts, statement["embedding_size"])

    def _segment_path(self, segment: int) -> Path:
        return self.path / SEGMENTS_FOLDER / f"{segment:0{_NAME_DIGITS}x}.parquet"

    def write(self, statement: Mapping[str, Any], faces: "FaceTable") -> "FaceTable":
        """Write the segments with new, changed or without removed faces, then gallery.json."""
        import numpy as np

        from faceops.gallery.faces_file import Embeddings, encode_faces

        saved: dict[int, int] = {}
        with suppress(UsageError, DamageError):  # a new gallery, or one that is repaired
            saved = self._manifest()[1]
        names, counts = np.unique(faces.stored, return_counts=True)
        counted = dict(zip(names.tolist(), counts.tolist(), strict=True))
        kept = dict(counted.items() & saved.items())
        if len(kept) < len(names):  # small segments are joined, so that they do not accumulate
            kept = {segment: n for segment, n in kept.items() if n > SEGMENT_FACES // 2}
        stored = faces.stored.copy()
        rest = np.flatnonzero(~np.isin(stored, list(kept)))
        dirty = faces.take(rest)
        dirty.vectors.matrix()  # of files that are deleted below
        for start in range(0, len(rest), SEGMENT_FACES):
            rows = rest[start : start + SEGMENT_FACES]
            part = dirty.take(np.arange(start, start + len(rows)))
            content = encode_faces(part)
            segment = int(hashlib.sha256(content).hexdigest()[:_NAME_DIGITS], 16)
            write_file(self._segment_path(segment), content)
            # Flushed to the disk: after a power failure, at least one of the two files is whole.
            write_file(self._copy_of(self._segment_path(segment)), content, sync=True)
            kept[segment], stored[rows] = len(part), segment
        listed = {f"{segment:0{_NAME_DIGITS}x}": kept[segment] for segment in sorted(kept)}
        manifest = {**statement, _SEGMENTS: listed}
        write_json(self.path / GALLERY_FILE, manifest)
        write_json(self.path / COPY_FOLDER / GALLERY_FILE, manifest, sync=True)
        unused = self._unused_crops(set(faces.texts("crop_id")))
        for path in (*self.unlisted(kept), *unused):
            path.unlink(missing_ok=True)
        order = np.arange(len(faces))
        order[rest] = len(faces) + np.arange(len(rest))
        vectors = Embeddings.joined([faces.vectors, dirty.vectors]).take(order)
        return replace(faces, vectors=vectors, stored=stored)

    def prepare(self) -> None:
        from faceops.gallery.faces_file import FORMAT_VERSION

        statement, segments = self._manifest()
        if statement["schema_version"] < FORMAT_VERSION:
            self.migrate()
            print(
                f"{self.path}: migrated to gallery format {FORMAT_VERSION}, of which a change "
                "writes little; earlier versions of faceops cannot read it.",
                file=sys.stderr,
            )
            return
        # First, since an old gallery.json lists what is removed below. Segments never change.
        first, *rest = self.files()
        self.mend_copies([first, *(path for path in rest if not self._copy_of(path).is_file())])
        for path in self.unlisted(segments):
            path.unlink(missing_ok=True)

    def unlisted(self, segments: Mapping[int, int] | None = None) -> list[Path]:
        """Return the files left by killed writers or earlier formats, maybe of forgotten people."""
        segments = self._manifest()[1] if segments is None else segments
        known = {self._segment_path(one).name for one in segments} | {GALLERY_FILE}
        folders = (self.path / SEGMENTS_FOLDER, self.path / COPY_FOLDER)
        found = [path for folder in folders for path in folder.glob("*") if path.name not in known]
        found += [*self.path.glob(".*.tmp"), self.path / FACES_FILE, self.path / FACES_COPY]
        return [path for path in found if path.is_file()]

    def files(self) -> list[Path]:
        """Return the files that have copies: gallery.json, then the segments."""
        return [self.path / GALLERY_FILE, *map(self._segment_path, self._manifest()[1])]

    def is_copied(self, path: Path) -> bool:
        """Return whether the copy of a file has the same bytes."""
        try:
            return filecmp.cmp(path, self._copy_of(path), shallow=False)
        except OSError:
            return False

    def mend_copies(self, paths: Sequence[Path]) -> None:
        """Copy those of the files again whose copy is missing or differs."""
        for path in paths:
            if not self.is_copied(path):
                with suppress(FileNotFoundError):  # reading the gallery says so
                    write_file(self._copy_of(path), path.read_bytes(), sync=True)

    def migrate(self) -> None:
        """Rewrite a gallery of an earlier format in the present one."""
        from faceops.gallery.faces_file import FORMAT_VERSION

        statement, faces = self.read()
        if statement["schema_version"] == 1:
            faces = self.with_stored_crops(faces)
        self.write({**statement, "schema_version": FORMAT_VERSION}, faces)

    def with_stored_crops(self, faces: "FaceTable") -> "FaceTable":
        """Return the faces of format 1 with their crops stored in files of their own."""
        from faceops.gallery.faces_file import format_1_crops

        crops = self._parsed(lambda path: [*format_1_crops(path)], self.path / FACES_FILE, [])
        return faces.with_crop_ids([*map(self.store_png, crops)])

    def store_png(self, png: bytes) -> str:
        if not png:
            return ""
        crop_id = hashlib.sha256(png).hexdigest()
        path = crop_path(self.path, crop_id)
        if not path.is_file():
            write_file(path, png)
        return crop_id

    def png(self, crop_id: str) -> bytes:
        return crop_path(self.path, crop_id).read_bytes()

    def unused_crops(self, used: Collection[str]) -> int:
        return len(self._unused_crops(used))

    def _unused_crops(self, used: Collection[str]) -> list[Path]:
        """Return every crop, finished or half written, whose id is not in `used`; no other file."""
        found = []
        for folder in (self.path / CROPS_FOLDER).glob("??"):
            with suppress(OSError), os.scandir(folder) as files:  # there may be a million
                for file in files:
                    match = _CROP_FILE.fullmatch(file.name)
                    if match and match["id"] not in used and file.is_file():
                        found.append(Path(file.path))
        return found

    def journal(self) -> "Journal":
        from faceops.gallery.journal import Journal

        return Journal(self.path / DECISIONS_FILE)

    def output_lines(self) -> list[bytes]:
        path = self.path / OUTPUTS_FILE
        return path.read_bytes().splitlines() if path.exists() else []

    def add_output_lines(self, lines: Sequence[bytes]) -> None:
        # One write: the lines of two runs that start at once do not mix.
        with (self.path / OUTPUTS_FILE).open("ab", buffering=0) as file:
            file.write(b"".join(line + b"\n" for line in lines))


GalleryPlace = Path | GalleryStorage


def gallery_place(text: str) -> GalleryPlace:
    """Return the place that --gallery names: a folder, or an address of PostgreSQL.

    Raises UsageError: it looks like an address, and is none of a gallery.
    """
    if "://" not in text:
        return Path(text)
    from faceops.gallery.postgres.connection import Address
    from faceops.gallery.postgres.storage import PostgresStorage

    return PostgresStorage(Address.parse(text))


def storage_of(place: GalleryPlace) -> GalleryStorage:
    return place if isinstance(place, GalleryStorage) else FolderStorage(place)
