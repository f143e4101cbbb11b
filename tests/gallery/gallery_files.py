"""Small galleries for tests: a face, and a folder in format 1."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import InUseError
from faceops.faces.detector import Box
from faceops.gallery.decisions import Decisions
from faceops.gallery.faces_file import GalleryFace, encode_faces
from faceops.gallery.journal import Action, Entry
from faceops.gallery.storage import (
    COPY_FOLDER,
    CROPS_FOLDER,
    FACES_COPY,
    FACES_FILE,
    GALLERY_FILE,
    SEGMENTS_FOLDER,
    GalleryPlace,
    crop_path,
    gallery_place,
    storage_of,
)
from faceops.gallery.store import Gallery, encode_crop, locked_gallery

CONTRACT = "c" * 64
SIZE = 8  # values of an embedding
# For tests by `place` of what does not depend on the storage.
FOLDER = pytest.mark.parametrize("place", ["folder"], indirect=True)
BOX: Box = (10.0, 10.0, 40.0, 50.0)  # of a face that is decided about


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def make_face(
    gallery: GalleryPlace, person: str, seed: int = 1, quality: float = 0.8
) -> GalleryFace:
    """Return a random face whose crop is stored in `gallery`."""
    random = np.random.default_rng(seed)
    vector = random.standard_normal(SIZE).astype(np.float32)
    crop = random.integers(0, 255, (112, 112, 3), dtype=np.uint8)
    return GalleryFace(
        person=person,
        photo_id=f"{seed:064x}",
        photo=f"{seed}.jpg",
        box=(1.25, 2.5, 30.1, 40.7),
        detector_score=0.9,
        quality=quality,
        embedding=vector / np.linalg.norm(vector),
        crop_id=storage_of(gallery).store_png(encode_crop(crop)),
    )


def make_gallery(place: GalleryPlace, faces: list[tuple[str, int]]) -> Gallery:
    """Save a gallery of faces (person, seed)."""
    gallery = Gallery(place, CONTRACT, SIZE, crops_id="d" * 64)
    gallery = gallery.with_faces(make_face(place, person, seed) for person, seed in faces)
    gallery.save()
    return gallery


def add_faces(address: str, person: str, seed: int) -> None:
    """Add five faces, each in a change of its own, whenever the gallery is free."""
    for number in range(5):
        while True:
            try:
                with locked_gallery(gallery_place(address)) as gallery:
                    face = make_face(gallery.place, person, seed + number)
                    gallery.with_faces([face]).save()
                break
            except InUseError:
                time.sleep(0.05)


def decide(
    gallery: GalleryPlace,
    action: Action,
    name: str = "",
    *,
    photo: int = 9,
    box: Box = BOX,
    **more: str,
) -> Entry:
    """Decide about a face of the photo with this number; return the entry."""
    person, entries = Decisions.load(gallery).naming(name) if name else ("", [])
    about = Entry(action, f"{photo:064x}", box, (200, 100), person, **more)  # type: ignore[arg-type]
    return storage_of(gallery).journal().append([*entries, about])[-1]


def segment_of(folder: Path, copy: bool = False) -> Path:
    """Return the only segment of a small gallery, or its copy."""
    (path,) = (folder / (COPY_FOLDER if copy else SEGMENTS_FOLDER)).glob("*.parquet")
    return path


def rewrite_as_format_2(folder: Path) -> None:
    """Rewrite a gallery as faceops wrote it before there were segments."""
    gallery = Gallery.open(folder)
    statement = gallery.statement() | {"schema_version": 2}
    shutil.rmtree(folder / SEGMENTS_FOLDER)
    shutil.rmtree(folder / COPY_FOLDER)
    for name in (FACES_FILE, FACES_COPY):
        (folder / name).write_bytes(encode_faces(gallery.faces, statement))
    (folder / GALLERY_FILE).write_text(json.dumps(statement), "utf-8")


def rewrite_as_format_1(folder: Path) -> dict[str, bytes]:
    """Rewrite a gallery as the first version wrote it; return its files by name."""
    gallery = Gallery.open(folder)
    crops = [crop_path(folder, face.crop_id).read_bytes() for face in gallery.faces]
    rewrite_as_format_2(folder)
    statement = gallery.statement() | {"schema_version": 1}
    (folder / GALLERY_FILE).write_text(json.dumps(statement), "utf-8")
    del statement["schema_version"]
    table = pq.read_table(folder / FACES_FILE).drop_columns("crop_id")
    table = table.append_column("crop", pa.array(crops, pa.binary()))
    metadata = {b"faceops.contract": json.dumps(statement).encode()}
    for name in (FACES_FILE, FACES_COPY):
        pq.write_table(table.replace_schema_metadata(metadata), folder / name)
    shutil.rmtree(folder / CROPS_FOLDER)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
