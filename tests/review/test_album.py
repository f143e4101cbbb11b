"""The album of the review page: what it lists, what decisions change, and that runs agree."""

import contextlib
import io
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from faceops.base.errors import UsageError
from faceops.base.files import folder_lock
from faceops.cli.review import gallery_of
from faceops.gallery.decisions import Decisions
from faceops.gallery.enrol import enrol
from faceops.gallery.journal import Action, Entry, Ignored, Journal
from faceops.gallery.storage import storage_of
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.identification.summary import read_summary
from faceops.release.bundle import Bundle
from faceops.review.album import Album
from faceops.review.faces import ReviewedFace
from faceops.review.requests import parse
from faceops.review.views import examine
from tests.review.conftest import until


def rows_of(album: Album, work: Path) -> tuple[list[dict], list[dict]]:
    """Return the rows that the album expects of the next run, and those in the results."""
    rows = album.decided.rows
    assert rows is not None
    written = pq.read_table(work / "found" / "faces.parquet")
    return tuple(table.drop_columns("run_id").to_pylist() for table in (rows, written))  # type: ignore[return-value]


def named(album: Album) -> list[ReviewedFace]:
    """Return all named faces, person by person."""
    return [face for card in album.people_cards() for face in album.person(card.person)]


@pytest.fixture(scope="module")
def unchanged(identified: Path, bundle: Bundle) -> Iterator[Album]:
    """The album, decided, for tests that decide nothing."""
    with contextlib.closing(Album(identified / "found", identified / "gallery", bundle)) as album:
        assert album.wait()
        yield album


def test_every_list_shows_what_the_run_decided(unchanged, identified):
    assert gallery_of(identified / "found") == (identified / "gallery").resolve()
    decided, written = rows_of(unchanged, identified)
    assert decided == written
    groups = {face.key for group in unchanged.groups() for face in unchanged.group(group.name)}
    assert len(groups) == 4
    cards = [card for card in unchanged.people_cards() if card.photos]
    assert len(cards) == 6
    for card in cards:
        faces = unchanged.person(card.person)
        assert {face.person for face in faces} == {card.shown}
        chances = [face.candidates[0].probability for face in faces]
        assert chances == sorted(chances)
        assert faces[0] in unchanged.photo(faces[0].photo_id).faces
        assert unchanged.enrolled_picture(card.crop_id)[:4] == b"\x89PNG"
    assert unchanged.search(cards[0].shown[1:4].upper())[0][0][0] == cards[0].person
    assert unchanged.search("SCENE")[1]


def test_decisions_show_at_once_and_the_next_run_agrees(opened, work):
    faces = named(opened)
    merged = opened.merge_groups(*(group.name for group in opened.groups()))
    unknown = opened.group(opened.groups()[0].name)
    refused, ignored, moved = faces[0], faces[-1], faces[len(faces) // 2]
    batch = opened.refuse([refused.key], refused.person)
    opened.ignore([ignored.key], "stranger")
    opened.confirm([moved.key], "Zoë Newcomer")
    opened.confirm([unknown[0].key], faces[0].person.lower())
    assert opened.face(refused.key).person != refused.person
    assert next(c for c in opened.face(refused.key).candidates if c.refused).shown == refused.person
    assert opened.face(ignored.key).reason == "ignored"
    assert opened.face(moved.key).person == "Zoë Newcomer"
    assert opened.face(unknown[0].key).person == faces[0].person
    assert opened.status.unpublished > 0
    opened.undo(batch)
    opened.refuse([refused.key], refused.person)
    opened.split([unknown[1].key, unknown[2].key])
    opened.undo(merged)
    photo = opened.photo(faces[1].photo_id)
    opened.draw(photo.photo_id, (2.0, 2.0, 20.0, 24.0), "Drawn")
    assert opened.wait()
    assert "Zoë Newcomer" in opened.decided.gallery.people  # others are compared with the face
    before, _ = rows_of(opened, work)
    opened.publish(wait=True)
    assert opened.status.error == ""
    assert opened.wait()
    after, written = rows_of(opened, work)
    assert before == written == after
    assert "Zoë Newcomer" in Gallery.open(work / "gallery").people


def test_a_decision_can_be_undone_and_the_undoing_too(opened, work):
    face = named(opened)[0]
    for wrong in ("", "x", "0" * 64 + ".0", face.photo_id + ".99"):
        with pytest.raises(UsageError, match="load the page again"):
            opened.confirm([wrong], "Zoë")
    batch = opened.ignore([face.key], "not_a_face")
    assert batch in {entry.batch for entry in storage_of(work / "gallery").journal().entries()}
    undone = opened.undo(batch)
    assert opened.face(face.key).person == face.person
    opened.undo(undone)
    assert opened.face(face.key).reason == "ignored"
    with pytest.raises(UsageError, match="undone already"):
        opened.undo(undone)
    made = opened.history()
    assert [one.undone for one in made] == [False, True, False]
    assert made[-1].sentence == "1 face ignored: no faces"
    assert {one.by for one in made} == {"Ada"}


def test_groups_are_merged_and_split(opened):
    one, other = (group.name for group in opened.groups())
    shared = {face.photo_id for face in opened.group(one)} & {
        face.photo_id for face in opened.group(other)
    }
    assert not shared
    opened.merge_groups(one, other)
    assert [len(opened.group(group.name)) for group in opened.groups()] == [4]
    assert opened.wait()
    assert [len(opened.group(group.name)) for group in opened.groups()] == [4]
    faces = opened.group(opened.groups()[0].name)
    opened.split([faces[0].key, faces[1].key])
    assert sorted(group.faces for group in opened.groups()) == [2, 2]
    assert opened.wait()
    assert sorted(group.faces for group in opened.groups()) == [2, 2]


def test_a_group_gets_a_name_unless_its_faces_disagree(opened):
    known, unknown = opened.people[0], opened.groups()[0].name
    keys = [face.key for face in opened.group(unknown)]
    with pytest.raises(UsageError, match="merged with another"):
        opened.merge_groups(unknown, unknown)
    with pytest.raises(UsageError, match="is nobody's name"):
        opened.confirm(keys, "Unknown-001")
    with pytest.raises(UsageError, match=f"has {len(keys)} faces now, not the {len(keys) - 1}"):
        opened.name_group(unknown, known, faces=len(keys) - 1)  # in a tab that shows it as it was
    asked = opened.name_group(unknown, known, faces=len(keys))
    assert not asked.batch
    assert f"unlike the faces that are enrolled as {known}" in asked.question
    assert opened.name_group(unknown, known, trust=True).batch
    assert {opened.face(key).person for key in keys} == {known}


def test_a_new_name_for_somebody_who_is_known_is_asked_about(opened):
    face = max(named(opened), key=lambda one: one.candidates[0].chance)
    typed = {"keys": [face.key], "person": f"{face.person}x"}
    asked = parse("confirm", json.dumps(typed).encode()).apply(opened)
    assert f"very likely {face.person}. Is {face.person}x another person?" in asked.asks
    assert opened.history() == []
    trusted = parse("confirm", json.dumps(typed | {"trust": True}).encode()).apply(opened)
    assert trusted.batch and opened.face(face.key).person == f"{face.person}x"
    opened.undo(trusted.batch)
    opened.refuse([face.key], face.person)
    assert not opened.doubt([face.key], f"{face.person}x")


def test_a_box_is_drawn_and_the_drawing_undone(opened):
    photo = opened.photo(named(opened)[0].photo_id)
    corner = (2.0, 2.0, 20.0, 24.0)
    batch = opened.draw(photo.photo_id, corner, "Zoë")
    drawn = opened.photo(photo.photo_id).faces[-1]
    assert (drawn.box, drawn.person, drawn.candidates) == (corner, "Zoë", [])
    assert opened.face_picture(drawn.key)
    others = [face for face in opened.photo(photo.photo_id).faces if face.key != drawn.key]
    assert others == photo.faces
    opened.undo(batch)
    assert opened.photo(photo.photo_id).faces == photo.faces
    with pytest.raises(UsageError, match="too small"):
        opened.draw(photo.photo_id, (2, 2, 1e-9, 24), "Zoë")
    with pytest.raises(UsageError, match="outside the photo"):
        opened.draw(photo.photo_id, (-5, 0, 20, 20), "Zoë")


def test_people_are_renamed_merged_and_separated(opened):
    one, other = opened.people[:2]
    keys = [face.key for face in opened.person(one)]
    renamed = opened.rename(one, "Zoë").batch
    assert {opened.face(key).person for key in keys} == {"Zoë"}
    assert opened.wait()
    assert {opened.face(key).person for key in keys} == {"Zoë"}
    asked = opened.rename("Zoë", other)  # two people, as it turns out
    assert not asked.batch and "two people with one name" in asked.question
    assert "Do they show" in opened.merge_people("Zoë", other).question
    second = opened.rename("Zoë", other, is_another=True)
    assert (second.person, opened.face(keys[0]).person) == (f"{other} (2)", other)
    opened.undo(second.batch)
    merged = opened.merge_people("Zoë", other, trust=True).batch
    assert {opened.face(key).person for key in keys} == {other}
    opened.undo(merged)
    assert opened.wait()
    assert {opened.face(key).person for key in keys} == {"Zoë"}
    opened.undo(renamed)
    assert opened.wait()
    assert {opened.face(key).person for key in keys} == {one}


def test_a_person_is_forgotten(opened, work):
    person = opened.people[0]
    faces = opened.person(person)
    opened.confirm([faces[-1].key], person)
    assert opened.forget(person).complete
    assert opened.history() == []
    assert person not in opened.people
    assert opened.wait()
    assert all(face.person != person for face in named(opened))
    shown = [face.key for face in opened.photo(faces[0].photo_id).faces]
    assert faces[0].key not in shown
    with pytest.raises(UsageError, match="not in the album"):  # by a page that was open
        opened.confirm([faces[0].key], person, listed=True)
    with pytest.raises(UsageError, match="not in the album"):
        opened.refuse([faces[0].key], person)
    assert opened.history() == [] and person not in opened.people


def test_why_a_face_has_its_name(opened):
    face = named(opened)[0]
    why = opened.why(face.key)
    assert why.shown == face.person
    assert why.chance == face.candidates[0].chance
    assert [one.probability for one in why.nearest] == sorted(
        (one.probability for one in why.nearest), reverse=True
    )
    assert why.nearest[0].probability == pytest.approx(face.candidates[0].probability, abs=1e-4)
    assert why.runner_up is not None and why.runner_up.person != why.person
    assert why.decided_by == "" and f"{face.person}." in why.sentence
    opened.confirm([face.key], face.person)
    assert opened.why(face.key).decided_by == "Ada"


def test_a_dropped_face_leaves_the_gallery_and_enrolling_does_not_bring_it_back(
    opened, work, bundle, synthetic_set
):
    card = opened.people_cards()[0]
    face = next(face for face in opened.decided.gallery.faces if face.person == card.person)
    place = face.photo_id, face.box
    batch = opened.drop_enrolled(face.crop_id)
    for left in (card.enrolled - 1, card.enrolled):
        assert opened.wait()
        assert opened.people_cards()[0].enrolled == left
        batch = opened.undo(batch)
    opened.publish(wait=True)

    def places() -> set[tuple[str, tuple[float, ...]]]:
        return {(face.photo_id, face.box) for face in Gallery.open(work / "gallery").faces}

    assert place not in places()
    report = enrol(synthetic_set / "enrol", work / "gallery", bundle)
    assert [flag.reason for flag in report.flags] == ["refused_by_person"]
    assert place not in places()
    opened.undo(batch)
    enrol(synthetic_set / "enrol", work / "gallery", bundle)
    assert place in places()


def test_the_doctor_finds_an_enrolled_face_of_somebody_else(unchanged, bundle):
    assert {face.what for face in unchanged.doctor()[0]} <= {"weak"}  # synthetic ones are small
    gallery = unchanged.decided.gallery
    first, *_, last = gallery.faces
    mixed = gallery.without(np.array([face is last for face in gallery.faces], bool)).with_faces(
        [replace(last, person=first.person)]
    )
    worst = examine(mixed, bundle, {first.person: "Shown"})[0]
    assert (worst.crop_id, worst.what) == (last.crop_id, "mixed")
    assert worst.shown == "Shown"


def test_a_chosen_picture_stands_for_the_person(opened):
    face = named(opened)[0]
    opened.choose_picture(face.person, face.key)
    assert opened.people_cards()[0].key == face.key
    refused = opened.refuse([face.key], face.person)
    assert opened.people_cards()[0].key == ""
    opened.undo(refused)
    batch = opened.confirm([face.key], "Zoë")
    assert opened.people_cards()[0].key == "" and "Zoë" in opened.people
    opened.undo(batch)  # a name is offered while a decision about the person holds
    assert opened.people and "Zoë" not in opened.people


def test_a_picture_that_was_chosen_at_another_detail_stands_for_the_person(work, bundle):
    rows = pq.read_table(work / "found/faces.parquet").to_pylist()
    counts = Counter(row["person"] for row in rows)
    several = [row for row in rows if row["person"] and counts[row["person"]] > 1]
    row = min(several, key=lambda row: row["quality"])  # which no card would show else
    person, naming = Decisions.load(work / "gallery").naming(row["person"])
    box = row["x"], row["y"] + 0.4 * row["height"], row["width"], row["height"]
    chosen = Entry(Action.PICTURE, row["photo_id"], box, (99, 99), person)
    storage_of(work / "gallery").journal().append([*naming, chosen])
    with contextlib.closing(Album(work / "found", work / "gallery", bundle)) as album:
        assert album.wait()
        key = f"{row['photo_id']}.{row['face_index']}"
        assert key in [card.key for card in album.people_cards()]


def test_pictures_are_of_photos_of_the_run_only(unchanged):
    face = named(unchanged)[0]
    with Image.open(io.BytesIO(unchanged.photo_picture(face.photo_id, 200))) as image:
        assert (image.format, max(image.size)) == ("JPEG", 200)
    for size in (96, 300):
        with Image.open(io.BytesIO(unchanged.face_picture(face.key, size))) as image:
            assert image.format == "WEBP" and max(image.size) <= size
    for wrong in ("0" * 64, "../../etc/passwd", ""):
        with pytest.raises(UsageError):
            unchanged.photo_picture(wrong, 200)
        with pytest.raises(UsageError):
            unchanged.face_picture(f"{wrong}.0")
        with pytest.raises(UsageError):
            unchanged.enrolled_picture(wrong)


def test_publishing_waits_for_another_process_and_the_end_for_the_latest_decision(opened, work):
    keys = [face.key for face in named(opened)[:3]]
    opened.ignore(keys[:1])
    with folder_lock(work / "found"):
        opened.publish()
        until(lambda: opened.status.state == "waiting")
        opened.ignore(keys[1:2])
    until(lambda: opened.status.progress > 0)
    opened.ignore(keys[2:])
    opened.publish(wait=True)
    assert not (opened.status.unpublished or opened.status.error)
    assert {opened.face(key).reason for key in keys} == {"ignored"}


def test_closing_ends_publishing_and_the_results_are_whole(opened, work, bundle):
    opened.ignore([named(opened)[0].key])
    opened.publish()
    opened.close()
    assert "publish" not in [thread.name for thread in threading.enumerate()]
    Album(work / "found", work / "gallery", bundle).close()


def test_what_another_process_decides_at_the_same_moment_is_seen(opened, monkeypatch):
    mine, theirs = named(opened)[:2]
    place = theirs.photo_id, theirs.box, opened.photo(theirs.photo_id).size
    other = Entry(Action.IGNORE, *place, detail=Ignored.STRANGER, batch="another")
    append = Journal.append

    def append_second(journal: Journal, entries: Iterable[Entry]) -> list[Entry]:
        append(journal, [other])
        return append(journal, entries)

    monkeypatch.setattr(Journal, "append", append_second)
    opened.ignore([mine.key])
    until(lambda: "another" in [one.batch for one in opened.history()])


def test_a_results_folder_that_is_gone_is_said_and_found_again(opened, work):
    opened.ignore([named(opened)[0].key])
    (work / "found").rename(work / "moved")
    until(lambda: "found holds no results" in opened.status.error)
    opened.publish(wait=True)
    assert not (work / "found").exists()
    (work / "moved").rename(work / "found")
    until(lambda: opened.status.error == "")


def test_results_and_decisions_of_other_processes_are_taken_over(opened, work, bundle):
    face = named(opened)[0]
    other = Album(work / "found", work / "gallery", bundle, by="Ben")
    other.ignore([face.key])
    other.close()
    until(lambda: opened.face(face.key).reason == "ignored")
    assert opened.status.unpublished == 1
    gallery = Gallery.open(work / "gallery")
    photos = Path(read_summary(work / "found").photos_folder)
    identify(photos, gallery, bundle, work / "found")
    until(lambda: opened.status.unpublished == 0)


def test_decisions_that_the_results_lack_show_after_a_restart_and_are_counted(opened, work, bundle):
    face, other = named(opened)[0], named(opened)[-1]
    opened.ignore([face.key])
    opened.close()
    with contextlib.closing(Album(work / "found", work / "gallery", bundle)) as album:
        assert album.face(face.key).reason == "ignored"
        assert album.status.unpublished == 1
        album.publish(wait=True)
        assert (album.status.unpublished, album.status.error) == (0, "")
        place = other.photo_id, other.box, album.photo(other.photo_id).size
        time = "2020-01-31T12:00:00.000000Z"
        imported = Entry(Action.IGNORE, *place, detail="stranger", batch="0" * 16, time=time)
        # Made before the run, on another machine.
        storage_of(work / "gallery").journal().merge([imported])
        until(lambda: album.face(other.key).reason == "ignored")
        assert album.status.unpublished > 0
        album.publish(wait=True)
        assert (album.status.unpublished, album.status.error) == (0, "")


def test_threads_decide_and_read_at_the_same_time(opened):
    faces = named(opened)

    def decide(some: list[ReviewedFace]) -> None:
        for face in some:
            opened.confirm([face.key], face.person)
            opened.undo(opened.ignore([face.key]))

    with ThreadPoolExecutor() as pool:
        deciding = [pool.submit(decide, faces[start::3]) for start in range(3)]
        while not all(one.done() for one in deciding):
            named(opened)
            for group in opened.groups():
                opened.group(group.name)
    for one in deciding:
        one.result()
    assert opened.wait()
    for face in faces:
        now = opened.face(face.key)
        assert (now.person, now.reason) == (face.person, "confirmed")
