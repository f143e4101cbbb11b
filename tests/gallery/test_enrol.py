"""Enrolling a folder of people: what is taken, what is flagged, what is not done twice."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from faceops.errors import FaceOpsError, UsageError
from faceops.gallery import enrol as enrolment
from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.reasons import Reason
from faceops.release.bundle import Bundle


@pytest.fixture(scope="module")
def bundle(sface_bundle: Path) -> Bundle:
    return Bundle.load(sface_bundle)


@pytest.fixture
def people(synthetic_set: Path, tmp_path: Path) -> Path:
    """Two people with two photos each, a third by one photo `Name.jpg`."""
    folder = tmp_path / "people"
    first, second, third = sorted((synthetic_set / "enrol").iterdir())[:3]
    for source in (first, second):
        (folder / source.name / "deeper").mkdir(parents=True)
        one, two = sorted(source.iterdir())[:2]
        shutil.copy(one, folder / source.name)
        shutil.copy(two, folder / source.name / "deeper")
    shutil.copy(sorted(third.iterdir())[0], folder / f"{third.name}.jpg")
    return folder


def test_people_are_enrolled_once(people: Path, tmp_path: Path, bundle: Bundle) -> None:
    first = enrol(people, tmp_path / "g", bundle)
    assert (first.enrolled, first.unchanged, first.flags) == (5, 0, [])
    gallery = Gallery.open(tmp_path / "g", bundle.release.contract_id)
    names = [path.stem.replace("_", " ") for path in sorted(people.iterdir())]
    assert gallery.people == names
    again = enrol(people, tmp_path / "g", bundle)
    assert (again.enrolled, again.unchanged, again.photos_opened) == (0, 5, 0)


def test_what_cannot_be_enrolled_is_flagged(
    people: Path, synthetic_set: Path, tmp_path: Path, bundle: Bundle
) -> None:
    odd = people / "Odd_One"
    odd.mkdir()
    (odd / "empty.jpg").touch()
    (odd / "text.jpg").write_text("no photo")
    for name in ("truncated.jpg", "orientation_1.jpg"):
        shutil.copy(synthetic_set / "album" / "odd" / name, odd)
    person = sorted(path for path in people.iterdir() if path.is_dir())[0]
    photo = next(path for path in sorted(person.iterdir()) if path.is_file())
    shutil.copy(photo, person / "copy.jpg")
    shutil.copy(photo, odd / "stolen.jpg")
    report = enrol(people, tmp_path / "g", bundle)
    reasons = {Path(flag.photo).name: flag.reason for flag in report.flags}
    # Of the copies, the file that comes first by its path is the one that is enrolled.
    doubled = reasons.keys() & {"copy.jpg", photo.name}
    assert len(doubled) == 1
    assert reasons.pop(doubled.pop()) == Reason.DUPLICATE
    taken = reasons.pop("stolen.jpg", None)
    assert taken == Reason.DUPLICATE_OTHER_PERSON
    assert reasons == {
        "empty.jpg": Reason.EMPTY,
        "text.jpg": Reason.NOT_A_PHOTO,
        "truncated.jpg": Reason.UNREADABLE,
        "orientation_1.jpg": Reason.SEVERAL_FACES,
    }
    assert report.enrolled == 5


def test_removed_photos_stay_until_pruned(people: Path, tmp_path: Path, bundle: Bundle) -> None:
    enrol(people, tmp_path / "g", bundle)
    gone = sorted(path for path in people.iterdir() if path.is_dir())[0]
    shutil.rmtree(gone)
    assert sum(enrol(people, tmp_path / "g", bundle).people.values()) == 5
    pruned = enrol(people, tmp_path / "g", bundle, prune=True)
    assert pruned.pruned == 2
    assert gone.name.replace("_", " ") not in pruned.people


def test_pruning_keeps_what_cannot_be_read_just_now(
    people: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be listed, a photo that cannot be read, a disk that is not mounted."""
    first, second, third = sorted(people.iterdir(), key=lambda path: (path.is_file(), path.name))
    (disk := tmp_path / "disk").mkdir()
    second.rename(disk / second.name)
    second.symlink_to(disk / second.name)
    enrol(people, tmp_path / "g", bundle)
    disk.rename(tmp_path / "unmounted")
    closed, real_list, real_hash = first / "deeper", os.scandir, enrolment.sha256_file

    def scandir(path: Any) -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_list(path)

    def sha256(path: Path) -> str:
        if path in (third, closed):
            raise OSError(errno.EIO, "Input/output error")
        return real_hash(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(enrolment, "sha256_file", sha256)
    gone = next(path for path in sorted(first.iterdir()) if path.is_file())
    gone.unlink()
    report = enrol(people, tmp_path / "g", bundle, prune=True)
    assert report.pruned == 1  # what is truly gone
    names = [path.stem.replace("_", " ") for path in (first, second, third)]
    assert report.people == dict(sorted(zip(names, (1, 2, 1), strict=True)))
    assert {flag.reason for flag in report.flags} == {Reason.UNREADABLE}


def test_spellings_of_one_name_are_one_person(
    synthetic_set: Path, tmp_path: Path, bundle: Bundle
) -> None:
    one, two, three = sorted(sorted((synthetic_set / "enrol").iterdir())[0].iterdir())
    for folder, photo in (("Ann_Lee", one), ("ann-lee", two)):
        (tmp_path / "people" / folder).mkdir(parents=True)
        shutil.copy(photo, tmp_path / "people" / folder)
    report = enrol(tmp_path / "people", tmp_path / "g", bundle)
    assert report.people == {"Ann Lee": 2}
    assert report.spellings == {"Ann Lee": ["ann-lee"]}
    shutil.copy(three, tmp_path / "people" / "ANN.LEE.jpg")  # first by path, but not the first
    report = enrol(tmp_path / "people", tmp_path / "g", bundle, prune=True)
    assert report.people == {"Ann Lee": 3}
    assert (report.unchanged, report.pruned) == (2, 0)


def test_a_gallery_of_another_contract_is_left_alone(
    people: Path, tmp_path: Path, bundle: Bundle
) -> None:
    Gallery.create(tmp_path / "g", "d" * 64, bundle.release.embedding_size)
    before = (tmp_path / "g" / "faces.parquet").read_bytes()
    with pytest.raises(FaceOpsError, match="contract dddddddddddd"):
        enrol(people, tmp_path / "g", bundle)
    assert (tmp_path / "g" / "faces.parquet").read_bytes() == before


def test_a_folder_without_files_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="holds no files"):
        enrol(tmp_path / "none", tmp_path / "g", bundle)
    assert not (tmp_path / "g").exists()


def test_a_photo_of_somebody_else_is_not_enrolled_unless_trusted(
    people: Path, tmp_path: Path, bundle: Bundle
) -> None:
    one, other = sorted(path for path in people.iterdir() if path.is_dir())[:2]
    shutil.copyfile(sorted(other.iterdir())[0], one / "zz_somebody_else.jpg")
    shutil.rmtree(other)
    report = enrol(people, tmp_path / "gallery", bundle)
    (flag,) = [flag for flag in report.flags if flag.reason is Reason.NO_AGREEMENT]
    assert flag.photo == f"{one.name}/zz_somebody_else.jpg"
    assert "--trust" in flag.note
    photos = {face.photo for face in Gallery.open(tmp_path / "gallery").faces}
    assert flag.photo not in photos
    trusted = enrol(people, tmp_path / "gallery", bundle, trust=True)
    assert trusted.enrolled == 1
    assert trusted.photos_opened == 1
