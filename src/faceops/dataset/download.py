"""Download one file over http or https: bounded, resumed where the server can."""

import hashlib
import http.client
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.progress import track
from faceops.dataset.archives import is_archive, unpack

_BLOCK = 1 << 20
_TIMEOUT_S = 60.0


def download(url: str, target: Path, max_bytes: int = 60_000_000_000) -> Path:
    """Download `url` to the file `target` and return it; a file that is there is kept.

    What has arrived stays in `target`.part; the next call asks for the rest, if the server has
    named a version of the file (ETag or date) that is still the same.

    Raises:
        FaceOpsError: not http(s), no answer, an error from the server, too large, or cut short.
    """
    if target.is_file():
        return target
    if urlsplit(url).scheme not in ("http", "https"):
        raise FaceOpsError(f"{url} is not an http or https address; give one, or a path.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part, version = target.with_name(target.name + ".part"), target.with_name(target.name + ".tag")
    request = urllib.request.Request(url, headers={"User-Agent": "faceops"})
    start = _resume(request, part, version)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            if answer.status != 206:
                start = 0
            length = answer.headers.get("Content-Length")
            whole = start + int(length) if length and length.isdigit() else None
            if whole is not None and whole > max_bytes:
                raise _too_large(url, max_bytes)
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            version.write_text(json.dumps(tag), encoding="utf-8")
            size = start
            with part.open("ab" if start else "wb") as file:
                blocks = _blocks(answer)
                total = None if whole is None else -(-(whole - start) // _BLOCK)
                for block in track(blocks, f"download {target.name} (MiB)", total):
                    size += len(block)
                    if size > max_bytes:
                        raise _too_large(url, max_bytes)
                    file.write(block)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is there is not the beginning of what the server has
            part.unlink(missing_ok=True)
            version.unlink(missing_ok=True)
        raise FaceOpsError(
            f"{url} was refused by the server ({error.code} {error.reason}); check the address."
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise FaceOpsError(
            f"{url} could not be downloaded ({reason}); run it again to go on, or download the "
            "file yourself and give its path."
        ) from None
    if whole is not None and size != whole:
        raise FaceOpsError(
            f"{url} ended after {size} of {whole} bytes; run it again to go on where it stopped."
        )
    part.replace(target)
    version.unlink(missing_ok=True)
    return target


def _resume(request: urllib.request.Request, part: Path, version: Path) -> int:
    """Ask for the rest of what `part` begins, if its version is known; return its size."""
    try:
        tag = json.loads(version.read_text(encoding="utf-8"))
        size = part.stat().st_size
    except (OSError, ValueError):
        return 0
    # A weak ETag may not be used for ranges (RFC 9110 13.1.5).
    if not size or not tag or not isinstance(tag, str) or tag.startswith("W/"):
        return 0
    request.add_header("Range", f"bytes={size}-")
    request.add_header("If-Range", tag)
    return size


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := answer.read(_BLOCK):
        yield block


def _too_large(url: str, max_bytes: int) -> FaceOpsError:
    return FaceOpsError(
        f"{url} is larger than the limit of {max_bytes / 1e9:g} GB; download and unpack it "
        "yourself and import the folder."
    )


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
