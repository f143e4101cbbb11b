"""From a path or a URL to a folder that holds a source's files."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from faceops.base.errors import FaceOpsError, UsageError
from faceops.dataset.archives import is_archive, unpack
from faceops.dataset.download import download


def public_place(place: str) -> str:
    """Return what may be written down of `place`: a URL without password and query, a bare name."""
    parts = urlsplit(place)
    if parts.scheme in ("http", "https"):
        host = parts.hostname or ""
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"
    return Path(unquote(parts.path) if parts.scheme == "file" else place).name


def is_folder(place: str) -> bool:
    """Return whether `place` is a folder of this machine, not an archive or a download."""
    local = _local(place)
    return local is not None and local.is_dir()


def _local(place: str) -> Path | None:
    """Return the path that `place` is, None for a URL that must be downloaded.

    Raises:
        UsageError: an address of another kind, or nothing.
    """
    scheme = urlsplit(place).scheme
    if scheme in ("http", "https"):
        return None
    if "://" in place and scheme != "file":
        raise UsageError(f"{place} is not an http, https or file address; give one, or a path.")
    if not place.strip():
        raise UsageError("the place to import from is empty; name a folder, an archive or a URL.")
    return Path(url2pathname(urlsplit(place).path) if scheme == "file" else place)


@contextmanager
def source_folder(place: str, work: Path) -> Iterator[Path]:
    """Yield the folder that `place` is, or that its archive was unpacked to below `work`.

    `work` keeps what has been downloaded and unpacked if the import fails or is interrupted, so
    that the next run goes on; it is removed when all went well.

    Raises:
        UsageError: nothing there, or no address.
        FaceOpsError: no archive, or a download that failed.
    """
    local = _local(place)
    if local is None:
        mine = work / _digest(place)
    else:
        if local.is_dir():
            yield local
            return
        if not local.is_file():
            raise UsageError(f"{local} does not exist; name a folder, an archive or a URL.")
        status = local.stat()
        mine = work / _digest(f"{local.resolve()}:{status.st_size}:{status.st_mtime_ns}")
    try:
        yield unpack(local or _downloaded(place, mine), mine / "unpacked")
        shutil.rmtree(mine, ignore_errors=True)
    finally:
        for folder in (mine, work):
            with suppress(OSError):  # only if nothing is kept in it
                folder.rmdir()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _downloaded(url: str, folder: Path) -> Path:
    archive = download(url, folder / (Path(urlsplit(url).path).name or "archive"))
    if not is_archive(archive):
        archive.unlink()
        raise FaceOpsError(
            f"{url} gave no tar, tgz or zip archive, perhaps a page that asks for a login; check "
            "the address, or download the archive yourself and give its path."
        )
    return archive
