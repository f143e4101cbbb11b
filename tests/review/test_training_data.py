"""Reviewed faces as labelled photos: what is decided comes in, what is undone or forgotten leaves.

The photos are stripes of colour, and the state says where their faces are.
"""

import contextlib
import csv
import io
import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.cli import main
from faceops.dataset.data_folder import (
    ACCEPTED,
    SYNTHETIC,
    read_hard_negatives,
    read_imported,
    read_reviewed,
    write_sources,
)
from faceops.dataset.validate import validate_photos
from faceops.faces.crop_photos import CropSettings, crop_photo
from faceops.faces.detector import Box
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry, Ignored, Journal
from faceops.gallery.outputs import remember_output
from faceops.gallery.storage import storage_of
from faceops.gallery.store import Gallery
from faceops.identification.inputs import IdentifySettings, source_file
from faceops.identification.run import identify
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import FACE, Extraction, FoundPhoto
from faceops.identification.state.schema import method_of
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import open_photo
from faceops.release.bundle import Bundle
from faceops.review import training_data
from faceops.review.training_data import (
    MAX_SIDE,
    NO_FACE,
    NO_PHOTO,
    NOT_EMBEDDED,
    SAME_STRANGER,
    UNDECIDED,
    UNNAMED,
    ReviewedImport,
    cut_face,
    import_reviewed,
    teaching_decisions,
)
from tests.release.tiny_release import SIZE, write_tiny

BOX, BESIDE = (60.0, 30.0, 40.0, 40.0), (20.0, 30.0, 24.0, 30.0)


@pytest.fixture(scope="module")
def tiny_bundle(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write_tiny(tmp_path_factory.mktemp("tiny_release") / "bundle", weights_dir))


@dataclass
class World:
    """A gallery's journal, a run's state, photos of faces whose embeddings are given."""

    root: Path
    bundle: Bundle
    decisions: Decisions = field(default_factory=Decisions)

    @property
    def gallery(self) -> Path:
        return self.root / "gallery"

    @property
    def journal(self) -> Journal:
        return storage_of(self.gallery).journal()

    @property
    def data(self) -> Path:
        return self.root / "data"

    def photo(self, *people: int) -> str:
        """Save a photo with faces of `people` at BOX and BESIDE; return its photo_id."""
        number = len(list((self.root / "photos").iterdir()))
        path = self.root / "photos" / f"{number}.png"
        pixels = np.full((120, 160, 3), number, np.uint8)
        pixels[30:70, 60:100] = (200, number, 50)
        Image.fromarray(pixels).save(path)
        photo_id = sha256_file(path)
        boxes = (BOX, BESIDE)[: len(people)]
        faces = np.array([(box, 0.9, 0.8, False) for box in boxes], FACE)
        embeddings = np.stack([self.embedding(person, number) for person in people])
        found = FoundPhoto(photo_id, None, (160, 120), faces=faces, embeddings=embeddings)
        crops = {place: np.zeros((112, 112, 3), np.uint8) for place in range(len(people))}
        (self.root / "out").mkdir(exist_ok=True)
        method = method_of(self.bundle.release, 0)._replace(finder="f" * 64)
        with contextlib.closing(FaceStore(self.root / "out/state.sqlite", method)) as store:
            store.save([Extraction(str(path), source_file(str(path)), found, True, crops=crops)])
        return photo_id

    @staticmethod
    def embedding(person: int, number: int) -> np.ndarray:
        vector = np.eye(SIZE)[person]
        vector += 0.02 * np.random.default_rng([person, number]).normal(size=SIZE)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def decide(
        self, action: Action, photo_id: str, name: str = "", box: Box = BOX, detail: str = ""
    ) -> Entry:
        person, naming = self.decisions.naming(name) if name else ("", [])
        entry = Entry(action, photo_id, box, (160, 120), person, detail)
        self.decisions.add(self.journal.append([*naming, entry]))
        return entry

    def undo(self, entry: Entry) -> None:
        self.decisions.add(self.journal.append([Entry(Action.UNDO, detail=entry.id)]))

    def change_state(self, statement: str, *values: object) -> None:
        with contextlib.closing(sqlite3.connect(self.root / "out/state.sqlite")) as db, db:
            db.execute(statement, values)

    def bring(self) -> ReviewedImport:
        return import_reviewed(self.gallery, self.data, self.bundle)

    def files(self) -> dict[str, int]:
        """Return the number of crops by folder."""
        return dict(Counter(path.parent.name for path in self.data.glob("photos/*/*")))


@pytest.fixture
def world(tiny_bundle: Bundle, tmp_path: Path) -> World:
    for name in ("gallery", "photos"):
        (tmp_path / name).mkdir()
    remember_output(tmp_path / "gallery", tmp_path / "out")
    return World(tmp_path, tiny_bundle)


def test_confirmed_faces_become_labelled_photos_with_their_provenance(world):
    photo, box = world.photo(1), (60.0, 46.0, 40.0, 40.0)  # it overlaps the face by .43
    entry = world.decide(Action.CONFIRM, photo, "Ada King", box=box)
    done = world.bring()
    assert (done.people, done.photos, done.strangers, done.written) == (1, 1, 0, 1)
    (face,) = read_reviewed(world.data / "imported/reviewed.csv")
    assert (face.person, face.photo_id, face.box, face.decision) == (
        *("Ada_King", photo, box, entry.id),
    )
    assert read_imported(world.data) == {face.path: "reviewed"}
    rows = validate_photos(world.data, PhotoLimits(), ["JPEG"], 0, 1)
    assert [(row["person"], row["source"], row["status"]) for row in rows] == [
        ("Ada_King", "reviewed", ACCEPTED)
    ]


def test_a_second_import_writes_nothing_and_changes_no_byte(world):
    for name in ("Ada", "Ada", "Bo"):
        world.decide(Action.CONFIRM, world.photo(1), name)
    world.bring()

    def content() -> dict[Path, tuple[bytes, int]]:
        files = [path for path in world.data.rglob("*") if path.is_file()]
        photos = [path for path in files if path.suffix == ".jpg"]
        return {p: (p.read_bytes(), p.stat().st_mtime_ns if p in photos else 0) for p in files}

    before = content()
    assert world.bring().written == 0
    assert content() == before
    world.decide(Action.CONFIRM, world.photo(1), "Ada")
    assert (world.bring().written, world.files()) == (1, {"Ada": 3, "Bo": 1})


def test_what_is_undone_or_forgotten_leaves(world):
    entry = world.decide(Action.CONFIRM, world.photo(1), "Ada")
    stays = world.decide(Action.CONFIRM, world.photo(2), "Bo")
    world.bring()
    world.undo(entry)
    assert world.bring().removed == 1
    assert world.files() == {"Bo": 1}
    world.journal.remove([one.id for one in world.journal.entries()])
    assert world.bring().removed == 1
    assert not list(world.data.glob("photos/*"))
    assert stays.id not in (world.data / "imported/reviewed.csv").read_text()


def test_a_missing_photo_is_told_and_comes_with_a_later_import_and_a_name_needs_no_photo(world):
    world.decide(Action.CONFIRM, world.photo(1), "Ada")
    world.decide(Action.CONFIRM, world.photo(2), "Ada")
    (world.root / "photos/0.png").rename(world.root / "0.png")
    done = world.bring()
    assert (done.photos, done.left_out[NO_PHOTO]) == (1, 1)
    (world.root / "0.png").rename(world.root / "photos/0.png")
    assert world.bring().photos == 2
    (world.root / "photos").rename(world.root / "away")
    name = Entry(Action.NAME, person=world.decisions.person_id("Ada"), detail="Ada King")
    world.journal.append([name])
    assert world.bring().left_out[NO_PHOTO] == 0
    assert world.files() == {"Ada_King": 2}


def test_a_photo_whose_file_was_written_anew_is_one_photo(world):
    old = world.photo(1)
    world.decide(Action.CONFIRM, old, "Ada")
    new = world.photo(1)
    world.journal.append([Entry(Action.SAME, new, size=(160, 120), detail=old)])
    (world.root / "photos/0.png").unlink()
    world.change_state("UPDATE files SET gone_since=1 WHERE photo_id=?", old)
    assert (world.bring().photos, world.bring().photos) == (1, 1)
    (face,) = read_reviewed(world.data / "imported/reviewed.csv")
    assert face.photo_id == new


def test_an_interrupted_import_leaves_no_crop_that_a_later_one_does_not_know(world, monkeypatch):
    entries = [world.decide(Action.CONFIRM, world.photo(n), "Ada") for n in range(3)]
    cut, calls = training_data.cut_face, iter((True, True, False))

    def cut_two(*given: Any) -> bytes:
        if not next(calls):
            raise FaceOpsError("the machine stops")
        return cut(*given)

    with monkeypatch.context() as patch:
        patch.setattr(training_data, "cut_face", cut_two)
        with pytest.raises(FaceOpsError, match="the machine stops"):
            world.bring()
    assert world.files() == {"Ada": 2}
    for entry in entries:
        world.undo(entry)
    world.bring()
    assert world.files() == {}


def test_one_photo_of_each_ignored_stranger_calibrates(world):
    for person in (1, 1, 2, 3, 1):
        world.decide(Action.IGNORE, world.photo(person), detail=Ignored.STRANGER)
    done = world.bring()
    assert (done.people, done.strangers, done.left_out[SAME_STRANGER]) == (0, 3, 2)
    before = world.files()
    assert set(before.values()) == {1}
    assert all(name.startswith("stranger-") for name in before)
    world.decide(Action.IGNORE, world.photo(2), detail=Ignored.STRANGER)
    world.bring()
    assert world.files() == before


def test_people_who_were_taken_for_each_other_are_listed_as_hard_negatives(world):
    for name, other in (("Bo", "Ada"), ("Ada", "Bo"), ("Ada", "Nobody"), ("Cy", "")):
        photo = world.photo(1)
        if other:
            world.decide(Action.REFUSE, photo, other)
        world.decide(Action.CONFIRM, photo, name)
    assert world.bring().hard_negatives == 1
    assert read_hard_negatives(world.data / "hard_negatives.csv") == [("Ada", "Bo")]
    assert (world.data / "hard_negatives.csv").read_text() == "person,other,faces\nAda,Bo,2\n"


def test_faces_that_teach_nothing_are_left_out_and_counted(world):
    world.decide(Action.REFUSE, world.photo(1), "Ada")
    world.decide(Action.IGNORE, world.photo(1), detail=Ignored.NOT_A_FACE)
    world.decide(Action.DRAW, world.photo(1), "Ada", BESIDE)
    group = Entry(Action.CONFIRM, world.photo(1), BOX, (160, 120), "0" * 16)
    world.journal.append([group])
    world.decide(Action.IGNORE, world.photo(3), detail=Ignored.STRANGER)
    world.change_state("UPDATE embeddings SET contract='another'")
    forgotten = world.photo(1)
    world.decide(Action.CONFIRM, forgotten, "Ada")
    face = np.array([(BOX, 0.9, 0.8, True)], FACE).tobytes()
    world.change_state("UPDATE photos SET faces=? WHERE photo_id=?", face, forgotten)
    done = world.bring()
    assert (done.photos, done.strangers, world.files()) == (0, 0, {})
    expected = {UNDECIDED: 1, NO_FACE: 2, UNNAMED: 1, NOT_EMBEDDED: 1}
    assert expected.items() <= done.left_out.items()


def test_decisions_about_faces_that_hold_teach(world):
    undone, confirming = (world.decide(Action.CONFIRM, world.photo(1), "Ada") for _ in range(2))
    ignoring = world.decide(Action.IGNORE, world.photo(2), detail=Ignored.STRANGER)
    world.undo(undone)
    assert teaching_decisions(world.gallery) == {confirming.id, ignoring.id}


def test_a_second_gallery_does_not_replace_the_faces_of_the_first(world, tmp_path):
    world.decide(Action.CONFIRM, world.photo(1), "Ada")
    world.bring()
    second = World(tmp_path / "second", world.bundle)
    second.gallery.mkdir(parents=True)
    second.decide(Action.CONFIRM, "2" * 64, "Bo")
    with pytest.raises(FaceOpsError, match=r"gallery .*, which those of .*second/gallery would"):
        import_reviewed(second.gallery, world.data, world.bundle)
    assert world.files() == {"Ada": 1}
    world.gallery.rename(tmp_path / "moved")
    assert import_reviewed(tmp_path / "moved", world.data, world.bundle).photos == 1


def test_the_synthetic_set_a_state_of_another_version_and_no_decisions_are_refused(world):
    with pytest.raises(FaceOpsError, match="holds no decisions about faces; review"):
        world.bring()
    world.decide(Action.CONFIRM, world.photo(1), "Ada")
    world.change_state("PRAGMA user_version=5")
    with pytest.raises(FaceOpsError, match="another version of faceops; run faceops identify"):
        world.bring()
    write_sources(world.data, {SYNTHETIC: {}})
    with pytest.raises(FaceOpsError, match="holds the synthetic people"):
        world.bring()


@pytest.mark.parametrize(
    ("box", "side", "red"),
    [
        ((60.0, 30.0, 40.0, 40.0), 100, (30, 70)),
        ((60.0, -10.0, 40.0, 40.0), 100, (30, 70)),  # over the edge: black is added
        ((0.0, 0.0, 400.0, 300.0), MAX_SIDE, None),
    ],
)
def test_the_face_is_in_the_middle_of_its_crop(box, side, red, tmp_path):
    pixels = np.full((300, 400, 3), 90, np.uint8)
    x, y, width, height = (int(value) for value in box)
    pixels[max(y, 0) : y + height, x : x + width] = (250, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    crop = np.asarray(Image.open(io.BytesIO(cut_face(open_photo(tmp_path / "a.png"), box))))
    assert crop.shape == (side, side, 3)
    if red:
        found = np.flatnonzero((crop[:, side // 2, 0] > 180) & (crop[:, side // 2, 1] < 60))
        assert abs(found.max() + 1 - red[1]) <= 2
        columns = np.flatnonzero(crop[side // 2 + 5, :, 0] > 180)
        assert (columns.min(), columns.max() + 1) == pytest.approx(red, abs=2)


def test_the_command_prints_what_it_did(world, capsys):
    Gallery(world.gallery, world.bundle.release.contract_id, SIZE).save()
    world.decide(Action.CONFIRM, world.photo(1), "Ada")
    where = ["--gallery", str(world.gallery), "--out", str(world.data)]
    command = ["data", "import", "reviewed", *where, "--bundle", str(world.bundle.folder)]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == 1
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "1 confirmed faces of 1 people and 0 ignored strangers; 0 crops written" in out
    assert main(["data", "import", "reviewed", "somewhere", *where]) == 2
    assert main(["data", "import", "tree"]) == 2
    assert "needs PATH_OR_URL" in capsys.readouterr().err


def test_a_real_face_is_found_again_in_its_crop_with_the_same_embedding(
    album, bundle, tmp_path, monkeypatch
):
    gallery, out = tmp_path / "gallery", tmp_path / "out"
    Gallery(gallery, bundle.release.contract_id, bundle.release.embedding_size).save()
    monkeypatch.chdir(tmp_path)
    identify(Path(album.name), Gallery.open(gallery), bundle, out, IdentifySettings())
    with (out / "faces.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["face_index"]]
    decisions, entries = Decisions(), []
    for number, row in enumerate(rows):
        box = tuple(float(row[name]) for name in ("x", "y", "width", "height"))
        person, naming = decisions.naming(f"P{number}")
        decisions.add(naming)
        entries += [*naming, Entry(Action.CONFIRM, row["photo_id"], box, (9, 9), person)]
    storage_of(gallery).journal().append(entries)
    done = import_reviewed(gallery, tmp_path / "data", bundle)
    assert (done.photos, done.left_out[NO_PHOTO]) == (len(rows), 0)
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db:
        stored = dict(
            db.execute("SELECT photo_id, embeddings FROM photos JOIN embeddings ON photo=id")
        )
    finder, similar = bundle.finder_of_any_mode(threads=1), []
    for face in read_reviewed(tmp_path / "data/imported/reviewed.csv"):
        row = rows[int(face.person[1:])]
        original = np.frombuffer(stored[row["photo_id"]], "<f4").reshape(-1, 128)
        crop = crop_photo(tmp_path / "data" / face.path, finder, CropSettings(min_face=16)).crop
        embedding = np.zeros(128) if crop is None else bundle.embed(crop[None]).embeddings[0]
        similar.append(float(embedding @ original[int(row["face_index"])]))
    assert len(similar) >= 20 and np.median(similar) > 0.98
    assert np.mean(np.array(similar) > 0.9) >= 0.95
