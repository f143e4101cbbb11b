"""Unpack archives from anywhere: nothing outside the target, no links, bounded size."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_folder
from faceops.base.progress import track

# The longest path of any system is far below this.
MAX_HEADER_BYTES = 1 << 20


class OversizedHeader(Exception):
    """A header claims more bytes of names or attributes than the limit.

    No `tarfile.TarError`: tarfile would take it for the end of the archive.
    """


class BoundedTarInfo(tarfile.TarInfo):
    """A tar member that refuses long headers before their bytes are read.

    `tarfile` reads the whole of a PAX header or GNU long name, whose size an archive may claim as
    it likes, hundreds of megabytes of zeros that compress to little. It has no setting against
    that, so this steps in where it decides what a header is by its type.
    """

    def _proc_member(self, tar: tarfile.TarFile) -> Self:
        long_kinds = (
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
        )
        if self.type in long_kinds and not 0 <= self.size <= MAX_HEADER_BYTES:
            raise OversizedHeader(
                f"a header of {self.size} bytes, more than the {MAX_HEADER_BYTES} allowed for names"
            )
        return super()._proc_member(tar)  # type: ignore[misc]


_BLOCK = 1 << 20
_SYMLINK_MODE = 0o120000
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,  # an encrypted zip
    ValueError,
)


@dataclass(frozen=True)
class ArchiveLimits:
    """What is unpacked at most: bytes of all files together, and entries."""

    max_bytes: int = 60_000_000_000
    max_entries: int = 3_000_000


@dataclass(frozen=True)
class _Entry:
    name: str
    is_folder: bool
    is_file: bool
    size: int
    stream: IO[bytes] | None


def is_archive(path: Path) -> bool:
    """Return whether the file `path` is a zip or a tar archive (gz, bz2, xz or plain)."""
    try:
        return zipfile.is_zipfile(path) or _is_tar(path)
    except (*_BROKEN, OSError):
        return False


def _is_tar(path: Path) -> bool:
    # Not tarfile.is_tarfile: it reads the first header's names, however long.
    try:
        with tarfile.open(path, tarinfo=BoundedTarInfo):
            return True
    except OversizedHeader:
        return True  # a tar, and `unpack` says what is wrong with it
    except tarfile.TarError:
        return False


def unpack(archive: Path, target: Path, limits: ArchiveLimits = ArchiveLimits()) -> Path:
    """Unpack `archive` into the new folder `target` and return it.

    What `target` holds is always whole: unpacking goes to a folder beside it, renamed at the end.
    If `target` is there, it was unpacked before and nothing is done.

    Raises:
        FaceOpsError: no archive, broken, an entry that leaves the folder or is a link or a
            device, or more than the limits.
    """
    if target.is_dir():
        return target
    try:
        total = 0
        with atomic_folder(target) as temporary, _entries(archive) as entries:
            for count, entry in enumerate(track(entries, f"unpack {archive.name}"), start=1):
                if count > limits.max_entries:
                    raise FaceOpsError(
                        f"{archive} has more than {limits.max_entries} entries; unpack it yourself "
                        "and import the folder."
                    )
                total += _unpack_entry(archive, entry, temporary, limits.max_bytes - total)
    except OversizedHeader as error:
        raise FaceOpsError(f"{archive} has {error}; do not trust it.") from None
    except _BROKEN as error:
        raise FaceOpsError(
            f"{archive} is broken or protected ({error}); download it again."
        ) from None
    except OSError as error:
        raise FaceOpsError(
            f"{archive} cannot be unpacked to {target.parent} ({error}); free space or mend it."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


@contextmanager
def _entries(archive: Path) -> Iterator[Iterator[_Entry]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield _zip_entries(file)
    elif _is_tar(archive):
        with tarfile.open(archive, tarinfo=BoundedTarInfo) as tar:
            yield _tar_entries(tar)
    else:
        raise FaceOpsError(f"{archive} is no tar, tgz or zip archive; name one, or a folder.")


def _zip_entries(file: zipfile.ZipFile) -> Iterator[_Entry]:
    for info in file.infolist():
        is_link = (info.external_attr >> 16) & 0o170000 == _SYMLINK_MODE
        is_file = not info.is_dir() and not is_link
        stream = file.open(info) if is_file else None
        yield _Entry(info.filename, info.is_dir(), is_file, info.file_size, stream)


def _tar_entries(tar: tarfile.TarFile) -> Iterator[_Entry]:
    for info in tar:
        stream = tar.extractfile(info) if info.isreg() else None
        yield _Entry(info.name, info.isdir(), info.isreg(), info.size, stream)
        tar.members = []  # type: ignore[attr-defined]  # else every entry stays in memory


def _unpack_entry(archive: Path, entry: _Entry, folder: Path, room: int) -> int:
    """Write one entry below `folder` and return its bytes."""
    path = PurePosixPath(entry.name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]
    if outside or "\0" in entry.name:
        raise FaceOpsError(
            f"{archive} has an entry outside its folder ({entry.name!r}); do not trust it."
        )
    if entry.is_folder:
        return 0
    if not entry.is_file or entry.stream is None:
        raise FaceOpsError(
            f"{archive} has a link or a device ({entry.name!r}), which is not unpacked; unpack it "
            "yourself and import the folder."
        )
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with entry.stream as source, place.open("wb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > room:  # counted, not believed: headers can lie
                raise FaceOpsError(
                    f"{archive} unpacks to more than the limit on bytes; unpack it yourself and "
                    "import the folder."
                )
            file.write(block)
    return written
