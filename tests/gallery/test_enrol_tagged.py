"""Names that other programs gave to faces in photos become enrolled people."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceops.base.reasons import Reason
from faceops.cli import main
from faceops.faces.detector import Box
from faceops.faces.regions import matches, upright_box
from faceops.gallery import tags
from faceops.gallery.enrol import EnrolReport, enrol, enrol_tagged
from faceops.gallery.faces_file import TAGGED
from faceops.gallery.people import rename
from faceops.gallery.people_folder import PeopleFolder
from faceops.gallery.store import Gallery
from faceops.gallery.tags import list_album, read_tagged
from faceops.photos.formats import PhotoLimits
from faceops.photos.xmp import Area, XmpDocument, stored_area
from faceops.release.bundle import Bundle
from tests.gallery.gallery_files import make_gallery
from tests.tagged_photos import FORMATS, STYLES, lightroom, microsoft, save

SIZE = (400, 200)
ADA, BEN = Area(0.25, 0.5, 0.3, 0.6), Area(0.75, 0.5, 0.3, 0.6)


@pytest.fixture(scope="session")
def couples(synthetic_set: Path) -> list[Image.Image]:
    """Photos of the same two people beside each other, Ada on the left."""
    people = [sorted(path.iterdir()) for path in sorted((synthetic_set / "enrol").iterdir())[:2]]
    photos = []
    for files in zip(*people, strict=False):
        photo = Image.new("RGB", SIZE, (120, 140, 160))
        for place, file in enumerate(files):
            with Image.open(file) as portrait:
                photo.paste(portrait.convert("RGB").resize((200, 200)), (200 * place, 0))
        photos.append(photo)
    return photos


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """An empty folder."""
    (tmp_path / "album").mkdir()
    return tmp_path / "album"


def enrol_album(album: Path, bundle: Bundle, **settings: Any) -> EnrolReport:
    return enrol_tagged(album, album.parent / "gallery", bundle, **settings)


def faces_in(album: Path) -> list[tuple[str, str, bool]]:
    """Return person, photo, and whether the face is the left one, of each enrolled face."""
    faces = Gallery.open(album.parent / "gallery").faces
    return [(face.person, face.photo, face.box[0] + face.box[2] / 2 < 200) for face in faces]


@pytest.mark.parametrize("orientation", [2, 6])
def test_each_tagged_face_is_enrolled_under_its_name_in_turned_photos(
    album, couples, bundle, orientation
):
    stored = SIZE[::-1] if orientation >= 5 else SIZE
    places = [stored_area((side * 200 + 40, 40, 120, 120), SIZE, orientation) for side in (0, 1)]
    packet = lightroom([("Ada", places[0]), ("Ben", places[1])], stored)  # type: ignore[list-item]
    save(couples[0], album / "photo.jpg", packet, orientation)
    report = enrol_album(album, bundle)
    assert report.flags == [] and report.enrolled == 2 and report.photos_opened == 1
    assert faces_in(album) == [("Ada", "photo.jpg", True), ("Ben", "photo.jpg", False)]
    assert {face.origin for face in Gallery.open(album.parent / "gallery").faces} == {TAGGED}
    again = enrol_album(album, bundle)
    assert (again.enrolled, again.unchanged, again.photos_opened) == (0, 2, 0)


def read_album(album: Path) -> PeopleFolder:
    """Return what is known before photos are opened."""
    gallery = make_gallery(album.parent / "small", [("Eve", 1)])
    return read_tagged(album, list_album(album, (), {}), gallery, PhotoLimits(), threads=1)


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_in_every_format_and_style_are_read(album, suffix):
    style = list(STYLES)[FORMATS.index(suffix) % len(STYLES)]
    packet = STYLES[style]([("Ada", ADA), ("Ben", BEN)], SIZE)
    save(Image.new("RGB", SIZE), album / f"photo{suffix}", packet)
    folder = read_album(album)
    assert (list(folder.photos), folder.skipped) == (["Ada", "Ben"], [])
    (photo,) = folder.photos["Ben"]
    boxes = {tag.name: tag.box for tag in photo.tags}  # type: ignore[attr-defined]
    for name, area in (("Ada", ADA), ("Ben", BEN)):
        assert boxes[name] == pytest.approx(upright_box(area, SIZE, 1), abs=1)


def test_names_in_sidecars_are_enrolled_but_not_those_that_faceops_decided(album, couples, bundle):
    save(couples[0], album / "photo.jpg", "")
    document = XmpDocument(lightroom([("Ada", ADA)], SIZE).encode())
    document.add_region("Ben", BEN, SIZE)
    (album / "photo.xmp").write_bytes(document.as_bytes())
    assert enrol_album(album, bundle).people == {"Ada": 1}


def test_two_names_of_one_face_are_listed_and_neither_is_enrolled(album, couples, bundle):
    near = Area(0.26, 0.5, 0.3, 0.55)
    save(couples[0], album / "a.jpg", lightroom([("Ada", ADA), ("Cleo", near), ("Ben", BEN)], SIZE))
    save(couples[1], album / "b.jpg", lightroom([("Ada", ADA)], SIZE))
    (album / "b.jpg.xmp").write_text(microsoft([("Cleo", near)], SIZE), "utf-8")
    # A small tag inside a large one overlaps it little, but both mean the face.
    large = Area(0.25, 0.5, 0.5, 1.0)
    save(
        couples[0],
        album / "c.jpg",
        lightroom([("Ada", Area(0.25, 0.5, 0.2, 0.4)), ("Dan", large)], SIZE),
    )
    report = enrol_album(album, bundle)
    assert report.people == {"Ben": 1}
    flags = [(flag.photo, flag.person, flag.note.partition(";")[0]) for flag in report.flags]
    assert flags == [
        ("a.jpg", "Ada / Cleo", "one face is tagged Ada and Cleo"),
        ("b.jpg", "Ada / Cleo", "the photo names the face Ada, its sidecar Cleo"),
        ("c.jpg", "Ada", "one face is tagged Ada and Dan"),
        ("c.jpg", "Dan", "one face is tagged Ada and Dan"),
    ]
    assert {flag.reason for flag in report.flags} == {Reason.TAG_CONFLICT}


def test_one_name_on_two_faces_and_a_tag_without_a_face_are_listed(album, couples, bundle):
    save(couples[0], album / "a.jpg", lightroom([("Ada", ADA), ("Ada", BEN)], SIZE))
    beside = Area(0.5, 0.9, 0.05, 0.1)
    save(couples[1], album / "b.jpg", lightroom([("Ada", ADA), ("Cleo", beside)], SIZE))
    report = enrol_album(album, bundle)
    assert faces_in(album) == [("Ada", "b.jpg", True)]
    assert [(flag.photo, flag.person, flag.reason) for flag in report.flags] == [
        ("a.jpg", "Ada", Reason.TAG_CONFLICT),
        ("b.jpg", "Cleo", Reason.NO_FACE),
    ]
    assert report.flags[0].note.startswith("2 faces are tagged Ada")


def test_a_face_that_is_enrolled_under_another_name_is_listed(album, couples, bundle, tmp_path):
    (tmp_path / "people").mkdir()
    couples[0].crop((0, 0, 200, 200)).save(tmp_path / "people" / "Eve.png")
    enrol(tmp_path / "people", tmp_path / "gallery", bundle)
    save(couples[0], album / "photo.jpg", "")
    os.link(tmp_path / "people" / "Eve.png", album / "eve.png")
    face = Area(0.5, 0.5, 0.6, 0.6)
    (album / "eve.png.xmp").write_text(lightroom([("Ada", face)], (200, 200)), "utf-8")
    report = enrol_album(album, bundle)
    assert report.people == {"Eve": 1}
    ((reason, note),) = [(flag.reason, flag.note) for flag in report.flags]
    assert reason is Reason.DUPLICATE_OTHER_PERSON
    assert note == "the same face is enrolled as Eve; correct the tag that is wrong"
    (album / "eve.png.xmp").write_text(lightroom([("eve", face)], (200, 200)), "utf-8")
    assert enrol_album(album, bundle).unchanged == 1


def test_a_corrected_tag_moves_the_face_and_pruning_a_folder_keeps_tagged_faces(
    album, couples, bundle, tmp_path
):
    save(couples[0], album / "photo.jpg", "")
    sidecar = album / "photo.jpg.xmp"
    sidecar.write_text(lightroom([("Ada", ADA), ("Ben", BEN)], SIZE), "utf-8")
    enrol_album(album, bundle)
    (tmp_path / "people").mkdir()
    couples[1].crop((200, 0, 400, 200)).save(tmp_path / "people" / "Ben.png")
    report = enrol(tmp_path / "people", tmp_path / "gallery", bundle, prune=True)
    assert (report.pruned, report.people) == (0, {"Ada": 1, "Ben": 2})
    sidecar.write_text(lightroom([("Cleo", ADA), ("Ben", BEN)], SIZE), "utf-8")
    report = enrol_album(album, bundle)
    assert [(one.person, one.before) for one in report.moved] == [("Cleo", "Ada")]
    assert (report.people, report.flags) == ({"Ben": 2, "Cleo": 1}, [])
    rename(tmp_path / "gallery", "Cleo", "Zoë")
    report = enrol_album(album, bundle)
    assert (report.aliases, report.unchanged) == ({"Cleo": "Zoë"}, 2)
    assert report.spellings == {} and report.photos_opened == 0


def test_a_person_gets_the_faces_of_many_occasions_and_no_more_than_the_limit(
    album, couples, bundle, monkeypatch
):
    monkeypatch.setattr(tags.people_folder, "MAX_FACES", 2)
    monkeypatch.setattr("faceops.gallery.enrol.FEWEST_AT_ONCE", 1)
    for folder, width in (("one", 0.3), ("two", 0.25)):
        (album / folder).mkdir()
        for number, couple in enumerate(couples[:2]):
            path = album / folder / f"{number}.jpg"
            area = ADA._replace(w=width + number / 100, h=0.55)
            save(couple, path, lightroom([("Ada", area)], SIZE))
            path.write_bytes(path.read_bytes() + folder.encode())  # another photo
    report = enrol_album(album, bundle, trust=True)
    assert (report.enrolled, report.surplus, report.photos_opened) == (2, 2, 2)
    assert [photo for _, photo, _ in faces_in(album)] == ["one/1.jpg", "two/1.jpg"]
    again = enrol_album(album, bundle, trust=True)
    assert (again.unchanged, again.surplus, again.photos_opened) == (2, 2, 0)


def test_photos_that_give_no_face_are_replaced_by_further_ones_and_the_best_are_kept(
    album, couples, bundle, monkeypatch
):
    monkeypatch.setattr(tags.people_folder, "MAX_FACES", 1)
    monkeypatch.setattr("faceops.gallery.enrol.FEWEST_AT_ONCE", 1)
    blank = Image.new("RGB", SIZE, "grey")
    save(blank, album / "a.jpg", lightroom([("Ada", ADA)], SIZE))
    smaller = ADA._replace(w=0.29)
    blurred = couples[0].resize((60, 30)).resize(SIZE)
    for name, picture in (("b.jpg", blurred), ("c.jpg", couples[0])):
        save(picture, album / name, lightroom([("Ada", smaller)], SIZE))
    report = enrol_album(album, bundle)
    assert [flag.reason for flag in report.flags] == [Reason.NO_FACE] and report.surplus == 1
    monkeypatch.setattr("faceops.gallery.enrol.FEWEST_AT_ONCE", 3)
    report = enrol_tagged(album, album.parent / "other", bundle)
    (face,) = Gallery.open(album.parent / "other").faces
    assert face.photo == "c.jpg" and report.photos_opened == 3


def test_a_face_unlike_the_persons_others_needs_trust(album, couples, bundle):
    for number, couple in enumerate(couples[:3]):
        save(couple, album / f"{number}.jpg", lightroom([("Ada", ADA)], SIZE))
    enrol_album(album, bundle, exclude=["wrong.jpg"])
    save(couples[0], album / "wrong.jpg", lightroom([("Ada", BEN)], SIZE))
    report = enrol_album(album, bundle)
    assert [(flag.photo, flag.reason) for flag in report.flags] == [
        ("wrong.jpg", Reason.NO_AGREEMENT)
    ]
    assert enrol_album(album, bundle, trust=True).enrolled == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("A\u200bda", Reason.BAD_NAME),
        ("---", Reason.BAD_NAME),
        ("A" * 101, Reason.BAD_NAME),
        ("\u202eadA", Reason.BAD_NAME),
        ("Unknown", None),
        ("", None),
    ],
)
def test_what_is_not_a_name_is_refused(album, name, reason):
    save(Image.new("RGB", SIZE), album / "photo.jpg", lightroom([(name, ADA)], SIZE))
    assert [flag.reason for flag in read_album(album).skipped] == [reason] * (reason is not None)


def test_a_cropped_photo_and_broken_files_are_flags_and_not_an_end(album):
    save(Image.new("RGB", SIZE), album / "a.jpg", lightroom([("Ada", ADA)], (400, 300)))
    save(Image.new("RGB", SIZE), album / "b.jpg", lightroom([("Ada", ADA)], SIZE))
    (album / "b.jpg.xmp").write_text('<!DOCTYPE x [<!ENTITY a "b">]><x/>')
    (album / "c.jpg").write_bytes(b"\xff\xd8\xff broken")
    (album / "d.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    (album / "notes.txt").write_text("no photo")
    flags = read_album(album).skipped
    assert [(flag.person, flag.reason) for flag in flags] == [
        ("Ada", Reason.TAG_CONFLICT),
        ("", Reason.UNREADABLE),
        ("", Reason.UNREADABLE),
    ]
    assert "cropped or turned" in flags[0].note and "has a document type" in flags[1].note


def test_the_command_says_what_was_enrolled_and_escapes_hostile_names(
    album, couples, sface_bundle, capsys
):
    hostile = "<img src=x onerror=alert(1)>"
    save(couples[0], album / "a.jpg", lightroom([(hostile, ADA), ("B\x7fen", BEN)], SIZE))
    command = ["enrol", "--from-tags", str(album), "--gallery", str(album.parent / "gallery")]
    command += ["--bundle", str(sface_bundle)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "not enrolled: a.jpg, B\\x7fen (bad_name): 'B\\x7fen' cannot be" in shown
    assert "1 people, 1 faces; 1 enrolled now" in shown
    assert main([*command, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["people"] == {hostile: 1} and content["unchanged"] == 1
    assert [flag["reason"] for flag in content["flags"]] == ["bad_name"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name either PEOPLE_DIR or an album: --from-tags PHOTOS_DIR."),
        (["{album}", "--from-tags", "{album}"], "name either PEOPLE_DIR or an album"),
        (["--from-tags", "{album}", "--prune"], "--prune goes with PEOPLE_DIR"),
        (["--from-tags", "{album}/nowhere"], "is not a folder; name the folder of tagged photos"),
        (["--from-tags", "{album}"], "holds no files; name a folder of tagged photos"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(album, sface_bundle, capsys, options, message):
    given = [option.format(album=album) for option in options]
    gallery = ["--gallery", str(album.parent / "gallery"), "--bundle", str(sface_bundle)]
    assert main(["enrol", *given, *gallery]) == 2
    assert message in capsys.readouterr().err


def group(random: np.random.Generator) -> tuple[list[Box], list[Box]]:
    """Return the faces of a group photo, and their tags as one of four programs draws them."""
    gap, across = random.uniform(1.5, 4), int(random.integers(2, 7))
    scale, spread = ((1.0, 0.05), (1.5, 0.1), (1.25, 0.05), (0.0, 0.2))[random.integers(4)]
    up = random.uniform(-0.15, 0.05)
    faces, tagged = [], []
    for number in range(random.integers(1, 13)):
        row, column = divmod(number, across)
        width = float(np.exp(random.normal(0, 0.2)))
        height = 1.33 * width
        x = column * gap + row % 2 * gap / 2 + random.normal(0, 0.15)
        y = row * gap * 0.9 + random.normal(0, 0.3)
        side = height * (scale or np.exp(random.uniform(np.log(0.5), np.log(3))))
        middle = x + width / 2 + random.normal(0, spread) * width
        level = y + height / 2 + (random.normal(0, spread) + up) * height
        faces.append((x, y, width, height))
        tagged.append((middle - side / 2, level - side / 2, side, side))
    return faces, tagged


def test_tags_of_other_sizes_mean_the_right_face():
    random = np.random.default_rng(1)
    right = wrong = found = 0
    for _ in range(600):
        faces, tagged = group(random)
        seen = np.flatnonzero(random.random(len(faces)) < 0.9).tolist()
        given = matches(tagged, [faces[face] for face in seen])
        for tag, face in enumerate(given):
            right += face is not None and seen[face] == tag
            wrong += face is not None and seen[face] != tag
        found += len(seen)
    assert right / found > 0.97 and wrong / found < 0.002
