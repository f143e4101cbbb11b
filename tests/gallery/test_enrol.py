"""Enrolling a folder of people: what is enrolled, what is skipped, what is reused."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.reasons import Reason
from faceops.cli import main
from faceops.faces.detector import Detection
from faceops.faces.find_faces import Face
from faceops.faces.quality import LengthScale, Quality
from faceops.gallery import faces_file
from faceops.gallery.check import check_gallery
from faceops.gallery.enrol import EnrolReport, enrol
from faceops.gallery.faces_file import UNSAVED
from faceops.gallery.people import rename, unalias
from faceops.gallery.people_folder import (
    OpenedPhoto,
    PersonPhoto,
    enrolment_refusal,
    list_people,
    read_people,
)
from faceops.gallery.similarity import Comparison, all_pairs, choose_faces, dissimilar_photos
from faceops.gallery.store import Gallery, open_or_create
from faceops.photos.formats import PhotoLimits
from faceops.release.bundle import Bundle
from faceops.verification.measure_thresholds import measure_normalisation
from faceops.verification.verifier import Verifier
from tests.gallery.gallery_files import make_gallery
from tests.verification.population import unit_rows


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


class Enrolment(NamedTuple):
    """A folder of people, and where they are enrolled by a release."""

    people: Path
    gallery: Path
    bundle: Bundle

    def __call__(self, **given: Any) -> EnrolReport:
        return enrol(self.people, self.gallery, self.bundle, **given)


@pytest.fixture
def enrolment(people: Path, tmp_path: Path, bundle: Bundle) -> Enrolment:
    return Enrolment(people, tmp_path / "g", bundle)


def folders_in(people: Path) -> list[Path]:
    """The folders of the two people with two photos."""
    return sorted(path for path in people.iterdir() if path.is_dir())


def file_in(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.is_file())


def test_people_are_enrolled_once(people, place, bundle):
    first = enrol(people, place, bundle)
    assert (first.enrolled, first.unchanged, first.flags) == (5, 0, [])
    gallery = Gallery.open(place, bundle.release.contract_id)
    names = [path.stem.replace("_", " ") for path in sorted(people.iterdir())]
    assert gallery.people == names and check_gallery(place) == []
    again = enrol(people, place, bundle)
    assert (again.enrolled, again.unchanged, again.photos_opened) == (0, 5, 0)
    gone = folders_in(people)[0]
    shutil.rmtree(gone)
    assert sum(enrol(people, place, bundle).people.values()) == 5
    pruned = enrol(people, place, bundle, prune=True)
    assert pruned.pruned == 2 and gone.name.replace("_", " ") not in pruned.people


def test_enrolling_known_photos_reads_no_embeddings_of_other_people(
    enrolment, tmp_path, monkeypatch
):
    monkeypatch.setattr("faceops.gallery.storage.SEGMENT_FACES", 1)
    enrolment()
    one = folders_in(enrolment.people)[0]
    for other in (path for path in enrolment.people.iterdir() if path != one):
        other.rename(tmp_path / other.name)
    read, parse = [], faces_file.parse_embeddings

    def noted(path: Path, count: int, size: int) -> np.ndarray:
        read.append(path)
        return parse(path, count, size)

    monkeypatch.setattr(faces_file, "parse_embeddings", noted)
    unchanged = enrolment().unchanged
    assert 0 < unchanged == len(read) < 5


def test_a_folder_that_cannot_be_a_name_is_skipped_and_its_earlier_face_stays(tmp_path):
    gallery = make_gallery(tmp_path / "g", [("Ann", 1), ("Ben", 2)])  # of 1.jpg and 2.jpg
    for name in ("___/2.jpg", "_/x.jpg", "A\u200bnn.jpg", "Cy/b\udcff.jpg", "D\udcff/y.jpg"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_text(name, errors="surrogateescape")
    paths = list_people(tmp_path / "p", (), {})
    folder = read_people(tmp_path / "p", paths, (), gallery, PhotoLimits(), threads=1)
    assert sorted(folder.photos) == ["Cy", "D\\xff"]
    assert [photo.photo for photo in folder.photos["Cy"]] == ["Cy/b\\xff.jpg"]
    flags = {flag.photo: flag for flag in folder.skipped}
    assert sorted(flags) == ["A\u200bnn.jpg", "_/x.jpg", "___/2.jpg"]
    assert {flag.reason for flag in flags.values()} == {Reason.BAD_NAME}
    assert flags["___/2.jpg"].note.startswith("'___' cannot be a person's name: it has no letter")
    lacking = [folder.lacks(replace(face, photo="___/2.jpg")) for face in gallery.faces]
    assert lacking == [False, False]  # a gallery of before may have faces of such a folder
    assert all(folder.lacks(face) for face in gallery.faces)


def test_a_photo_replaced_in_place_with_its_size_and_time_is_enrolled(enrolment):
    enrolment()
    photo = file_in(folders_in(enrolment.people)[0])
    before, other = photo.stat(), file_in(folders_in(enrolment.people)[0] / "deeper").read_bytes()
    photo.write_bytes(other.ljust(before.st_size, b"\0")[: before.st_size])
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = enrolment()
    assert (again.photos_opened, again.unchanged) == (1, 4)


def test_a_save_in_between_writes_the_new_faces_alone(synthetic_set, tmp_path, bundle, monkeypatch):
    faces: list[tuple[int, int]] = []  # in all, and those that are not saved yet
    save = Gallery.save

    def noted(self: Gallery) -> Gallery:
        faces.append((len(self.faces), int((self.faces.stored == UNSAVED).sum())))
        return save(self)

    monkeypatch.setattr("faceops.gallery.enrol.SAVE_EVERY_S", -1)
    monkeypatch.setattr(Gallery, "save", noted)
    report = enrol(synthetic_set / "enrol", tmp_path / "g", bundle)
    counts = [count for count, _ in faces]
    assert counts[0] == 0 and counts[-1] == report.enrolled > 6 and len(faces) > 3
    assert [new for _, new in faces] == [0, *np.diff(counts).tolist()]


def test_what_cannot_be_enrolled_is_flagged(enrolment, synthetic_set):
    odd = enrolment.people / "Odd_One"
    odd.mkdir()
    (odd / "empty.jpg").touch()
    (odd / "text.jpg").write_text("no photo")
    for name in ("truncated.jpg", "orientation_1.jpg"):
        shutil.copy(synthetic_set / "album" / "odd" / name, odd)
    person = folders_in(enrolment.people)[0]
    photo = file_in(person)
    shutil.copy(photo, person / "copy.jpg")
    shutil.copy(photo, odd / "stolen.jpg")
    with (odd / "film.mp4").open("wb") as file:
        file.truncate(10 * 1024**4)  # sparse: to read it would take hours
    report = enrolment()
    reasons = {Path(flag.photo).name: flag.reason for flag in report.flags}
    # Of the copies, the file that comes first by its path is the one that is enrolled.
    doubled = reasons.keys() & {"copy.jpg", photo.name}
    assert len(doubled) == 1
    assert reasons.pop(doubled.pop()) == Reason.DUPLICATE
    assert reasons.pop("stolen.jpg", None) == Reason.DUPLICATE_OTHER_PERSON
    assert reasons == {
        "empty.jpg": Reason.EMPTY,
        "film.mp4": Reason.TOO_LARGE,
        "text.jpg": Reason.NOT_A_PHOTO,
        "truncated.jpg": Reason.UNREADABLE,
        "orientation_1.jpg": Reason.SEVERAL_FACES,  # the stolen photo says nothing about it
    }
    assert report.enrolled == 5


def test_pruning_keeps_what_cannot_be_read_just_now(enrolment, tmp_path, monkeypatch):
    """A folder that cannot be listed, a photo that cannot be read, a disk that is not mounted."""
    first, second, third = sorted(
        enrolment.people.iterdir(), key=lambda path: (path.is_file(), path.name)
    )
    (disk := tmp_path / "disk").mkdir()
    second.rename(disk / second.name)
    second.symlink_to(disk / second.name)
    enrolment()
    disk.rename(tmp_path / "unmounted")
    closed, real_list, real_open = first / "deeper", os.scandir, os.open

    def scandir(path: Any) -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_list(path)

    def open_file(path: Any, *flags: Any) -> int:
        if path == third:
            raise OSError(errno.EIO, "Input/output error")
        return real_open(path, *flags)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "open", open_file)
    gone = file_in(first)
    gone.unlink()
    report = enrolment(prune=True)
    assert report.pruned == 1  # what is truly gone
    names = [path.stem.replace("_", " ") for path in (first, second, third)]
    assert report.people == dict(sorted(zip(names, (1, 2, 1), strict=True)))
    unread = {path.relative_to(enrolment.people).as_posix() for path in (closed, second, third)}
    assert {flag.photo for flag in report.flags} == unread


def test_excluding_a_folder_is_no_deletion(enrolment):
    enrolment()
    first, second = folders_in(enrolment.people)
    (enrolment.people / "@eaDir").mkdir()  # no person of that name
    shutil.copy(file_in(first), enrolment.people / "@eaDir" / "thumbnail.jpg")
    (enrolment.people / ".faceopsignore").write_text(f"{first.name}/\n")
    patterns = [f"/{second.name}/deeper"]
    report = enrolment(prune=True, exclude=patterns)
    assert report.pruned == 0 and sum(report.people.values()) == 5 and report.flags == []
    assert report.skipped == {"@eaDir": 1, patterns[0]: 1, f".faceopsignore: {first.name}/": 1}
    (enrolment.people / ".faceopsignore").unlink()
    shutil.rmtree(first)
    assert enrolment(prune=True, exclude=patterns).pruned == 2


def test_spellings_of_one_name_are_one_person(synthetic_set, tmp_path, bundle):
    one, two, three = sorted(sorted((synthetic_set / "enrol").iterdir())[1].iterdir())
    for folder, photo in (("Ann_Lee", one), ("ann-lee", two)):
        (tmp_path / "people" / folder).mkdir(parents=True)
        shutil.copy(photo, tmp_path / "people" / folder)
    report = enrol(tmp_path / "people", tmp_path / "g", bundle)
    assert report.people == {"Ann Lee": 2}
    assert report.spellings == {"Ann Lee": ["ann-lee"]}
    shutil.copy(three, tmp_path / "people" / "ANN.LEE.jpg")  # first by path, but not the first
    report = enrol(tmp_path / "people", tmp_path / "g", bundle, prune=True)
    assert report.flags == []
    assert report.people == {"Ann Lee": 3}
    assert (report.unchanged, report.pruned) == (2, 0)


def test_a_gallery_of_another_contract_is_left_alone(enrolment):
    open_or_create(enrolment.gallery, "d" * 64, enrolment.bundle.release.embedding_size)
    before = (enrolment.gallery / "gallery.json").read_bytes()
    with pytest.raises(FaceOpsError, match="contract dddddddddddd"):
        enrolment()
    assert (enrolment.gallery / "gallery.json").read_bytes() == before


def test_a_folder_without_files_is_refused(tmp_path, bundle):
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="holds no files"):
        enrol(tmp_path / "none", tmp_path / "g", bundle)
    assert not (tmp_path / "g").exists()


def test_a_photo_of_somebody_else_is_not_enrolled_unless_trusted(enrolment):
    one, other = folders_in(enrolment.people)
    shutil.copyfile(sorted(other.iterdir())[0], one / "zz_somebody_else.jpg")
    shutil.rmtree(other)
    report = enrolment()
    (flag,) = [flag for flag in report.flags if flag.reason is Reason.NO_AGREEMENT]
    assert flag.photo == f"{one.name}/zz_somebody_else.jpg"
    assert "--trust" in flag.note
    photos = {face.photo for face in Gallery.open(enrolment.gallery).faces}
    assert flag.photo not in photos
    trusted = enrolment(trust=True)
    assert trusted.enrolled == 1
    assert trusted.photos_opened == 1


def test_a_reused_name_of_a_renamed_person_is_reported_and_its_faces_flagged(enrolment, tmp_path):
    """The new faces agree with each other; those that are enrolled are what counts."""
    one, other = folders_in(enrolment.people)
    put_away = other.rename(tmp_path / "other")
    enrolment()
    old_name = one.name.replace("_", " ")
    rename(enrolment.gallery, old_name, "A Rod")
    shutil.rmtree(one)
    put_away.rename(one)
    report = enrolment()
    assert report.aliases == {old_name: "A Rod"}
    assert report.enrolled == 0
    assert [flag.reason for flag in report.flags] == [Reason.NO_AGREEMENT] * 2
    unalias(enrolment.gallery, one.name)
    apart = enrolment()
    assert (apart.aliases, apart.flags) == ({}, [])
    assert (apart.people["A Rod"], apart.people[old_name]) == (2, 2)


def normalised(bundle: Bundle, embeddings: np.ndarray) -> Bundle:
    """Return the release with a normalisation, for people around the mean of `embeddings`."""
    mean = embeddings.mean(axis=0)
    rows, persons = unit_rows(0, 60, 3, np.full(mean.size, 0.5))
    rows += mean * np.sqrt(mean.size) / 6
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    thresholds = bundle.release.thresholds
    distance = Verifier(np.full(mean.size, -8, np.float32), 8.0, "distance")
    found = measure_normalisation(rows, persons, distance, thresholds.pair_tail)
    changed = thresholds.model_copy(update={"normalisation": found})
    return replace(bundle, release=bundle.release.model_copy(update={"thresholds": changed}))


def test_with_normalised_scores_a_wrong_photo_is_refused_and_a_moved_or_copied_one_is_not(
    enrolment, synthetic_set, gallery
):
    release = normalised(enrolment.bundle, gallery.embeddings)
    one, other = folders_in(enrolment.people)
    wrong = file_in(other)
    wrong = wrong.rename(one / "zz_moved.jpg")
    enrol(enrolment.people, enrolment.gallery, release, trust=True)
    wrong.rename(other / wrong.name)
    report = enrol(enrolment.people, enrolment.gallery, release)
    assert (len(report.moved), report.flags) == (1, [])
    shutil.copy(other / wrong.name, one / "copy.jpg")
    third = sorted((synthetic_set / "enrol" / other.name).iterdir())[2]
    shutil.copy(third, one / "wrong.jpg")
    report = enrol(enrolment.people, enrolment.gallery, release)
    assert report.moved == []  # a photo that lies in two folders stays where it was
    reasons = {Path(flag.photo).name: flag.reason for flag in report.flags}
    assert reasons == {"copy.jpg": Reason.DUPLICATE_OTHER_PERSON, "wrong.jpg": Reason.NO_AGREEMENT}


@pytest.mark.parametrize(
    ("reason", "size", "pose", "sharpness"),
    [
        (None, 40, 0.3, 60),
        (Reason.FACE_TOO_SMALL, 31, 1, 1),
        (Reason.EXTREME_POSE, 200, 1.0, 60),
        (Reason.BLURRED, 200, 0.3, 2),
    ],
)
def test_one_bad_measure_is_enough_not_to_be_enrolled(reason, size, pose, sharpness):
    good_else = Quality(sharpness, 0.5, 0.2, pose, size, 200, 0, 0.9, overall=0.5)
    assert enrolment_refusal(good_else) == reason


def test_a_face_that_the_embedder_makes_out_badly_is_not_enrolled(people, tmp_path, bundle):
    release, scale = bundle.release, bundle.release.thresholds.length_scale
    assert scale is not None
    longer = LengthScale(low=9 * scale.low, median=9 * scale.median)  # than embeddings are
    thresholds = release.thresholds.model_copy(update={"length_scale": longer})
    other = replace(bundle, release=release.model_copy(update={"thresholds": thresholds}))
    report = enrol(people, tmp_path / "g", other)
    assert [flag.reason for flag in report.flags] == [Reason.LOW_QUALITY] * 5


def test_people_behind_a_face_that_the_embedder_makes_out_badly_are_not_enrolled():
    good = Quality(60, 0.5, 0.2, 0.1, 90, 200, 0, 0.9, overall=0.5)
    bad, behind = replace(good, overall=0.1), replace(good, size_px=40)
    crop, landmarks = np.zeros((112, 112, 3), np.uint8), np.zeros((5, 2), np.float32)

    def left(*qualities: Quality) -> OpenedPhoto:
        box = (0.0, 0.0, 9.0, 9.0)
        faces = tuple(Face(Detection(box, landmarks, 0.9), one, crop) for one in qualities)
        rows = np.eye(len(faces), dtype=np.float32)
        opened = OpenedPhoto("1.jpg", "1", faces, embeddings=rows)
        return PersonPhoto("a", Path("1.jpg"), "1.jpg", "1").of_person(opened)

    assert left(bad, behind).reason is Reason.LOW_QUALITY and not left(bad, behind).faces
    kept = left(good, replace(behind, overall=0.1), behind)
    assert [face.quality for face in kept.faces] == [good, behind]
    assert kept.embeddings is not None and kept.embeddings.argmax(axis=1).tolist() == [0, 2]


def test_the_command_prints_earlier_names_and_moved_faces(people, tmp_path, sface_bundle, capsys):
    one, other = folders_in(people)
    photo = file_in(other)
    photo = photo.rename(one / "zz_moved.jpg")
    gallery = ["--gallery", str(tmp_path / "g")]
    enrolling = ["enrol", str(people), *gallery, "--bundle", str(sface_bundle)]
    assert main([*enrolling, "--trust"]) == 0
    earlier = one.name.replace("_", " ")
    assert main(["people", "rename", earlier, "A Rod", *gallery]) == 0
    photo.rename(other / photo.name)
    capsys.readouterr()
    assert main(enrolling) == 0
    said = capsys.readouterr().out
    assert f"{earlier} is enrolled as A Rod; if they are two people: faceops people unalias" in said
    assert f"moved: the face of {other.name}/zz_moved.jpg from A Rod to" in said
    assert main([*enrolling, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["aliases"] == {earlier: "A Rod"}
    assert main(["people", "list", *gallery]) == 0
    assert f"earlier name: {earlier.lower()} is A Rod" in capsys.readouterr().out
    assert main(["people", "unalias", earlier, *gallery]) == 0
    assert f"{earlier} is not A Rod any longer" in capsys.readouterr().out
    assert main(["people", "unalias", earlier, *gallery]) == 1
    assert f"{earlier} is not an earlier name of a person" in capsys.readouterr().err


def test_a_photo_over_the_limits_is_flagged_with_the_option_that_raises_them(enrolment):
    report = enrolment(limits=PhotoLimits(max_bytes=1000))
    assert report.enrolled == 0 and len(report.flags) == 5
    assert all("--max-megabytes" in flag.note for flag in report.flags)


ANN, BEN, CAT = np.eye(3, 8, dtype=np.float32)
NOBODY = np.zeros((0, 8), np.float32)


def verify(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.exp(-((a - b) ** 2).sum(axis=1))


@pytest.mark.parametrize(
    ("photos", "known", "chosen"),
    [
        ([[ANN]], [], [0]),
        ([[BEN, ANN], [ANN], [CAT, BEN]], [], [1, 0, None]),  # the photo of one face decides
        ([[BEN, ANN]], [ANN], [1]),
        ([[BEN, ANN], [ANN, CAT]], [], [1, 0]),  # common to all photos
        ([[BEN, ANN], [ANN, BEN]], [], [None, None]),  # always together
        ([[BEN, ANN]], [], [None]),
    ],
)
def test_of_several_faces_the_one_that_matches_the_persons_others_is_chosen(photos, known, chosen):
    reference = np.stack(known) if known else NOBODY
    assert choose_faces(list(map(np.stack, photos)), reference, verify, lambda _: 0.5) == chosen


@pytest.mark.parametrize(
    ("photos", "known", "strange"),
    [
        ([[ANN], [BEN], [ANN]], [], {1}),
        ([[ANN], [BEN], [ANN], [CAT]], [], {1, 3}),
        # Enrolled faces are the only reference.
        ([[BEN]], [ANN, ANN], {0}),
        ([[ANN], [BEN], [BEN]], [ANN], {1, 2}),
        ([[ANN], [CAT, BEN]], [ANN, CAT], set()),
        # Where no two match, nothing can be said.
        ([[ANN], [BEN]], [], set()),
        ([[ANN], [BEN], [CAT]], [], set()),
        # Two groups of equal size, and photos of several faces, are accepted.
        ([[ANN], [BEN], [ANN], [BEN]], [], set()),
        ([[ANN], [ANN], [BEN, CAT]], [], set()),
    ],
)
def test_faces_unlike_others_of_the_person_that_match_are_found(photos, known, strange):
    reference = np.stack(known) if known else NOBODY
    limits = 0.5, np.inf, lambda _: 0.5
    compare = Comparison(*limits, lambda a, b: all_pairs(a, b, verify), np.asarray)
    assert dissimilar_photos(list(map(np.stack, photos)), reference, NOBODY, compare) == strange
