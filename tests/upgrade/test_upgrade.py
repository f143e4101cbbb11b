"""What earlier versions wrote opens: names stay, and who was forgotten stays forgotten."""

import contextlib
import json
import re
import sqlite3
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from faceops.base.errors import FaceOpsError, UsageError
from faceops.cli import main
from faceops.config.params_file import read_params
from faceops.gallery.archive import export_gallery, import_gallery
from faceops.gallery.check import check_gallery
from faceops.gallery.store import Gallery, locked_gallery
from faceops.identification.forget.forget import forget_person
from faceops.identification.repair import check_output
from faceops.identification.state import schema
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import FACE
from faceops.identification.state.schema import Method
from faceops.release.contract import read_release

HERE = Path(__file__).parent


class Expected(NamedTuple):
    """What a fixture holds: versions, the one person, and the faces of the forgotten other one."""

    gallery: int
    state: int
    release: int
    person: str = "Renamed Person"
    forgotten: int = 2


EXPECTED = {
    "8ef8eda": Expected(1, 1, 1, person="Ava Norukova", forgotten=0),
    "3dd0cd9": Expected(1, 2, 2),
    "4fe9195": Expected(1, 3, 2),
    "cc99810": Expected(1, 3, 2),
    "c4a0e79": Expected(2, 4, 3),
    "b823d38": Expected(2, 5, 5),
}
COMMITS = pytest.mark.parametrize("commit", EXPECTED)
PARAMS = sorted((HERE / "params").glob("*.yaml"))


def unpacked(commit: str, folder: Path) -> Path:
    with tarfile.open(HERE / "fixtures" / f"{commit}.tar.xz") as tar:
        tar.extractall(folder)  # our own fixture
    outputs = folder / "gallery" / "outputs.jsonl"
    if outputs.exists():
        outputs.write_text(outputs.read_text().replace("/tmp/upgrade", str(folder)))
    return folder


def test_each_fixture_is_expected():
    stored = {path.name.split(".")[0] for path in (HERE / "fixtures").iterdir()}
    assert stored == EXPECTED.keys()
    assert max(one.state for one in EXPECTED.values()) >= schema.SCHEMA_VERSION - 1


@COMMITS
def test_a_gallery_keeps_names_and_faces_and_its_release_is_read(commit, tmp_path, capsys):
    folder, expected = unpacked(commit, tmp_path) / "gallery", EXPECTED[commit]
    read = Gallery.open(folder)
    assert (read.format_version, read.people) == (expected.gallery, [expected.person])
    assert [finding for finding in check_gallery(folder) if finding.is_damage] == []
    export_gallery(folder, tmp_path / "a.tar")
    with locked_gallery(folder) as opened:
        pass
    migrations = capsys.readouterr().err.count("migrated to gallery format 3")
    assert migrations == (expected.gallery < 3)
    for gallery in (opened, import_gallery(tmp_path / "a.tar", tmp_path / "imported")):
        assert gallery.people == [expected.person]
        assert gallery.statement() == read.statement() | {"schema_version": 3}
        for before, after in zip(read.faces, gallery.faces, strict=True):
            assert (before.embedding == after.embedding).all() and before.box == after.box
        assert check_gallery(gallery.place) == []
    if expected.release == 1:  # its thresholds promise something else
        with pytest.raises(FaceOpsError, match="schema version 1, this faceops reads"):
            read_release(tmp_path / "bundle")
    else:
        assert read_release(tmp_path / "bundle").contract_id == read.contract_id


@COMMITS
def test_a_state_keeps_forgotten_faces_and_numbers_of_unknown_people(commit, tmp_path, capsys):
    out, expected = unpacked(commit, tmp_path) / "out", EXPECTED[commit]
    state = out / "state.sqlite"
    recorded = pq.read_table(out / "faces.parquet").to_pylist()
    forgotten = [row["photo_id"] for row in recorded if row["reason"] == "forgotten"]
    assert len(forgotten) == expected.forgotten
    with contextlib.closing(sqlite3.connect(state)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (expected.state,)
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        counts = {
            name: db.execute(f"SELECT count(*) FROM {name}").fetchone()
            for name in tables & {"unknown_faces", "unknown_given", "faces"}
        }
    with contextlib.closing(FaceStore(state, Method("finder", "contract"))) as store:
        places = store.forgotten_places([row["photo_id"] for row in recorded])
    assert {place: len(boxes) for place, boxes in places.items()} == dict.fromkeys(forgotten, 1)
    keeps_faces = expected.state >= 4  # else the photos are opened again, as it says
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and ("its faces are kept" in printed) == keeps_faces
    with contextlib.closing(sqlite3.connect(state)) as db:
        for name in counts.keys() - {"faces"}:
            assert db.execute(f"SELECT count(*) FROM {name}").fetchone() == counts[name]
        arrays = [np.frombuffer(faces, FACE) for (faces,) in db.execute("SELECT faces FROM photos")]
    if keeps_faces:
        assert sum(map(len, arrays)) == counts["faces"][0]
        assert sum(faces["forgotten"].sum() for faces in arrays) == expected.forgotten
    assert check_output(out) == []


@COMMITS
def test_a_person_of_earlier_results_can_be_forgotten(commit, tmp_path):
    folder, expected = unpacked(commit, tmp_path), EXPECTED[commit]
    done = forget_person(folder / "gallery", "Ava Norukova", (folder / "out",))
    assert done.person == expected.person and done.gallery_faces == 1
    assert done.proof.found == [] and done.unreachable == []


def test_an_earlier_registry_is_listed(tmp_path, monkeypatch, capsys):
    folder = unpacked("3dd0cd9", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert main(["release", "list", "--json"]) == 0
    (version,) = json.loads(capsys.readouterr().out)
    stated = json.loads((folder / "bundle" / "release.json").read_text("utf-8"))
    assert version["contract_id"] == stated["contract_id"]
    assert (version["aliases"], version["summary"]) == (["champion"], "The first release.")
    assert main(["release", "show", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["params"] == {"train.miner": "semi_hard"}


@pytest.mark.parametrize("earlier", PARAMS, ids=lambda path: path.stem)
def test_earlier_params_are_read_once_the_error_is_followed(earlier, tmp_path):
    content = yaml.safe_load(earlier.read_text("utf-8"))
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError) as caught:
        read_params(path)
    advice = re.findall(
        r"(\w+)\.(\w+)(?: = \S+)? is now (\w+)\.(\w+)(?: = ([^,;]+))?", str(caught.value)
    )
    assert advice
    for section, key, new_section, new_key, choice in advice:
        value = content[section].pop(key)
        content[new_section][new_key] = yaml.safe_load(choice) if choice else value
    path.write_text(yaml.safe_dump(content))
    assert read_params(path)
