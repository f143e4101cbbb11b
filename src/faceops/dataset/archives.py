"""The folder of a source: a folder, or one that is unpacked from an archive or a URL."""

import hashlib
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from faceops.base.download import download
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import atomic_folder
from faceops.base.work import track

MAX_HEADER_BYTES = 1 << 20  # far above the longest path of any system
MAX_BYTES = 60_000_000_000  # of all files of an archive together
MAX_ENTRIES = 3_000_000

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


class OversizedHeaderError(Exception):
    """A header claims more bytes of names or attributes than the limit.

    Not a `tarfile.TarError`: tarfile would treat that as the end of the archive.
    """


class BoundedTarInfo(tarfile.TarInfo):
    """A tar member that refuses long headers before their bytes are read.

    `tarfile` reads a whole PAX header or GNU long name into memory. An archive may claim any
    size, such as hundreds of megabytes of zeros that compress to little.
    """

    def _proc_member(self, tar: tarfile.TarFile) -> Self:
        long_headers = b"LKxgX"  # GNU long name and link, PAX header, global header, Solaris'
        if self.type in long_headers and not 0 <= self.size <= MAX_HEADER_BYTES:
            raise OversizedHeaderError(
                f"a header of {self.size} bytes, more than the {MAX_HEADER_BYTES} allowed for names"
            )
        return super()._proc_member(tar)  # type: ignore[misc]


def is_archive(path: Path) -> bool:
    """Return whether the file `path` is a zip or a tar archive (gz, bz2, xz or plain)."""
    # Not tarfile.is_tarfile: it reads a name of any length in the first header.
    try:
        if not zipfile.is_zipfile(path):
            tarfile.open(path, tarinfo=BoundedTarInfo).close()
    except OversizedHeaderError:
        return True  # `unpack` refuses it
    except (*_BROKEN, OSError):
        return False
    return True


def unpack(archive: Path, target: Path) -> Path:
    """Unpack `archive` into the new folder `target`, as a whole or not at all, and return it.

    An existing `target` is kept as it is.

    Raises:
        FaceOpsError: not an archive, broken, too large, or an entry that is a link, a
            device or outside the folder.
    """
    if target.is_dir():
        return target
    if not is_archive(archive):
        raise FaceOpsError(f"{archive} is not a tar, tgz or zip archive; name one, or a folder.")
    extract = _unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar
    try:
        with atomic_folder(target) as temporary:
            extract(archive, temporary)
    except OversizedHeaderError as error:
        raise FaceOpsError(f"{archive} has {error}; do not trust it.") from None
    except _BROKEN as error:
        raise FaceOpsError(
            f"{archive} is broken or protected ({error}); download it again."
        ) from None
    except OSError as error:
        raise FaceOpsError(
            f"{archive} cannot be unpacked to {target.parent} ({error}); free space or change it."
        ) from None
    return target


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        # `extract` writes no more than the header says.
        _check_limits(archive, len(members), sum(each.file_size for each in members))
        for member in track(members, f"unpack {archive.name}"):
            _check_entry(archive, member.filename, not stat.S_ISLNK(member.external_attr >> 16))
            file.extract(member, folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    size = 0
    with tarfile.open(archive, tarinfo=BoundedTarInfo) as tar:
        for count, member in enumerate(track(tar, f"unpack {archive.name}"), start=1):
            size += member.size
            _check_limits(archive, count, size)
            _check_entry(archive, member.name, member.isreg() or member.isdir())
            # Not `extract`: its safe filter came with Python 3.11.4.
            target = folder / member.name
            content = tar.extractfile(member)
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
            tar.members = []  # type: ignore[attr-defined]  # else all entries stay in memory


def _check_limits(archive: Path, entries: int, size: int) -> None:
    if entries > MAX_ENTRIES or size > MAX_BYTES:
        raise FaceOpsError(
            f"{archive} has more than the limit of {MAX_ENTRIES:,} entries or {MAX_BYTES:,} bytes "
            "unpacked; unpack it yourself and import the folder."
        )


def _check_entry(archive: Path, name: str, file_or_folder: bool) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise FaceOpsError(
            f"{archive} has an entry outside its folder ({name!r}); do not trust it."
        )
    if not file_or_folder:
        raise FaceOpsError(
            f"{archive} has a link or a device ({name!r}), which is not unpacked; unpack it "
            "yourself and import the folder."
        )


@contextmanager
def source_folder(place: str, work: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of a source, and whether it was unpacked from an archive.

    Args:
        place: a folder, an archive, or the URL of an archive (http, https or file).
        work: folder for what is downloaded and unpacked. It is kept after an error, so that the
            next call resumes, and removed after success.

    Raises:
        UsageError: `place` does not exist, or is not an address.
        FaceOpsError: not an archive, or a download that failed.
    """
    scheme = urlsplit(place).scheme
    if "://" in place and scheme not in ("http", "https", "file"):
        raise UsageError(f"{place} is not an http, https or file address; give one, or a path.")
    if not place.strip():
        raise UsageError("the place to import from is empty; name a folder, an archive or a URL.")
    is_remote = scheme in ("http", "https")
    local = Path(url2pathname(urlsplit(place).path) if scheme == "file" else place)
    version = place
    if not is_remote:
        if local.is_dir():
            yield local, False
            return
        if not local.is_file():
            raise UsageError(f"{local} does not exist; name a folder, an archive or a URL.")
        status = local.stat()
        stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        version = f"{local.resolve()}:{stamp}"
    folder = work / hashlib.sha256(version.encode()).hexdigest()[:16]
    try:
        archive = local
        if is_remote:
            archive = download(place, folder / (Path(urlsplit(place).path).name or "archive"))
            if not is_archive(archive):
                archive.unlink()
                raise FaceOpsError(
                    f"{place} gave no tar, tgz or zip archive, perhaps a page that requires a "
                    "login; check the address, or download the archive and give its path."
                )
        yield unpack(archive, folder / "unpacked"), True
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        for each in (folder, work):
            with suppress(OSError):  # unless it is empty
                each.rmdir()


def without_credentials(place: str) -> str:
    """Return `place` for sources.json: a URL without password and query, or a file's bare name."""
    parts = urlsplit(place)
    if parts.scheme in ("http", "https"):
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
    return Path(unquote(parts.path) if parts.scheme == "file" else place).name
