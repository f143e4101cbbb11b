"""Import a source: its photos, byte for byte, into data/photos/<Person>/."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import write_file
from faceops.base.locks import file_lock
from faceops.dataset.copy_photos import copy_photos
from faceops.dataset.imported import read_imported, read_origins, write_imported
from faceops.dataset.names import name_key
from faceops.dataset.people_list import read_people_list
from faceops.dataset.source_place import is_folder, public_place, source_folder
from faceops.dataset.sources.celeba import list_celeba
from faceops.dataset.sources.kaggle_faces import list_kaggle_faces
from faceops.dataset.sources.labelled_photo import LabelledPhoto
from faceops.dataset.sources.lfw import lfw_protocols, list_lfw
from faceops.dataset.sources.mnist import list_mnist
from faceops.dataset.sources.pins import list_pins
from faceops.dataset.sources.tree import list_tree, without_wrapper
from faceops.dataset.sources_file import SYNTHETIC, read_sources, write_sources


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
