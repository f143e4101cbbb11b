"""A forgotten person is gone from every store and result, and a search proves it."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.cli import main
from faceops.gallery.crops import crop_path
from faceops.gallery.people import merge, rename
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import forget_person
from faceops.identification.forget.traces import search_traces
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.release.bundle import Bundle


@pytest.fixture
def named(
    album: Path, synthetic_set: Path, gallery_dir: Path, bundle: Bundle, tmp_path: Path
) -> Iterator[tuple[Path, Path, str]]:
    """A gallery of its own, an output of three runs named from it, and who is named most."""
    own, out = tmp_path / "gallery", tmp_path / "out"
    # Outputs of other tests are not this gallery's.
    shutil.copytree(gallery_dir, own, ignore=shutil.ignore_patterns("outputs.jsonl"))
    enrolled = sorted((synthetic_set / "enrol").glob("*/*"))[0]
    os.link(enrolled, album / "enrolled.jpg")  # a photo that the gallery has too
    gallery = Gallery.open(own)
    nobody = gallery.without(lambda face: True)
    identify(album, nobody, bundle, out)  # everybody is a stranger
    identify(album, gallery, bundle, out, IdentifySettings(annotate=True, xmp=True))
    summary = identify(album, gallery, bundle, out, IdentifySettings(budget=0.3))
    yield own, out, summary.people.most_common(1)[0][0]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "faces.parquet").to_pylist()
    return rows


def texts_of(folder: Path) -> list[list[str]]:
    """The rows of a run's CSV, JSON lines and Parquet as they would stand in a CSV."""
    with (folder / "faces.csv").open(encoding="utf-8", newline="") as file:
        by_csv = [list(row.values()) for row in csv.DictReader(file)]
    lines = (folder / "faces.jsonl").read_text("utf-8").splitlines()
    for rows in ([json.loads(line) for line in lines], rows_of(folder)):
        assert [[row["decision"], row["person"] or "", row["reason"] or ""] for row in rows] == [
            [row[10], row[11], row[16]] for row in by_csv
        ]
    return by_csv


def test_nothing_of_the_person_is_left_anywhere(
    named: tuple[Path, Path, str], album: Path, bundle: Bundle
) -> None:
    own, out, person = named
    before = {folder: rows_of(folder) for folder in [out, *(out / "runs").iterdir()]}
    others = {row["person"] for row in before[out]} - {person, None}
    done = forget_person(own, person.upper())
    assert done.person == person and done.gallery_faces == 2
    assert done.proof.found == [] and done.complete
    assert done.proof.secrets >= 6 and done.proof.files > 10
    (output,) = done.outputs
    assert output.cached_faces > 0 and output.rows > 0 and done.sidecars.entries > 0
    assert output.pictures > 0 and output.reports > 0
    for path in [*own.rglob("*"), *out.rglob("*"), *album.rglob("*.xmp")]:
        if path.is_file() and path.suffix in {".csv", ".jsonl", ".json", ".html", ".xmp"}:
            assert person not in path.read_text("utf-8"), path
    for folder, rows in before.items():
        after = rows_of(folder)
        assert len(after) == len(rows)
        for old, new in zip(rows, after, strict=True):
            if old["person"] == person:
                assert (new["decision"], new["reason"]) == ("rejected", "forgotten")
                assert new["probability"] is None and new["x"] == old["x"]
            else:
                kept = {k: v for k, v in old.items() if not k.startswith("runner_up")}
                assert {k: new[k] for k in kept} == kept
        texts_of(folder)
    assert others <= {row["person"] for row in rows_of(out)}


def test_the_next_run_does_not_embed_the_face_again(
    named: tuple[Path, Path, str], album: Path, bundle: Bundle
) -> None:
    own, out, person = named
    forget_person(own, person)
    summary = identify(album, Gallery.open(own), bundle, out)
    assert summary.photos_opened == 0 and not summary.unchanged
    assert summary.reasons["forgotten"] > 0 and person not in summary.people
    with sqlite3.connect(out / "state.sqlite") as db:
        blank = db.execute("SELECT count(*) FROM faces WHERE length(thumbnail)=0").fetchone()[0]
        marked = db.execute("SELECT count(*) FROM faces WHERE forgotten").fetchone()[0]
    assert blank == marked == summary.reasons["forgotten"]
    assert (out / "report.html").is_file()


def test_an_interrupted_forgetting_can_be_done_again(named: tuple[Path, Path, str]) -> None:
    own, out, person = named
    stray = out / "faces.jsonl"
    content = stray.read_text("utf-8")
    stray.write_text("{broken", "utf-8")
    with pytest.raises(FaceOpsError, match="forget the person again"):
        forget_person(own, person)
    assert person in Gallery.open(own).people
    stray.write_text(content, "utf-8")
    assert forget_person(own, person).complete
    with pytest.raises(FaceOpsError, match="is not in the gallery"):
        forget_person(own, person)


def test_a_damaged_output_does_not_keep_the_others_from_being_cleaned(
    named: tuple[Path, Path, str], tmp_path: Path
) -> None:
    own, out, person = named
    broken = tmp_path / "a_broken_one"
    shutil.copytree(out, broken)
    (broken / "state.sqlite").write_text("not a database", "utf-8")
    with pytest.raises(FaceOpsError, match=r"a_broken_one(?s:.*)keeps the person"):
        forget_person(own, person, (broken,))
    assert person not in {row["person"] for row in rows_of(out)}
    (broken / "state.sqlite").unlink()
    assert forget_person(own, person, (broken,)).complete


def test_an_output_that_is_not_there_is_told_and_fails(
    named: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, out, person = named
    out.rename(tmp_path / "away")
    assert main(["people", "forget", person, "--gallery", str(own)]) == 1
    assert f"not there now: {out}" in capsys.readouterr().out
    (tmp_path / "away").rename(out)
    assert main(["people", "forget", person, "--gallery", str(own), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["searched"]["found"] == [] and told["outputs"][0]["cached_faces"] > 0


def test_the_search_finds_what_was_not_removed(
    named: tuple[Path, Path, str], tmp_path: Path
) -> None:
    own, out, person = named
    faces = [face for face in Gallery.open(own).faces if face.person == person]
    crops = [crop_path(own, face.crop_id) for face in faces]
    secrets = [
        *(face.embedding.tobytes() for face in faces),
        *(path.read_bytes() for path in crops),
    ]
    with sqlite3.connect(out / "state.sqlite") as db:
        secrets += [row[0] for row in db.execute("SELECT thumbnail FROM faces")]
    found = search_traces([own, out], lambda name: name == person, secrets).found
    for place, what in (
        (own / "faces.parquet", "the name, in person"),
        (own / "faces.parquet", "an embedding or picture, in embedding"),
        (crops[0], "an embedding or picture"),
        (out / "faces.csv", "the name"),
        (out / "faces.jsonl", "the name"),
        (out / "summary.json", "the name"),
        (out / "state.sqlite", "an embedding or picture"),
        (out / "report.html", "an embedding or picture"),
    ):
        assert any(line.startswith(f"{place}: {what}") for line in found), (place, what)
    assert search_traces([own, out], lambda name: name == "Nobody", [b"x" * 99]).found == []


def test_a_stranger_cannot_be_forgotten(named: tuple[Path, Path, str]) -> None:
    with pytest.raises(FaceOpsError, match="Nobody is not in the gallery"):
        forget_person(named[0], "Nobody")


@pytest.mark.parametrize("by", ["the old name", "the new name"])
def test_all_names_that_a_person_has_had_are_forgotten(
    named: tuple[Path, Path, str], album: Path, bundle: Bundle, by: str
) -> None:
    own, out, person = named
    rename(own, person, "In Between")
    rename(own, "In Between", "A Rod")
    identify(album, Gallery.open(own), bundle, out, IdentifySettings(budget=0.3, xmp=True))
    done = forget_person(own, person if by == "the old name" else "A Rod")
    assert done.person == "A Rod" and done.gallery_faces == 2 and done.complete
    for path in [*own.rglob("*"), *out.rglob("*"), *album.rglob("*.xmp")]:
        if path.is_file() and path.suffix in {".csv", ".jsonl", ".json", ".html", ".xmp"}:
            assert person not in path.read_text("utf-8"), path
            assert "A Rod" not in path.read_text("utf-8"), path
    for folder in [out, *(out / "runs").iterdir()]:
        assert not {person, "A Rod"} & {row["person"] for row in rows_of(folder)}
    assert not {person, "A Rod"} & {*Gallery.open(own).people}
    assert Gallery.open(own).aliases == {}


def test_what_was_named_before_two_people_were_joined_goes_too(
    named: tuple[Path, Path, str],
) -> None:
    own, out, person = named
    other = next(name for name in Gallery.open(own).people if name != person)
    merge(own, person, other)
    done = forget_person(own, other)
    assert done.complete and done.gallery_faces == 5
    for folder in [out, *(out / "runs").iterdir()]:
        assert not {person, other} & {row["person"] for row in rows_of(folder)}


KILLED = """
import sys, time
from pathlib import Path
from faceops.gallery.store import Gallery
from faceops.identification import run
from faceops.release.bundle import Bundle
def stuck(*_):
    print("written", flush=True)
    time.sleep(600)
run.find_unknown_people = stuck  # the rows are written then, the run is not
photos, gallery, bundle, out = map(Path, sys.argv[1:])
run.identify(photos, Gallery.open(gallery), Bundle.load(bundle), out,
             run.IdentifySettings(budget=0.31, annotate=True))
"""


def test_forgetting_after_a_run_was_killed(
    named: tuple[Path, Path, str], album: Path, sface_bundle: Path
) -> None:
    own, out, person = named
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *map(str, (album, own, sface_bundle, out))],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    (unfinished,) = (out / "runs").glob(".unfinished-*")
    shutil.copyfile(out / "faces.csv", out / ".faces.csv.tmp")  # killed while publishing
    shutil.copyfile(out / "faces.csv", next((out / "runs").glob("2*")) / ".faces.csv.tmp")
    assert forget_person(own, person).complete
    assert not unfinished.exists() and not list(out.rglob(".*.tmp"))
