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
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import atomic_path, temporary_name
from faceops.base.locks import folder_lock
from faceops.base.progress import track
from faceops.gallery.crops import CROPS_FOLDER, crop_path
from faceops.gallery.faces_file import read_statement
from faceops.gallery.folder import FACES_FILE, GALLERY_FILE, OUTPUTS_FILE, has_content
from faceops.gallery.store import Gallery, open_for_update

ARCHIVE_VERSION = 1
MANIFEST_FILE = "manifest.json"
_FILES = (FACES_FILE, GALLERY_FILE, OUTPUTS_FILE)
_CROP = re.compile(rf"{CROPS_FOLDER}/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})\.png")
_BLOCK = 1 << 20  # bytes
MAX_CROP = 1 << 20  # bytes; a PNG of 112 x 112 pixels has 40 kB at most
MAX_MANIFEST = 1 << 28
_ERRORS = (OSError, tarfile.TarError, ValueError, KeyError, TypeError, pa.ArrowException)
# Rows and bytes that faces.parquet may hold in one byte of the file: more is a decompression bomb.
MAX_ROWS, MAX_EXPANSION = 1 / 16, 64


def export_gallery(folder: Path, archive: Path) -> Gallery:
    """Write the gallery to the file `archive`, replaced atomically; return the gallery.

    The gallery is locked. Memory holds its rows, and one crop at a time.

    Raises:
        UsageError: there is no gallery, or `archive` lies in it or is a folder.
        FaceOpsError: the gallery is damaged or in use, or the file cannot be written.
    """
    if archive.is_dir() or archive.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{archive} is a folder, or lies in the gallery; name a file elsewhere.")
    read_statement(folder)  # before the lock, which would create the folder
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(folder), atomic_path(archive, sync=True) as temporary:
            gallery = Gallery.open(folder)
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                _write(tar, gallery)
    except OSError as error:
        raise FaceOpsError(
            f"{error.filename or archive}: {error.strerror or error}; nothing was exported."
        ) from None
    return gallery


def _write(tar: tarfile.TarFile, gallery: Gallery) -> None:
    digests: dict[str, str] = {}

    def add(name: str, content: BinaryIO, size: int) -> None:
        member = tarfile.TarInfo(name)  # time 0, owner 0, no names
        member.size, member.mode = size, 0o600
        tar.addfile(member, content)
        tar.members.clear()  # type: ignore[attr-defined]  # else it keeps all of them

    for name in _FILES:
        path = gallery.folder / name
        if path.is_file():
            with path.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
                file.seek(0)
                add(name, file, size)
    crop_ids = sorted({face.crop_id for face in gallery.faces} - {""})
    for crop_id in track(crop_ids, "export"):
        path = crop_path(gallery.folder, crop_id)
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != crop_id:
            raise FaceOpsError(
                f"{path} is missing or damaged, nothing was exported: "
                f"run `faceops gallery repair --gallery {gallery.folder}` first."
            )
        name = path.relative_to(gallery.folder).as_posix()
        digests[name] = crop_id
        add(name, io.BytesIO(content), len(content))
    manifest = {
        "archive_version": ARCHIVE_VERSION,
        "contract_id": gallery.contract_id,
        "files": digests,
        "gallery_format": gallery.format_version,
    }
    content = json.dumps(manifest, indent=1, sort_keys=True).encode()
    add(MANIFEST_FILE, io.BytesIO(content), len(content))


def import_gallery(archive: Path, folder: Path) -> Gallery:
    """Unpack `archive` into the new gallery `folder`, and return the gallery.

    The folder appears when every file is checked against the manifest. A gallery of an older
    format is migrated.

    Raises:
        UsageError: `folder` is not empty, or `archive` is not a file.
        FaceOpsError: the archive is damaged, or holds something else than a gallery; the folder
            cannot be written.
    """
    if not archive.is_file():
        raise UsageError(f"{archive} is not a file; name an archive of `faceops gallery export`.")
    if folder.exists() and (not folder.is_dir() or has_content(folder)):
        raise UsageError(f"{folder} is not empty; import into a new folder.")
    temporary = temporary_name(folder)
    with folder_lock(temporary):
        try:
            for path in temporary.iterdir():  # a killed import left them
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != ".lock":
                    path.unlink()
            _unpack(archive, temporary)
            Gallery.open(temporary)
            temporary.rename(folder)  # fails if another process has filled it
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, _ERRORS):
                raise FaceOpsError(f"{archive} cannot be imported ({error}).") from None
            raise
        return open_for_update(folder)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack to `folder`, and compare with the manifest; raise a ValueError or tarfile's errors."""
    digests: dict[str, str] = {}
    manifest: dict[str, Any] | None = None
    # "r|": a stream, and no compression, so that no member is larger than it is in the archive.
    with tarfile.open(archive, "r|") as tar:
        for member in track(_members(tar), "import"):
            name = member.name
            if not member.isreg() or member.issparse() or member.size < 0:
                raise ValueError(f"{name!r} is not a plain file")
            if name in digests or manifest is not None:
                raise ValueError(f"{name!r} is there twice, or after the manifest")
            content = tar.extractfile(member)
            assert content is not None  # of a plain file
            if name == MANIFEST_FILE:
                manifest = _manifest(content, member.size)
                continue
            match = _CROP.fullmatch(name)
            if name not in _FILES and (match is None or member.size > MAX_CROP):
                raise ValueError(f"{name!r} is no file of a gallery")
            digests[name] = _copy(content, folder / PurePosixPath(name))
    if manifest is None:
        raise ValueError("it was cut off: it has no manifest.json at its end")
    if manifest["files"] != digests:
        wrong = sorted(manifest["files"].items() ^ digests.items())
        raise ValueError(f"{wrong[0][0]} and {len(wrong) - 1} others are not those of its manifest")
    _refuse_bomb(folder / FACES_FILE)


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # else it keeps all of them
        yield member


def _manifest(content: Any, size: int) -> dict[str, Any]:
    if size > MAX_MANIFEST:
        raise ValueError(f"its manifest has {size} bytes")
    manifest = json.loads(content.read())
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ValueError("its manifest lists no files")
    if manifest.get("archive_version") != ARCHIVE_VERSION:
        raise ValueError(
            f"it is of archive version {manifest.get('archive_version')}, this faceops reads "
            f"{ARCHIVE_VERSION}"
        )
    return manifest


def _copy(content: Any, path: Path) -> str:
    """Write the file, and return its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("xb") as file:
        while block := content.read(_BLOCK):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _refuse_bomb(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"it has no {FACES_FILE}")
    size = path.stat().st_size
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        rows, expanded = file.metadata.num_rows, sum(group.total_byte_size for group in groups)
    if rows > size * MAX_ROWS + 1 or expanded > size * MAX_EXPANSION + _BLOCK:
        raise ValueError(f"{FACES_FILE} would expand to {rows} rows of {expanded} bytes")
