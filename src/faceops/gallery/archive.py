"""Export a gallery to one file, and import it into a new folder.

The archive is an uncompressed tar file of the gallery's files, sorted, without times and owners, so
that equal galleries give equal bytes. Its last member, manifest.json, states the archive's version,
the gallery's format and contract, and the sha256 of every other member; an archive that was cut
off has none.
"""

import hashlib
import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import (
    atomic_path,
    folder_lock,
    read_json_object,
    sha256_file,
    temporary_name,
)
from faceops.base.work import track
from faceops.gallery.backend import GalleryStorage
from faceops.gallery.check import require_sound
from faceops.gallery.faces_file import encode_faces
from faceops.gallery.outputs import has_content
from faceops.gallery.storage import (
    CROPS_FOLDER,
    DECISIONS_FILE,
    FACES_FILE,
    GALLERY_FILE,
    OUTPUTS_FILE,
    FolderStorage,
    GalleryPlace,
    storage_of,
)
from faceops.gallery.store import Gallery

ARCHIVE_VERSION = 1
_FORMAT = 2  # of the gallery in an archive: all faces in one file, whatever was changed before
MANIFEST_FILE = "manifest.json"
_FILES = (FACES_FILE, GALLERY_FILE, OUTPUTS_FILE, DECISIONS_FILE)
_CROP = re.compile(rf"{CROPS_FOLDER}/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})\.png")
_ERRORS = (
    *(FaceOpsError, OSError, tarfile.TarError, ValueError, KeyError, TypeError),
    pa.ArrowException,
)
# Rows and bytes that faces.parquet may hold in one byte of the file: more is a decompression bomb.
_MAX_ROWS, _MAX_EXPANSION = 1 / 16, 64
_SMALL = 1 << 20  # bytes that any file may hold


def export_gallery(place: GalleryPlace, archive: Path) -> Gallery:
    """Write the gallery to the file `archive`, replaced atomically; return the gallery.

    The gallery is locked, and must be undamaged, so that the archive can be imported.

    Raises:
        UsageError: there is no gallery, or `archive` lies in it or is a folder.
        FaceOpsError: the gallery is damaged or in use, or the file cannot be written.
    """
    storage = storage_of(place)
    is_inside = storage.folder and archive.resolve().is_relative_to(storage.folder.resolve())
    if archive.is_dir() or is_inside:
        raise UsageError(f"{archive} is a folder, or lies in the gallery; name a file elsewhere.")
    storage.statement()  # before the lock, which would create the folder
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with storage.lock(), atomic_path(archive, sync=True) as temporary:
            storage.prepare()  # crops of format 1 lie with the faces
            gallery = Gallery.open(place)
            require_sound(place)
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                _write(tar, gallery)
    except ValueError as error:
        raise FaceOpsError(
            f"{error}; nothing was exported: see `faceops gallery check --gallery {place}`, and "
            "repair it first."
        ) from None
    except OSError as error:
        raise FaceOpsError(
            f"{error.filename or archive}: {error.strerror or error}; nothing was exported."
        ) from None
    return gallery


def _write(tar: tarfile.TarFile, gallery: Gallery) -> None:
    def add(name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)  # time 0, owner 0, no names
        member.size, member.mode = len(content), 0o600
        tar.addfile(member, io.BytesIO(content))

    storage = gallery.storage
    statement = gallery.statement() | {"schema_version": _FORMAT}
    contents = {
        FACES_FILE: encode_faces(gallery.faces, statement),
        GALLERY_FILE: json.dumps(statement, indent=1, sort_keys=True).encode(),
        OUTPUTS_FILE: b"".join(line + b"\n" for line in storage.output_lines()),
    }
    if storage.journal().count():
        contents[DECISIONS_FILE] = storage.journal().content()
    crop_ids = sorted(set(gallery.faces.texts("crop_id")) - {""})
    digests = {}
    for name in track([*contents, *crop_ids], "export"):
        content = contents.get(name) or b""
        if name not in contents:
            content, name = storage.png(name), f"{CROPS_FOLDER}/{name[:2]}/{name}.png"
        elif not content:
            continue
        digests[name] = hashlib.sha256(content).hexdigest()
        add(name, content)
    manifest = {
        "archive_version": ARCHIVE_VERSION,
        "contract_id": gallery.contract_id,
        "files": digests,
        "gallery_format": _FORMAT,
    }
    add(MANIFEST_FILE, json.dumps(manifest, indent=1, sort_keys=True).encode())


def import_gallery(archive: Path, place: GalleryPlace) -> Gallery:
    """Unpack `archive` into the new gallery `place`, and return the gallery.

    The folder appears when every file agrees with the manifest and the gallery is sound. A gallery
    of an older format is migrated.

    Raises:
        UsageError: `place` is not empty, or `archive` is not a file.
        FaceOpsError: the archive is damaged, or holds something else than a sound gallery; the
            folder cannot be written.
    """
    if not archive.is_file():
        raise UsageError(f"{archive} is not a file; name an archive of `faceops gallery export`.")
    storage = storage_of(place)
    folder = storage.folder or storage.scratch / "import"
    if storage.folder is None and storage.exists():
        raise UsageError(f"{storage} holds a gallery; import it under another name.")
    if folder.exists() and (not folder.is_dir() or has_content(folder)):
        raise UsageError(f"{folder} is not empty; import into a new folder.")
    temporary = temporary_name(folder)
    unpacked = temporary / "gallery"
    with folder_lock(temporary):
        try:
            shutil.rmtree(unpacked, ignore_errors=True)  # of a killed import
            _unpack(archive, unpacked)
            require_sound(unpacked)
            FolderStorage(unpacked).migrate()
            if storage.folder is None:
                _copy(FolderStorage(unpacked), storage)
            else:
                unpacked.rename(folder)  # fails if another process has filled it
        except _ERRORS as error:
            raise FaceOpsError(f"{archive} cannot be imported ({error}).") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Gallery.open(place)


def _copy(source: GalleryStorage, target: GalleryStorage) -> None:
    with target.lock():
        if target.exists():
            raise FaceOpsError("another process has made a gallery there")
        statement, faces = source.read()
        target.add_output_lines(source.output_lines())
        before, after = source.journal(), target.journal()
        after.merge(before.entries())
        after.note_tried(statement["contract_id"], before.tried(statement["contract_id"]))
        for crop_id in track(sorted(set(faces.texts("crop_id")) - {""}), "copy"):
            target.store_png(source.png(crop_id))
        target.write(statement, faces.unsaved())


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack to `folder`, and compare with the manifest; raise one of `_ERRORS`."""
    digests: dict[str, str] = {}
    # "r|": a stream, and no compression, so that no member is larger than it is in the archive.
    with tarfile.open(archive, "r|") as tar:
        for member in track(tar, "import"):
            name = member.name
            if name not in (*_FILES, MANIFEST_FILE) and _CROP.fullmatch(name) is None:
                raise ValueError(f"{name!r} is not a file of a gallery")
            if not member.isreg() or member.issparse():
                raise ValueError(f"{name!r} is not a plain file")
            content = tar.extractfile(member)
            assert content is not None  # of a plain file
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                shutil.copyfileobj(content, file)
            digests[name] = sha256_file(path)
    if digests.pop(MANIFEST_FILE, None) is None:
        raise ValueError("it was cut off: it has no manifest.json at its end")
    manifest = read_json_object(folder / MANIFEST_FILE)
    (folder / MANIFEST_FILE).unlink()
    version = manifest.get("archive_version")
    if version != ARCHIVE_VERSION:
        raise ValueError(f"its version is {version}, this faceops reads {ARCHIVE_VERSION}")
    if wrong := dict(manifest["files"]).items() ^ digests.items():
        raise ValueError(f"{min(wrong)[0]} is not the file that its manifest states")
    _refuse_bomb(folder / FACES_FILE)


def _refuse_bomb(path: Path) -> None:
    size = path.stat().st_size
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        rows, expanded = file.metadata.num_rows, sum(group.total_byte_size for group in groups)
    if rows > size * _MAX_ROWS + 1 or expanded > size * _MAX_EXPANSION + _SMALL:
        raise ValueError(f"{FACES_FILE} would expand to {rows} rows of {expanded} bytes")
