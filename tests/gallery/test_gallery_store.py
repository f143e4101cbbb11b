"""The gallery keeps what was enrolled, and refuses what does not belong to it."""

import json
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.store import Gallery, GalleryFace, png_of

CONTRACT = "c" * 64


def face(person: str, photo: str = "a.jpg", seed: int = 1) -> GalleryFace:
    random = np.random.default_rng(seed)
    vector = random.standard_normal(8).astype(np.float32)
    return GalleryFace(
        person=person,
        photo_id=f"{seed:064x}",
        photo=photo,
        box=(1.25, 2.5, 30.1, 40.7),
        detector_score=0.9,
        quality=0.8,
        embedding=vector / np.linalg.norm(vector),
        crop=png_of(random.integers(0, 255, (112, 112, 3), dtype=np.uint8)),
    )


def filled(folder: Path) -> Gallery:
    gallery = Gallery.create(folder, CONTRACT, 8)
    gallery = gallery.with_faces([face("Zoë", seed=2), face("Ann Lee"), face("Ann Lee", seed=3)])
    gallery.save()
    return gallery


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    written = filled(tmp_path / "g")
    read = Gallery.open(tmp_path / "g", CONTRACT, crops=True)
    assert read.people == ["Ann Lee", "Zoë"]
    assert read.persons == ["Ann Lee", "Ann Lee", "Zoë"]
    np.testing.assert_array_equal(read.embeddings, written.embeddings)
    for before, after in zip(written.faces, read.faces, strict=True):
        assert (before.crop, before.box, before.photo_id) == (after.crop, after.box, after.photo_id)


def test_the_same_faces_give_the_same_bytes(tmp_path: Path) -> None:
    filled(tmp_path / "a")
    filled(tmp_path / "b")
    for name in ("faces.parquet", "gallery.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_contract_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(FaceOpsError, match=r"under contract cccccccccccc.*faceops people reembed"):
        Gallery.open(tmp_path, "d" * 64)


def test_a_missing_gallery_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="faceops enrol PEOPLE_DIR"):
        Gallery.open(tmp_path / "none")


def test_a_damaged_gallery_is_named(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "faces.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(FaceOpsError, match=r"faces\.parquet is damaged"):
        Gallery.open(tmp_path)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    statement = json.loads((tmp_path / "gallery.json").read_text()) | {"schema_version": 99}
    (tmp_path / "gallery.json").write_text(json.dumps(statement))
    with pytest.raises(FaceOpsError, match="schema version 99"):
        Gallery.open(tmp_path)


def test_an_interrupted_write_leaves_the_old_state(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / ".faces.parquet.tmp").write_bytes(b"half")
    assert len(Gallery.open(tmp_path).faces) == 3


def test_saving_without_crops_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(ValueError, match="without crops"):
        Gallery.open(tmp_path).save()


def test_renaming_two_people_into_one_keeps_each_face_once(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, CONTRACT, 8).with_faces(
        [face("Ann Lee"), face("ann-lee"), face("ann-lee", seed=3)]
    )
    merged = gallery.renamed({"Ann Lee": "Ann Lee", "ann-lee": "Ann Lee"})
    assert [(one.person, one.photo_id[-1]) for one in merged.faces] == [
        ("Ann Lee", "1"),
        ("Ann Lee", "3"),
    ]
