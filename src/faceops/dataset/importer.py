"""Import a source: its photos, byte for byte, into data/photos/<Person>/."""

import csv
import filecmp
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import atomic_path, write_file, write_json
from faceops.base.locks import file_lock
from faceops.base.progress import track
from faceops.base.tables import write_csv
from faceops.dataset.download import is_folder, public_place, source_folder
from faceops.dataset.names import folder_name, name_key, read_people_list
from faceops.dataset.sources import (
    LabelledPhoto,
    lfw_protocols,
    list_celeba,
    list_kaggle_faces,
    list_lfw,
    list_mnist,
    list_pins,
    list_tree,
    without_wrapper,
)


def copy_photos(
    photos: list[LabelledPhoto], data: Path, source: str, before: dict[str, str]
) -> tuple[dict[str, str], int]:
    """Copy what is not there to `data`/photos, byte for byte.

    A file name that another photo has taken gets the source's name behind it.

    Args:
        before: path -> origin of what this source has brought earlier.

    Returns:
        path (POSIX, relative to `data`) -> origin of all `photos`, and how many were written.

    Raises:
        FaceOpsError: a file cannot be read or written.
    """
    root = data / "photos"
    existing = sorted(root.iterdir()) if root.is_dir() else []
    folders = {name_key(path.name): path.name for path in existing if path.is_dir()}
    origins: dict[str, str] = {}
    written = 0
    for photo in track(photos, f"import {source}"):
        person = folders.setdefault(name_key(photo.person), folder_name(photo.person))
        for file in _file_names(photo.file, source):
            relative = f"photos/{person}/{file}"
            path = data / relative
            if relative in origins or before.get(relative, photo.origin) != photo.origin:
                continue  # another photo of this source has that name
            if not path.exists():
                _write(photo, path)
                written += 1
            elif not _is_same(photo, path):
                continue
            origins[relative] = photo.origin
            break
    return origins, written


def _file_names(file: str, source: str) -> Iterator[str]:
    """Yield the photo's own name, then names that tell it from another photo of that name."""
    stem, suffix = Path(file).stem, Path(file).suffix
    yield file
    yield f"{stem}__{source}{suffix}"
    number = 2
    while True:
        yield f"{stem}__{source}_{number}{suffix}"
        number += 1


def _is_same(photo: LabelledPhoto, path: Path) -> bool:
    if isinstance(photo.content, Path):
        return path.is_file() and filecmp.cmp(photo.content, path, shallow=False)
    return path.is_file() and path.read_bytes() == photo.content()


def _write(photo: LabelledPhoto, path: Path) -> None:
    if not isinstance(photo.content, Path):
        write_file(path, photo.content())
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            shutil.copyfile(photo.content, temporary)
    except OSError as error:
        raise FaceOpsError(
            f"{photo.content} cannot be copied to {path} ({error.strerror}); free space or give "
            "permission, and run it again to go on."
        ) from None


_FOLDER = "imported"


def read_imported(data: Path) -> dict[str, str]:
    """Return path (POSIX, relative to `data`) -> name of the source, for all imported photos."""
    listings = sorted((data / _FOLDER).glob("*.csv"))
    return {path: listing.stem for listing in listings for path in _read(listing)}


def read_origins(data: Path, source: str) -> dict[str, str]:
    """Return path -> origin of the photos that `source` has brought so far."""
    listing = data / _FOLDER / f"{source}.csv"
    return _read(listing) if listing.is_file() else {}


def _read(listing: Path) -> dict[str, str]:
    try:
        with listing.open(newline="", encoding="utf-8") as file:
            return {row["path"]: row["origin"] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise FaceOpsError(
            f"{listing} is not a list of imported photos ({error}); restore it or import again."
        ) from None


def write_imported(data: Path, source: str, origins: dict[str, str]) -> None:
    """Write path -> origin (the photo's name within the source), sorted by path."""
    write_csv(data / _FOLDER / f"{source}.csv", ("path", "origin"), sorted(origins.items()))


SOURCES_FILE = "sources.json"
SYNTHETIC = "synthetic"


def read_sources(data: Path) -> dict[str, dict[str, Any]]:
    """Return source name -> what is known of it; empty for a folder that nothing was put into.

    Raises:
        FaceOpsError: the file is not the JSON that FaceOps wrote.
    """
    path = data / SOURCES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FaceOpsError(
            f"{path} cannot be read ({error}); restore it or remove {data}."
        ) from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise FaceOpsError(f"{path} is not FaceOps' list of sources; restore it or remove {data}.")
    return content


def write_sources(data: Path, sources: dict[str, dict[str, Any]]) -> None:
    """Write the list, sorted, without times: it is part of what DVC hashes."""
    write_json(data / SOURCES_FILE, sources)


@dataclass(frozen=True)
class Source:
    """A kind of labelled photos that can be imported.

    Attributes:
        list_photos: finds the photos and their people in a folder.
        terms: terms of use, recorded in the imported data's sources.json.
    """

    list_photos: Callable[[Path], list[LabelledPhoto]]
    terms: str


SOURCES = {
    "tree": Source(list_tree, "the importer's own photos: consent and rights are theirs to keep"),
    "lfw": Source(
        list_lfw,
        "research benchmark of the University of Massachusetts; not for vetting products",
    ),
    "pins": Source(list_pins, "collected from Pinterest; the photos' rights lie with their owners"),
    "kaggle-faces": Source(list_kaggle_faces, "see the Kaggle page it was taken from"),
    "celeba": Source(list_celeba, "non-commercial research only (Chinese University of Hong Kong)"),
    "mnist": Source(list_mnist, "free to use (LeCun, Cortes, Burges)"),
}


def import_photos(
    source: str,
    place: str,
    data: Path,
    limit_people: int | None = None,
    only_list: Path | None = None,
) -> dict[str, int]:
    """Import the photos of `source` at `place` (folder, archive, URL) into the folder `data`.

    A person whom another source has brought gets the new photos in the same folder. What is there
    already is kept, so an interrupted import goes on, and a second one writes nothing.

    Args:
        limit_people: only the first of them by name.
        only_list: a file that names the only people to take.

    Returns:
        counts: people and photos of this source in `data`, and the files written now.

    Raises:
        UsageError: no such source, or a bad list.
        FaceOpsError: nothing to import, `data` holds the synthetic set, or another process
            works in it.
    """
    if source not in SOURCES:
        raise UsageError(f"there is no source {source!r}; choose from {', '.join(SOURCES)}.")
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FaceOpsError(f"{data} cannot be used ({error.strerror}); choose another.") from None
    # The folder itself is locked: DVC would hash a lock file in it.
    with file_lock(data, f"{data} is in use"):
        try:
            return _import(source, place, data, limit_people, only_list)
        finally:
            with suppress(OSError):  # unless it is empty
                data.rmdir()


def _import(
    source: str, place: str, data: Path, limit_people: int | None, only_list: Path | None
) -> dict[str, int]:
    known = read_sources(data)
    if SYNTHETIC in known:
        raise FaceOpsError(
            f"{data} holds the synthetic people, which real photos are not mixed with; choose "
            "another folder with --out, or remove it."
        )
    wanted = read_people_list(only_list) if only_list else None
    with source_folder(place, data.absolute().with_name(f".{data.name}.import")) as found:
        unpacked = source == "tree" and not is_folder(place)
        folder = without_wrapper(found) if unpacked else found
        photos = _chosen(SOURCES[source].list_photos(folder), wanted, limit_people)
        if not photos:
            raise FaceOpsError(
                f"{place} has no photos of the people in {only_list}; check the names."
            )
        before = read_origins(data, source)
        origins, written = copy_photos(photos, data, source, before)
        if source == "lfw":
            for path in lfw_protocols(folder):
                write_file(data / "protocols" / "lfw" / path.name, path.read_bytes())
    write_imported(data, source, before | origins)
    counts = _counts(read_imported(data), source)
    places = _places(known.get(source, {}), public_place(place), len(photos))
    known[source] = {"places": places, "terms": SOURCES[source].terms, **counts}
    write_sources(data, known)
    return {**counts, "written": written}


def _places(known: dict[str, Any], place: str, photos: int) -> dict[str, int]:
    """Return place -> most photos that one import took from it, sorted, with `place` among them."""
    places = known.get("places", {})
    return dict(sorted({**places, place: max(photos, places.get(place, 0))}.items()))


def _chosen(
    photos: list[LabelledPhoto], wanted: list[str] | None, limit_people: int | None
) -> list[LabelledPhoto]:
    keys = sorted({name_key(photo.person) for photo in photos})
    if wanted is not None:
        allowed = {name_key(name) for name in wanted}
        keys = [key for key in keys if key in allowed]
    chosen = set(keys[:limit_people])
    return [photo for photo in photos if name_key(photo.person) in chosen]


def _counts(imported: dict[str, str], source: str) -> dict[str, int]:
    paths = [path for path, name in imported.items() if name == source]
    return {"people": len({path.split("/")[1] for path in paths}), "photos": len(paths)}
