"""What people decide holds through runs: names, the gallery, sidecars, and photos written anew."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.files import folder_lock
from faceops.base.reasons import Reason
from faceops.cli.identify import result_lines
from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.gallery.decisions import SAME_PLACE, Decisions
from faceops.gallery.faces_file import CONFIRMED
from faceops.gallery.journal import Action, Entry, Ignored, Journal, new_id, new_person
from faceops.gallery.people import merge, split
from faceops.gallery.reembed import reembed
from faceops.gallery.storage import storage_of
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.identification.summary import Summary
from faceops.identification.unknown.name_unknown import name_unknown
from faceops.release.bundle import Bundle
from tests.identification.conftest import LENIENT, Run, rows_of

NEW = "Somebody New"


@dataclass(frozen=True)
class World:
    """An album of portraits, a gallery of half of the people, and the results of a first run."""

    album: Path
    gallery: Path
    out: Path
    bundle: Bundle

    @property
    def journal(self) -> Journal:
        return storage_of(self.gallery).journal()

    def run(self, **settings: object) -> Summary:
        gallery = Gallery.open(self.gallery, self.bundle.release.contract_id)
        chosen = replace(LENIENT, **settings)
        return identify(self.album, gallery, self.bundle, self.out, chosen)

    def rows(self) -> dict[str, dict]:
        """Return the record of the first face of each photo."""
        return {row["photo_path"]: row for row in rows_of(self.out) if not row["face_index"]}

    def photos_of(self, person: str) -> list[str]:
        return sorted(path for path in self.rows() if path.startswith(person))

    def about(self, action: Action, photo: str, person: str = "", **more: str) -> Entry:
        row = self.rows()[photo]
        with Image.open(self.album / photo) as image:
            size = image.size
        box = tuple(row[name] for name in ("x", "y", "width", "height"))
        return Entry(action, row["photo_id"], box, size, person, **more)

    def decide(self, *entries: Entry) -> list[Entry]:
        return self.journal.append(entries)

    def confirm(self, photos: Sequence[str], name: str, **more: str) -> list[Entry]:
        person, entries = Decisions.load(self.gallery).naming(name)
        confirmed = [self.about(Action.CONFIRM, photo, person, **more) for photo in photos]
        return self.decide(*entries, *confirmed)[len(entries) :]

    def enrolled(self, person: str) -> list[str]:
        """Return the photos from which the person's faces came by confirmation."""
        faces = Gallery.open(self.gallery).faces
        return [one.photo for one in faces if (one.person, one.origin) == (person, CONFIRMED)]


@pytest.fixture
def world(portraits: Run) -> World:
    """Restored for each test."""
    return World(
        portraits.album, Path(str(portraits.gallery.place)), portraits.out, portraits.bundle
    )


def people_of(world: World) -> list[str]:
    """Return the beginnings of the photos' names: strangers first, then enrolled people."""
    return sorted({path.rsplit("_", 1)[0] for path in world.rows()})


def test_confirmed_faces_are_named_and_enter_the_gallery_once(world):
    photos = world.photos_of(people_of(world)[0])
    world.confirm(photos, NEW)
    done = world.run()
    assert done.reasons[Reason.CONFIRMED] == done.people[NEW] == len(photos)
    assert done.admitted + len(done.not_admitted) == len(photos)
    assert done.admitted == len(world.enrolled(NEW)) > 0
    assert all(world.rows()[photo]["reason"] == "confirmed" for photo in photos)
    lines = result_lines(done, world.out)
    assert f"{len(photos)} faces have the name that a person confirmed" in lines
    assert not any("confirmed" in line for line in lines if line.startswith("without a name"))
    assert world.run().unchanged
    (world.out / "faces.csv").unlink()  # what did not pass was noted and is not tried again
    again = world.run()
    assert (again.admitted, again.not_admitted, again.photos_opened) == (0, [], 0)


def test_a_face_whose_box_differs_at_another_detail_enters_the_gallery(world):
    photo = world.photos_of(people_of(world)[0])[0]
    (entry,) = world.confirm([photo], NEW)
    assert entry.box is not None
    x, y, width, height = entry.box
    moved = replace(entry, id=new_id(), box=(x, y + height * 0.4, width, height))
    world.journal.remove([entry.id], [moved])
    assert SAME_PLACE < box_overlap(entry.box, moved.box) < SAME_BOX
    assert world.run().admitted == 1
    assert world.enrolled(NEW) == [photo]


def test_a_face_unlike_its_persons_others_is_only_named(world):
    stranger, enrolled = people_of(world)[0], Gallery.open(world.gallery).people[0]
    (photo, trusted) = world.photos_of(stranger)[:2]
    world.confirm([photo], enrolled)
    done = world.run()
    assert world.rows()[photo]["person"] == enrolled
    assert done.admitted == 0 and world.enrolled(enrolled) == []
    assert [f"{photo} (no_agreement)" in one for one in done.not_admitted] == [True]
    assert enrolled not in done.not_admitted[0]
    world.confirm([trusted], enrolled, detail="trusted")
    done = world.run()
    assert (done.admitted, world.enrolled(enrolled)) == (1, [trusted])


def test_a_face_enters_once_it_is_nobody_elses_in_the_gallery(world):
    enrolled = Gallery.open(world.gallery).people[0]
    photo = next(path for path, row in world.rows().items() if row["person"] == enrolled)
    row = world.rows()[photo]
    gallery = Gallery.open(world.gallery)
    own = next(face for face in gallery.faces if face.person == enrolled)
    box = tuple(row[name] for name in ("x", "y", "width", "height"))
    gallery.with_faces([replace(own, photo_id=row["photo_id"], photo=photo, box=box)]).save()
    world.confirm([photo], NEW)
    (refused,) = world.run().not_admitted
    assert f"{photo} (duplicate_other_person)" in refused
    assert (world.run(budget=0.3).not_admitted, world.enrolled(NEW)) == ([], [])
    gallery = Gallery.open(world.gallery)
    there = [face.photo_id == row["photo_id"] for face in gallery.faces]
    gallery.without(np.array(there, bool)).save()
    assert (world.run().admitted, world.enrolled(NEW)) == (1, [photo])


@pytest.mark.parametrize("how", ["undo", "refuse", "ignore", "other"])
def test_a_face_that_is_not_confirmed_any_more_leaves_the_gallery(world, how):
    photo = world.photos_of(people_of(world)[0])[0]
    (entry,) = world.confirm([photo], NEW)
    assert world.run().admitted == 1
    if how == "other":
        world.confirm([photo], "Another One")
    else:
        world.decide(
            {
                "undo": Entry(Action.UNDO, detail=entry.id),
                "refuse": world.about(Action.REFUSE, photo, entry.person),
                "ignore": world.about(Action.IGNORE, photo, detail=Ignored.STRANGER),
            }[how]
        )
    done = world.run()
    assert done.withdrawn == 1
    assert world.enrolled(NEW) == []
    assert len(world.enrolled("Another One")) == (how == "other")
    assert "1 faces left the gallery, as they are not confirmed any more" in result_lines(
        done, world.out
    )


def test_a_face_from_before_the_journal_stays_unless_it_is_refused(world):
    photo = world.photos_of(people_of(world)[0])[0]
    (entry,) = world.confirm([photo], NEW)
    world.run()
    journal = world.journal
    journal.path.unlink()
    assert world.run().withdrawn == 0
    assert world.enrolled(NEW) == [photo]
    world.decide(Entry(Action.NAME, person=entry.person, detail=NEW))
    world.decide(world.about(Action.REFUSE, photo, entry.person))
    assert world.run().withdrawn == 1


def test_sidecars_drawings_and_report_show_what_was_confirmed_refused_and_ignored(world):
    photo = world.photos_of(people_of(world)[0])[0]
    world.confirm([photo], NEW)
    enrolled = Gallery.open(world.gallery).people[0]
    one, other = [path for path, row in world.rows().items() if row["person"] == enrolled][:2]
    person, naming = Decisions().naming(enrolled)
    refused = world.about(Action.REFUSE, one, person)
    world.decide(*naming, refused, world.about(Action.IGNORE, other, detail=Ignored.NEVER_ASK))
    done = world.run(xmp=True, annotate=True)
    rows = world.rows()
    assert (rows[one]["person"], rows[one]["reason"]) == (None, "refused_by_person")
    assert (rows[other]["decision"], rows[other]["reason"]) == ("rejected", "ignored")
    assert "1 ignored" in "\n".join(result_lines(done, world.out))
    report = (world.out / "report.html").read_text("utf-8")
    assert '<section id="ignored">' in report and ">confirmed<" in report.replace("</", "<")
    assert NEW in (world.album / f"{photo}.xmp").read_text("utf-8")
    assert (world.out / "annotated" / f"{photo}.jpg").is_file()
    for photo in (one, other):
        sidecar = world.album / f"{photo}.xmp"
        assert not sidecar.exists() or enrolled not in sidecar.read_text("utf-8")


def test_a_gallery_in_use_is_tried_again_and_the_names_hold(world):
    photo = world.photos_of(people_of(world)[0])[0]
    world.confirm([photo], NEW)
    with folder_lock(world.gallery):
        done = world.run()
    assert "is in use" in done.gallery_note
    assert any(
        line.startswith("confirmed faces did not enter the gallery: ")
        for line in result_lines(done, world.out)
    )
    assert (done.people[NEW], done.admitted) == (1, 0)
    assert world.run().admitted == 1


def test_naming_continues_after_an_interruption(world):
    with (world.out / "unknown.csv").open() as file:
        name = file.readlines()[1].split(",")[0]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        module = "faceops.identification.unknown.name_unknown.identify"
        patch.setattr(module, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        name_unknown(name, NEW, world.gallery, world.bundle, world.out, 1)
    entries = world.journal.entries()
    assert {entry.action for entry in entries} == {"name", "confirm"}
    assert len({entry.batch for entry in entries}) == 1
    done = name_unknown(name, NEW, world.gallery, world.bundle, world.out, 1)
    assert world.journal.entries() == entries
    assert done.faces == len(entries) - 1 == done.summary.people[NEW]
    assert done.enrolled > 0


def with_comment(path: Path) -> None:
    """Write a comment into a JPEG, as a program that tags photos does."""
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff\xfe\x00\x06tags" + content[2:])


def smaller(path: Path) -> None:
    """Save a photo in two thirds of the size and another quality."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((2 * image.width // 3, 2 * image.height // 3))
    small.save(path, "JPEG", quality=70)


def replaced(path: Path) -> None:
    """Put another photo of the same person in its place."""
    person = path.stem.rsplit("_", 1)[0]
    other = max(path.parent.glob(f"{person}_*.jpg"))
    path.write_bytes(other.read_bytes() + b"\0")


@pytest.mark.parametrize(
    ("write", "holds"), [(with_comment, True), (smaller, True), (replaced, False)]
)
def test_decisions_hold_for_a_file_that_shows_the_same_faces(world, write, holds):
    photos = world.photos_of(people_of(world)[1])
    person, naming = Decisions().naming(NEW)
    confirmed, ignored = photos[:2]
    drawn: Box = (1.0, 2.0, 30.0, 30.0)
    beside = replace(world.about(Action.DRAW, confirmed, person), box=drawn)
    world.decide(*naming, world.about(Action.CONFIRM, confirmed, person), beside)
    world.decide(world.about(Action.IGNORE, ignored, detail=Ignored.STRANGER))
    world.run()
    size = Image.open(world.album / confirmed).size
    for photo in (confirmed, ignored):
        write(world.album / photo)
    done = world.run()
    rows = world.rows()
    assert done.photos_opened == 2
    assert (rows[confirmed]["reason"] == "confirmed") == holds
    assert (rows[ignored]["reason"] == "ignored") == holds
    added = [one for one in world.journal.entries() if one.action == Action.SAME]
    assert [one.by for one in added] == ["faceops"] * (2 * holds)
    if not holds:
        return
    factor = Image.open(world.album / confirmed).width / size[0]
    boxes = [(row["x"], row["y"]) for row in rows_of(world.out) if row["photo_path"] == confirmed]
    assert np.allclose(boxes[-1], (factor, 2 * factor), atol=0.01)
    assert done.admitted == 0, "it is in the gallery by its former bytes"
    # Undoing the decision undoes it for the new bytes too.
    entry = next(e for e in world.journal.entries() if e.action == Action.CONFIRM)
    world.decide(Entry(Action.UNDO, detail=entry.id))
    world.run()
    assert world.rows()[confirmed]["reason"] != "confirmed"


def move_photos(world: World) -> None:
    folder = world.album / "moved"
    folder.mkdir()
    for path in list(world.album.glob("*.jpg")):
        path.rename(folder / path.name)


def merge_and_undo(world: World, one: str, other: str) -> None:
    merge(world.gallery, one, other)
    world.run()
    split(world.gallery, other, one)


def test_decisions_stick_through_other_settings_models_moved_photos_and_lost_results(
    world, next_bundle
):
    strangers = [world.photos_of(person) for person in people_of(world)[:2]]
    group = new_person()
    enrolled, other = Gallery.open(world.gallery).people[:2]
    refused = next(path for path, row in world.rows().items() if row["person"] == enrolled)
    person, naming = Decisions().naming(enrolled)
    world.confirm(strangers[0][:2], NEW)
    world.decide(
        *naming,
        world.about(Action.REFUSE, refused, person),
        world.about(Action.IGNORE, strangers[0][2], detail=Ignored.STRANGER),
        *(world.about(Action.CONFIRM, photo, group) for photo in strangers[1]),
    )
    world.run()

    def held() -> list[tuple[str, str, str | None]]:
        rows = {Path(path).name: row for path, row in world.rows().items()}
        wanted = [*strangers[0], refused]
        return [(photo, rows[photo]["reason"], rows[photo]["person"]) for photo in wanted]

    before = held()
    assert [reason for _, reason, _ in before[:3]] == ["confirmed", "confirmed", "ignored"]
    assert before[3][1:] == ("refused_by_person", None)

    def reembedded() -> None:
        nonlocal world
        world = replace(world, bundle=Bundle.load(next_bundle))
        reembed(world.gallery, world.bundle)

    changes: list[Callable[[], object]] = [
        lambda: world.run(budget=0.3),
        lambda: world.run(detail=0),
        lambda: move_photos(world),
        lambda: merge_and_undo(world, enrolled, other),
        reembedded,
        lambda: shutil.rmtree(world.out),
    ]
    for change in changes:
        change()
        world.run()
        assert held() == before
        with (world.out / "unknown.csv").open() as file:
            unknown = [line.split(",") for line in file.read().splitlines()[1:]]
        names = {row[0] for row in unknown if Path(row[3]).name in strangers[1]}
        assert len(names) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_names_hold_in_a_read_only_gallery(world):
    photo = world.photos_of(people_of(world)[0])[0]
    world.confirm([photo], NEW)
    world.gallery.chmod(0o500)
    try:
        done = world.run()
    finally:
        world.gallery.chmod(0o700)
    assert done.people[NEW] == 1 and "cannot be written" in done.gallery_note
