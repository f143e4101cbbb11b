"""Import the photos of a source, byte for byte, into data/photos/<Person>/.

A source is a folder, or one that is unpacked from an archive or a URL.
"""

import hashlib
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from faceops.base.download import download
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import atomic_folder, file_lock, write_csv, write_file
from faceops.base.work import track
from faceops.dataset.data_folder import LISTS, read_list, real_sources, write_sources
from faceops.dataset.names import folder_name, name_key, name_problem, read_people_list
from faceops.dataset.sources import SOURCES, SourcePhoto, without_wrapper
from faceops.photos.walk import walk_photos


def import_photos(
    name: str,
    place: str,
    data: Path,
    limit_people: int | None = None,
    only_list: Path | None = None,
    exclude: Sequence[str] = (),
    skipped: dict[Path, str] | None = None,
) -> dict[str, int]:
    """Import the photos of the source `name` at `place` (folder, archive, URL) into `data`.

    A person of another source gets the new photos in the same folder. Existing files are kept, so
    an interrupted import resumes, and a second one writes nothing. `limit_people` takes only the
    first by name, `only_list` a file that names the people to take; `exclude`, `skipped`: as of
    `walk_photos`.

    Returns counts: people and photos of this source in `data`, and the files written now.

    Raises UsageError: there is no such source, place or list; FaceOpsError: there is nothing to
    import, `data` holds the synthetic set, or another process uses it.
    """
    if name not in SOURCES:
        raise UsageError(f"there is no source {name!r}; choose from {', '.join(SOURCES)}.")
    skipped = {} if skipped is None else skipped
    with _locked(data):
        recorded = real_sources(data)
        source, wanted = SOURCES[name], read_people_list(only_list) if only_list else None
        work = data.absolute().with_name(f".{data.name}.import")
        with source_folder(place, work) as (root, unpacked):
            folder = without_wrapper(root) if unpacked and source.unwrap_archive else root
            if not (photos := source.list_photos(folder)):
                raise FaceOpsError(
                    f"{folder} is not laid out as the source {name}: {source.layout} is expected; "
                    "name the right folder or choose another source."
                )
            walk_photos(folder, exclude, skipped)
            photos = [photo for photo in photos if not _is_below(photo.path, skipped)]
            photos = _select_people(photos, wanted, limit_people)
            if not photos:
                raise FaceOpsError(
                    f"{place} has no photos of the people in {only_list}; check the names."
                    if only_list
                    else f"{place} has no photos that are not excluded; check the patterns."
                )
            _check_names(photos)
            earlier = read_list(data / LISTS / f"{name}.csv")
            origins, written = _copy_photos(photos, data, name, earlier)
            for path in source.list_protocols(folder):
                write_file(data / "protocols" / name / path.name, path.read_bytes())
        origins = earlier | origins
        write_csv(data / LISTS / f"{name}.csv", ("path", "origin"), sorted(origins.items()))
        counts = {"people": len({path.split("/")[1] for path in origins}), "photos": len(origins)}
        places = recorded.get(name, {}).get("places", {})  # place -> most photos in one import
        place = without_credentials(place)
        places[place] = max(len(photos), places.get(place, 0))
        recorded[name] = {"places": places, "terms": source.terms, **counts}
        write_sources(data, recorded)
        return {**counts, "written": written}


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FaceOpsError(f"{data} cannot be used ({error.strerror}); choose another.") from None
    # The folder itself is locked: DVC would hash a lock file in it.
    with file_lock(data, f"{data} is in use"):
        try:
            yield
        finally:
            with suppress(OSError):  # unless it is empty
                data.rmdir()


def _is_below(path: Path | None, folders: Mapping[Path, str]) -> bool:
    return path is not None and any(each in folders for each in (path, *path.parents))


def _select_people(
    photos: list[SourcePhoto], wanted: list[str] | None, limit_people: int | None
) -> list[SourcePhoto]:
    keys = {name_key(photo.person) for photo in photos}
    if wanted is not None:
        keys &= {name_key(name) for name in wanted}
    selected = set(sorted(keys)[:limit_people])
    return [photo for photo in photos if name_key(photo.person) in selected]


def _check_names(photos: list[SourcePhoto]) -> None:
    for person, origin in {photo.person: photo.origin for photo in photos}.items():
        if problem := name_problem(person):
            raise FaceOpsError(
                f"{person!r} cannot be a person's name: {problem}; rename the folder of {origin!r} "
                "or leave it out by --only-list."
            )


def _copy_photos(
    photos: list[SourcePhoto], data: Path, source: str, earlier: dict[str, str]
) -> tuple[dict[str, str], int]:
    """Write the photos that `data` lacks; return path -> origin of all, and how many were written.

    A photo whose file name belongs to another one gets the name of the source appended. `earlier`:
    path -> origin of what was imported from this source before.
    """
    root = data / "photos"
    existing = sorted(root.iterdir()) if root.is_dir() else []
    folders = {name_key(path.name): path.name for path in existing if path.is_dir()}
    origins: dict[str, str] = {}
    written = 0
    for photo in track(photos, f"import {source}"):
        person = folders.setdefault(name_key(photo.person), folder_name(photo.person))
        try:
            content = photo.read()
        except OSError as error:
            raise FaceOpsError(
                f"{photo.origin} of the source {source} cannot be read ({error.strerror}); give "
                "permission, and run it again to resume."
            ) from None
        for file_name in _file_names(photo.file_name, source):
            relative = f"photos/{person}/{file_name}"
            path = data / relative
            if relative in origins or earlier.get(relative, photo.origin) != photo.origin:
                continue  # the name is taken by another photo of this source
            if not path.exists():
                write_file(path, content)
                written += 1
            elif not (path.is_file() and path.read_bytes() == content):
                continue
            origins[relative] = photo.origin
            break
    return origins, written


def _file_names(file_name: str, source: str) -> Iterator[str]:
    """Yield `file_name`, then names that distinguish the photo from others of that name."""
    stem, suffix = Path(file_name).stem, Path(file_name).suffix
    yield file_name
    yield f"{stem}__{source}{suffix}"
    yield from (f"{stem}__{source}_{number}{suffix}" for number in count(2))


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

    Raises FaceOpsError: not an archive, broken, too large, or an entry that is a link, a device or
    outside the folder.
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

    `place` is a folder, an archive, or the URL of an archive (http, https or file). What is
    downloaded and unpacked in the folder `work` is kept after an error, so that the next call
    resumes.

    Raises UsageError: `place` does not exist, or is not an address; FaceOpsError: not an archive,
    or a download that failed.
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
