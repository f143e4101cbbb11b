"""A gallery keeps what was enrolled, writes little for a small change, and refuses other files."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import DamageError, FaceOpsError, UsageError
from faceops.gallery import faces_file, storage
from faceops.gallery.faces_file import parse_embeddings
from faceops.gallery.people import merge, rename
from faceops.gallery.storage import CROPS_FOLDER, GALLERY_FILE, FolderStorage, crop_path
from faceops.gallery.store import Gallery, locked_gallery, open_or_create, portraits
from tests.gallery.gallery_files import (
    CONTRACT,
    Killed,
    make_face,
    make_gallery,
    rewrite_as_format_1,
    segment_of,
)

PEOPLE = [("Zoë", 2), ("Ann Lee", 1), ("Ann Lee", 3)]


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def crops_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / CROPS_FOLDER).rglob("*.png"))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The bytes that are written from now on, by "crops" or the file's name."""
    sizes: dict[str, int] = {}
    write = Path.write_bytes

    def write_bytes(path: Path, content: bytes) -> int:
        name = CROPS_FOLDER if CROPS_FOLDER in path.parts else path.name.strip(".")
        sizes[name] = sizes.get(name, 0) + len(content)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    return sizes


def test_a_change_reads_only_embeddings_that_it_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "SEGMENT_FACES", 2)
    make_gallery(tmp_path, [(f"Person {number}", number) for number in range(6)])
    before, read = Gallery.open(tmp_path), []

    def parse(path: Path, count: int, size: int) -> np.ndarray:
        read.append(path)
        return parse_embeddings(path, count, size)

    monkeypatch.setattr(faces_file, "parse_embeddings", parse)
    with locked_gallery(tmp_path) as gallery:
        assert read == [] and gallery.persons == sorted(before.persons)
        kept = gallery.without(np.arange(6) == 3).save()
        assert len(read) == 1 and not read[0].exists()
        kept = kept.with_faces([make_face(tmp_path, "Person 9", 9)]).save()
        expected = np.insert(before.embeddings[[0, 1, 2, 4, 5]], 5, kept.embeddings[5], axis=0)
        np.testing.assert_array_equal(kept.embeddings, expected)
    np.testing.assert_array_equal(Gallery.open(tmp_path).embeddings, expected)


def test_damaged_embeddings_are_told_when_they_are_used(tmp_path):
    make_gallery(tmp_path, PEOPLE)
    path = segment_of(tmp_path)
    content = path.read_bytes()
    place = content.index(Gallery.open(tmp_path).embeddings[0].tobytes())
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(DamageError, match="nothing is lost, its copy is whole"):
        Gallery.open(tmp_path)
    with locked_gallery(tmp_path) as gallery:
        assert gallery.people == ["Ann Lee", "Zoë"]
        with pytest.raises(DamageError, match="nothing is lost, its copy is whole"):
            gallery.embeddings  # noqa: B018


def test_a_gallery_that_was_changed_before_it_was_read_is_not_called_lost(tmp_path):
    make_gallery(tmp_path, PEOPLE)
    with locked_gallery(tmp_path) as gallery:
        pass
    rename(tmp_path, "Ann Lee", "Ann")
    with pytest.raises(DamageError, match="was changed since it was read; run the command again"):
        gallery.embeddings  # noqa: B018
    segment_of(tmp_path).unlink()
    segment_of(tmp_path, copy=True).unlink()
    with pytest.raises(DamageError, match="names and embeddings are lost"):
        Gallery.open(tmp_path)


def test_the_stamp_changes_with_a_file_of_equal_size_and_time(tmp_path):
    make_gallery(tmp_path, PEOPLE)
    before, file = FolderStorage(tmp_path).stamp(), tmp_path / GALLERY_FILE
    status = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert FolderStorage(tmp_path).stamp() != before


def test_renaming_or_adding_one_of_many_people_writes_no_crops_of_others(tmp_path, written):
    make_gallery(tmp_path, [(f"Person {number}", number) for number in range(40)])
    assert written.pop(CROPS_FOLDER) > 40 * 20_000
    crops = (tmp_path / CROPS_FOLDER).rename(tmp_path / "away")
    written.clear()
    rename(tmp_path, "Person 7", "Ada")
    assert CROPS_FOLDER not in written and sum(written.values()) < 40 * 1000
    crops.rename(tmp_path / CROPS_FOLDER)
    assert len(portraits(tmp_path, {"Ada", "Person 8"})) == 2
    Gallery.open(tmp_path).with_faces([make_face(tmp_path, "Ada", 50)]).save()
    assert written[CROPS_FOLDER] < 40_000  # of the new face alone


def test_crops_of_removed_faces_are_deleted_and_shared_ones_kept(tmp_path):
    gallery = make_gallery(tmp_path, [*PEOPLE, ("Ben", 2)])  # Ben's face is also Zoë's
    (tmp_path / CROPS_FOLDER / "ab").mkdir(exist_ok=True)
    (tmp_path / CROPS_FOLDER / "ab" / f".{'ab' * 32}.png.tmp").touch()  # a writer was killed
    gallery.without(np.array([face.person == "Zoë" for face in gallery.faces], bool)).save()
    assert crops_in(tmp_path) == sorted({face.crop_id for face in gallery.faces})
    assert not list(tmp_path.rglob("*.tmp"))
    merge(tmp_path, "Ben", "Ann Lee")
    Gallery.open(tmp_path).without(np.ones(len(Gallery.open(tmp_path).faces), bool)).save()
    assert crops_in(tmp_path) == []


def test_files_of_others_below_crops_are_never_deleted(tmp_path):
    photo = tmp_path / CROPS_FOLDER / "Al" / "photo.png"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"a photo")
    with pytest.raises(FaceOpsError, match=r"has crops but no gallery\.json"):
        open_or_create(tmp_path, CONTRACT, 4)
    shutil.move(photo.parent, tmp_path / "Al")
    gallery = make_gallery(tmp_path, PEOPLE)
    shutil.move(tmp_path / "Al", photo.parent)
    gallery.without(np.ones(len(gallery.faces), bool)).save()
    assert photo.read_bytes() == b"a photo"


def test_a_gallery_of_format_1_is_read_without_being_changed(tmp_path):
    saved = make_gallery(tmp_path, PEOPLE)
    best = crop_path(tmp_path, saved.faces[2].crop_id).read_bytes()
    before = rewrite_as_format_1(tmp_path)
    gallery = Gallery.open(tmp_path, CONTRACT)
    np.testing.assert_array_equal(gallery.embeddings, saved.embeddings)
    assert (gallery.people, gallery.crops_id) == (saved.people, saved.crops_id)
    assert gallery.as_saved() is gallery
    assert portraits(tmp_path, {"Zoë", "Nobody"}) == {"Zoë": best}
    with pytest.raises(ValueError, match="of format 1"):
        gallery.save()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("format_1", [False, True])
def test_a_writer_killed_before_gallery_json_leaves_a_consistent_gallery(
    tmp_path, monkeypatch, format_1
):
    make_gallery(tmp_path, PEOPLE)
    if format_1:
        rewrite_as_format_1(tmp_path)

    def killed(path: Path, content: object) -> None:
        raise Killed

    monkeypatch.setattr(storage, "write_json", killed)
    with pytest.raises(Killed):
        rename(tmp_path, "Ann Lee", "Ann Smith")
    monkeypatch.undo()
    gallery = Gallery.open(tmp_path)
    assert gallery.people == ["Ann Lee", "Zoë"]
    assert format_1 or len(list((tmp_path / "faces").iterdir())) == 2
    with locked_gallery(tmp_path) as mended:
        assert mended.format_version == 3
        assert len(list((tmp_path / "faces").iterdir())) == 1
    assert list_files(tmp_path / "copy") == [segment_of(tmp_path).name, "gallery.json"]
    assert len(portraits(tmp_path, set(gallery.people))) == 2


def test_a_gallery_of_a_later_format_or_without_a_statement_is_refused(tmp_path):
    make_gallery(tmp_path, PEOPLE)
    for content, sentence in (
        ('{"contract_id": "c", "embedding_size": 8, "schema_version": 99}', "schema version 99"),
        ('{"schema_version": 2}', r"gallery\.json is damaged"),
        ("null", r"gallery\.json is damaged"),
    ):
        (tmp_path / GALLERY_FILE).write_text(content)
        with pytest.raises(FaceOpsError, match=sentence):
            Gallery.open(tmp_path)


def test_a_missing_gallery_says_how_to_make_one_and_is_not_created(tmp_path):
    with (
        pytest.raises(UsageError, match="faceops enrol PEOPLE_DIR"),
        locked_gallery(tmp_path / "none"),
    ):
        pass
    assert not (tmp_path / "none").exists()


def test_a_changed_gallery_is_read_again_by_as_saved(tmp_path):
    make_gallery(tmp_path, PEOPLE)
    gallery = Gallery.open(tmp_path)
    assert gallery.as_saved() is gallery
    rename(tmp_path, "Zoë", "Ada Lovelace")
    assert gallery.as_saved().people == ["Ada Lovelace", "Ann Lee"]
    changed = gallery.without(np.ones(len(gallery.faces), bool))
    assert changed.as_saved() is changed
    shutil.rmtree(tmp_path)
