"""A killed enrolment or re-embedding goes on, and ends with the gallery of an undisturbed one."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.reasons import Reason
from faceops.gallery.enrol import enrol
from faceops.gallery.faces_file import GalleryFace, face_order
from faceops.gallery.reembed import reembed
from faceops.gallery.store import UNFINISHED_FOLDER, Gallery
from faceops.identification.forget.forget import forget_person
from faceops.release.bundle import Bundle, Embedded


def identity(face: GalleryFace) -> tuple[object, ...]:
    return *face_order(face), face.crop_id


@pytest.fixture
def one_person(synthetic_set: Path, tmp_path: Path) -> Path:
    """The six photos of two people in the folder of one: none is saved before all are done."""
    folder = tmp_path / "people"
    (folder / "Ann").mkdir(parents=True)
    for person in sorted((synthetic_set / "enrol").iterdir())[:2]:
        for photo in person.iterdir():
            shutil.copy(photo, folder / "Ann" / f"{person.name}_{photo.name}")
    return folder


def faces_of(folder: Path) -> list[tuple[object, ...]]:
    faces = Gallery.open(folder).faces
    return [(*map(str, identity(face)), face.embedding.tobytes()) for face in faces]


def interrupted_enrolment(
    people: Path, gallery: Path, bundle: Bundle, photos: int, monkeypatch: pytest.MonkeyPatch
) -> list[Path]:
    """Enrol until so many photos are embedded; return the files of what was kept."""
    embed, left = Bundle.embed, [0] * photos

    def interrupted(self: Bundle, crops: np.ndarray) -> Embedded:
        left.pop()
        return embed(self, crops)

    with monkeypatch.context() as patched:
        patched.setattr(Bundle, "embed", interrupted)
        with pytest.raises(IndexError):
            enrol(people, gallery, bundle)
    kept = sorted((gallery / UNFINISHED_FOLDER).rglob("*.npz"))
    assert len(kept) == photos
    return kept


def test_photos_of_an_interrupted_enrolment_are_not_opened_again(
    one_person, tmp_path, bundle, monkeypatch
):
    gallery = tmp_path / "interrupted"
    kept = interrupted_enrolment(one_person, gallery, bundle, 4, monkeypatch)
    kept[0].write_bytes(kept[0].read_bytes()[:500])  # the disk was full, or the power failed
    assert enrol(one_person, gallery, bundle, trust=True).photos_opened == 6 - 3
    undisturbed = enrol(one_person, tmp_path / "undisturbed", bundle, trust=True)
    assert undisturbed.photos_opened == 6 and undisturbed.enrolled >= 5
    assert faces_of(gallery) == faces_of(tmp_path / "undisturbed")
    assert not (gallery / UNFINISHED_FOLDER).exists()


def test_what_is_kept_is_named_by_the_opened_bytes_and_removed_by_forgetting(
    one_person, gallery_dir, tmp_path, bundle, monkeypatch
):
    ignored = shutil.ignore_patterns("outputs.jsonl")
    gallery = Path(shutil.copytree(gallery_dir, tmp_path / "gallery", ignore=ignored))

    def hash_of_earlier_bytes(path: Path, max_bytes: int) -> str:
        return sha256_file(path)[::-1]

    monkeypatch.setattr("faceops.gallery.people_folder.hash_photo", hash_of_earlier_bytes)
    kept = interrupted_enrolment(one_person, gallery, bundle, 3, monkeypatch)
    photos = {sha256_file(photo) for photo in (one_person / "Ann").iterdir()}
    assert {path.stem for path in kept} <= photos
    forget_person(gallery, Gallery.open(gallery).people[0])
    assert not (gallery / UNFINISHED_FOLDER).exists()


def test_an_interrupted_reembedding_goes_on(gallery_dir, next_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("faceops.gallery.reembed.BLOCK", 4)
    new, embed = Bundle.load(next_bundle), Bundle.embed
    sizes: list[int] = []

    def counted(self: Bundle, crops: np.ndarray) -> Embedded:
        sizes.append(len(crops))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return embed(self, crops)

    monkeypatch.setattr(Bundle, "embed", counted)
    folders = [shutil.copytree(gallery_dir, tmp_path / name) for name in ("stopped", "whole")]
    with pytest.raises(KeyboardInterrupt):
        reembed(folders[0], new)
    faces = reembed(folders[0], new).embedded
    assert sum(sizes) == faces + 4 > 12  # the block at which it was stopped, twice
    reembed(folders[1], new)
    assert faces_of(folders[0]) == faces_of(folders[1])
    assert not (folders[0] / UNFINISHED_FOLDER).exists()


def test_a_photo_for_which_memory_is_short_is_tried_again_and_too_many_end_the_enrolment(
    one_person, tmp_path, bundle, monkeypatch
):
    embed, failing = Bundle.embed, 1

    def short(self: Bundle, crops: np.ndarray) -> Embedded:
        nonlocal failing
        if failing > 0:
            failing -= 1
            raise RuntimeError("bad allocation")
        return embed(self, crops)

    monkeypatch.setattr("faceops.gallery.enrol.default_threads", lambda: 1)
    monkeypatch.setattr(Bundle, "embed", short)
    report = enrol(one_person, tmp_path / "g", bundle, trust=True)
    assert report.enrolled >= 5
    assert Reason.UNREADABLE not in {flag.reason for flag in report.flags}  # tried again
    failing = 1000
    with pytest.raises(FaceOpsError, match="the machine lacks memory"):
        enrol(one_person, tmp_path / "other", bundle)
