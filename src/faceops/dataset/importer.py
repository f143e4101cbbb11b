"""Import the photos of a source, byte for byte, into data/photos/<Person>/."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import file_lock, write_csv, write_file, write_json
from faceops.base.work import track
from faceops.dataset.archives import source_folder, without_credentials
from faceops.dataset.names import folder_name, name_key, name_problem, read_people_list
from faceops.dataset.sources import SOURCES, SourcePhoto, without_wrapper
from faceops.photos.walk import walk_photos

SYNTHETIC = "synthetic"  # the source that `faceops data synthetic` writes
_SOURCES_FILE = "sources.json"
_LISTS = "imported"  # folder of one CSV per source: path, and the photo's origin in the source


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
    an interrupted import resumes, and a second one writes nothing.

    Args:
        name: a key of `sources.SOURCES`.
        limit_people: take only so many people, the first by name.
        only_list: a file that names the people to take.
        exclude, skipped: as of `walk_photos`, in the folder of the source.

    Returns:
        counts: people and photos of this source in `data`, and the files written now.

    Raises:
        UsageError: there is no such source, place or list.
        FaceOpsError: there is nothing to import, `data` holds the synthetic set, or another
            process uses it.
    """
    if name not in SOURCES:
        raise UsageError(f"there is no source {name!r}; choose from {', '.join(SOURCES)}.")
    skipped = {} if skipped is None else skipped
    with _locked(data):
        recorded = read_sources(data)
        if SYNTHETIC in recorded:
            raise FaceOpsError(
                f"{data} holds the synthetic people, which real photos are not mixed with; choose "
                "another folder with --out, or remove it."
            )
        source, wanted = SOURCES[name], read_people_list(only_list) if only_list else None
        work = data.absolute().with_name(f".{data.name}.import")
        with source_folder(place, work) as (root, unpacked):
            folder = without_wrapper(root) if unpacked and source.unwrap_archive else root
            photos = source.list_photos(folder)
            if not photos:
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
            earlier = _read_list(data / _LISTS / f"{name}.csv")
            origins, written = _copy_photos(photos, data, name, earlier)
            for path in source.list_protocols(folder):
                write_file(data / "protocols" / name / path.name, path.read_bytes())
        origins = earlier | origins
        write_csv(data / _LISTS / f"{name}.csv", ("path", "origin"), sorted(origins.items()))
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
    """Write the photos that `data` lacks.

    A photo whose file name belongs to another one gets the name of the source appended.

    `earlier`: path -> origin of what was imported from this source before.

    Returns:
        path (POSIX, relative to `data`) -> origin of all `photos`, and how many were written.
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


def read_imported(data: Path) -> dict[str, str]:
    """Return path (POSIX, relative to `data`) -> name of the source, for all imported photos."""
    lists = sorted((data / _LISTS).glob("*.csv"))
    return {path: file.stem for file in lists for path in _read_list(file)}


def _read_list(file: Path) -> dict[str, str]:
    """Return path -> origin of the photos in a CSV of imported photos; {} if there is none."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return {row["path"]: row["origin"] for row in csv.DictReader(stream)}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise FaceOpsError(
            f"{file} is not a list of imported photos ({error}); restore it or import again."
        ) from None


def read_sources(data: Path) -> dict[str, dict[str, Any]]:
    """Return name of a source -> places, terms and counts; {} for a folder without sources.json.

    Raises:
        FaceOpsError: the file is not the JSON that FaceOps wrote.
    """
    path = data / _SOURCES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FaceOpsError(
            f"{path} cannot be read ({error}); restore it or remove {data}."
        ) from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise FaceOpsError(f"{path} is not a list of sources; restore it or remove {data}.")
    return content


def write_sources(data: Path, sources: dict[str, dict[str, Any]]) -> None:
    """Write sources.json, sorted and without times: DVC hashes it."""
    write_json(data / _SOURCES_FILE, sources)
