"""A damaged state keeps the forgotten places and the numbers, or says what is lost."""

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.reasons import CODES, Reason
from faceops.cli import main
from faceops.identification import repair
from faceops.identification.engine.decide import FaceDecisions, NamedBlock
from faceops.identification.inputs import source_file
from faceops.identification.records.records import RunOrigin, record_files
from faceops.identification.repair import check_output, repair_output
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import Extraction
from faceops.identification.state.schema import Method, add_place, connect, open_state
from tests.identification.columns import block, number_groups
from tests.identification.columns import photo as one_face

METHOD = Method("finder", "contract")
PAGE = 4096
PHOTOS = 40
FORGOTTEN = [(f"{number:064x}", (1.0, 2.0, 30.0, 40.0)) for number in range(PHOTOS, PHOTOS + 3)]


def photo(number: int, folder: Path) -> Extraction:
    path = folder / f"{number}.jpg"
    path.touch()
    crop = np.random.default_rng(number).integers(0, 256, (112, 112, 3), np.uint8)
    found = one_face(f"{number:064x}", [0.9], np.ones((1, 128), np.float32))
    return Extraction(str(path), source_file(str(path)), found, opened=True, crops={0: crop})


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a state of 40 photos, three forgotten places and a run's records."""
    out = tmp_path_factory.mktemp("sound") / "out"
    run = out / "runs" / "20260101T000000Z-abcdef"
    run.mkdir(parents=True)
    photos = [photo(number, out.parent) for number in range(PHOTOS)]
    with contextlib.closing(FaceStore(out / "state.sqlite", METHOD)) as store:
        store.save(photos)
    with open_state(out / "state.sqlite") as db:
        for photo_id, box in FORGOTTEN:
            add_place(db, photo_id, box, "mark")
    number_groups(out / "state.sqlite", [[(f"{n:064x}", 0)] for n in range(PHOTOS)])
    forgotten = block(*(one_face(photo_id, [0.9]) for photo_id, _ in FORGOTTEN))
    assert tuple(forgotten.faces["box"][0]) == FORGOTTEN[0][1]
    decisions = replace(
        FaceDecisions.without_names(3), reason=np.full(3, CODES[Reason.FORGOTTEN], np.int8)
    )
    with record_files(run) as write_rows:
        named = NamedBlock(forgotten, ["a", "b", "c"], decisions, [])
        write_rows(RunOrigin("run", "release", "contract"), named)
    for path in run.iterdir():
        shutil.copy(path, out)
    return out


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "out"))


def places(out: Path) -> dict[str, list[tuple[float, ...]]]:
    with contextlib.closing(FaceStore(out / "state.sqlite", METHOD)) as store:
        return dict(store.forgotten_places([photo_id for photo_id, _ in FORGOTTEN]))


def overwrite(out: Path, start: int, content: bytes) -> None:
    with (out / "state.sqlite").open("r+b") as file:
        file.seek(start)
        file.write(content)


def zero_root(name: str) -> Callable[[Path], None]:
    def damage(out: Path) -> None:
        with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db:
            query = "SELECT rootpage FROM sqlite_master WHERE name=?"
            (page,) = db.execute(query, (name,)).fetchone()
        overwrite(out, (page - 1) * PAGE, bytes(PAGE))

    return damage


def cut(share: float) -> Callable[[Path], None]:
    return lambda out: os.truncate(
        out / "state.sqlite", int((out / "state.sqlite").stat().st_size * share)
    )


DAMAGES: dict[str, Callable[[Path], None]] = {
    "photos": zero_root("photos"),
    "index of files": zero_root("sqlite_autoindex_files_1"),
    "places": zero_root("forgotten_places"),
    "index of places": zero_root("forgotten_photos"),
    "numbers": zero_root("unknown_faces"),
    "header": lambda out: overwrite(out, 0, b"x" * 100),
    "cut in half": cut(0.5),
    "cut by a tenth": cut(0.9),
    "empty": cut(0),
}


def test_a_sound_output_has_no_findings(out, capsys):
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["gallery", "check", "--out", str(out)]) == 0
    assert main(["gallery", "repair", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: sound\n{out}: nothing to repair\n"
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kind", DAMAGES)
def test_forgotten_places_survive_any_damage_of_the_state(kind, out, capsys):
    DAMAGES[kind](out)
    assert main(["gallery", "check", "--out", str(out)]) == 1
    assert "Lost: time: the photos are opened again" in capsys.readouterr().out
    code = main(["gallery", "repair", "--out", str(out), "--json"])
    (report,) = json.loads(capsys.readouterr().out).values()
    assert places(out) == {photo_id: [box] for photo_id, box in FORGOTTEN}
    assert check_output(out) == []
    lost = " ".join(finding["lost"] for finding in report["after"])
    with open_state(out / "state.sqlite") as db:
        marks = {mark for (mark,) in db.execute("SELECT mark FROM forgotten_places")}
        (numbers,) = db.execute("SELECT count(*) FROM unknown_faces").fetchone()
        (given,) = db.execute("SELECT max(number) FROM unknown_given").fetchone()
        assert db.execute("SELECT count(*) FROM photos").fetchone() == (0,)
    assert code == (1 if report["after"] else 0)
    assert marks == {"mark"} or "people readmit" in lost
    assert "some numbers" in lost or numbers == PHOTOS
    if kind == "numbers":
        assert given == PHOTOS  # no number is given to somebody else
    if kind in ("photos", "index of files"):
        assert marks == {"mark"} and not lost
    assert (Path(report["backup"]) / "state.sqlite").is_file()


def test_numbers_of_an_earlier_version_are_kept(out):
    with open_state(out / "state.sqlite") as db:
        for column in ("grouped", "embedding"):
            db.execute(f"ALTER TABLE unknown_faces DROP COLUMN {column}")
    DAMAGES["index of files"](out)
    repair_output(out)
    with open_state(out / "state.sqlite") as db:
        (numbers,) = db.execute("SELECT count(number) FROM unknown_faces").fetchone()
    assert numbers == PHOTOS


def test_records_are_restored_from_json_lines_before_places_are_read_from_them(out):
    DAMAGES["empty"](out)
    for records in out.rglob("faces.parquet"):
        records.write_bytes(records.read_bytes()[:900])
    assert [finding.lost[:7] for finding in check_output(out)] == ["time: t", "nothing", "nothing"]
    repair_output(out)
    assert check_output(out) == []
    assert places(out) == {photo_id: [box] for photo_id, box in FORGOTTEN}


def test_a_full_disk_leaves_the_damaged_state(out, monkeypatch):
    DAMAGES["photos"](out)
    before = (out / "state.sqlite").read_bytes()

    def small(path: Path) -> sqlite3.Connection:
        db = connect(path)
        db.execute("PRAGMA max_page_count=4")
        return db

    monkeypatch.setattr(repair.schema, "connect", small)
    with pytest.raises(FaceOpsError, match=r"state\.sqlite cannot be used .*is full.*free some"):
        repair_output(out)
    assert (out / "state.sqlite").read_bytes() == before


def test_identify_names_the_repair_and_a_later_version_is_left_alone(out):
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(FaceOpsError, match="of a later version"):
        check_output(out)
    DAMAGES["header"](out)
    with pytest.raises(FaceOpsError, match=f"run `faceops gallery repair --out {out}`"):
        FaceStore(out / "state.sqlite", METHOD)
