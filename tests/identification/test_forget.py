"""A forgotten person is gone from every store and result, and a search proves it."""

import csv
import json
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.files import folder_lock
from faceops.cli import main
from faceops.dataset.names import person_key
from faceops.gallery.decisions import Decisions
from faceops.gallery.enrol import enrol
from faceops.gallery.journal import Action, Entry
from faceops.gallery.outputs import remember_output
from faceops.gallery.people import merge, rename
from faceops.gallery.storage import crop_path, storage_of
from faceops.gallery.store import Gallery
from faceops.identification.engine.extract import extract_shard
from faceops.identification.forget.forget import ForgetResult, forget_person
from faceops.identification.forget.traces import mentions, search_traces
from faceops.identification.inputs import IdentifySettings, PhotoList, list_photos
from faceops.identification.run import identify
from faceops.identification.summary import Summary
from faceops.release.bundle import Bundle, Embedded
from tests.gallery.gallery_files import decide, segment_of
from tests.identification.conftest import count, rows_of, stored_faces

LENIENT = IdentifySettings(budget=0.3)
OTHER = IdentifySettings(budget=0.31)  # decides all faces again


class Named(NamedTuple):
    """An album, a gallery, an output of three runs named from it, and who is named most."""

    album: Path
    gallery: Path
    out: Path
    person: str
    second: str

    bundle: Bundle

    def open(self) -> Gallery:
        return Gallery.open(self.gallery)

    def run(self, *settings: IdentifySettings) -> Summary:
        return identify(self.album, self.open(), self.bundle, self.out, *settings)

    def names(self) -> set[str | None]:
        return names_in(self.out)

    def forget(self, *more: Path) -> ForgetResult:
        done = forget_person(self.gallery, self.person, more)
        assert done.complete, (done.proof.found, done.unreachable)
        return done


@pytest.fixture(scope="module")
def template(
    synthetic_set: Path, gallery_dir: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Named]:
    """A copy of the folder of `named`, which tests restore."""
    folder = tmp_path_factory.mktemp("forget") / "named"
    album, own, out = folder / "album", folder / "gallery", folder / "out"
    (album / "scenes").mkdir(parents=True)
    for path in sorted((synthetic_set / "album").glob("scene_*.jpg"))[:8]:
        shutil.copy2(path, album / "scenes")
    enrolled = sorted((synthetic_set / "enrol").glob("*/*"))[0]
    shutil.copy2(enrolled, album / "enrolled.jpg")  # a photo that the gallery has too
    # Outputs of other tests are not this gallery's.
    shutil.copytree(gallery_dir, own, ignore=shutil.ignore_patterns("outputs.jsonl"))
    gallery = Gallery.open(own)
    nobody = gallery.without(np.ones(len(gallery.faces), bool))
    identify(album, nobody, bundle, out)
    identify(album, gallery, bundle, out, IdentifySettings(annotate=True, xmp=True))
    summary = identify(album, gallery, bundle, out, LENIENT)
    (person, _), (second, _) = summary.people.most_common(2)
    shutil.copytree(folder, folder.with_name("template"), symlinks=True)
    return folder.with_name("template"), Named(album, own, out, person, second, bundle)


@pytest.fixture
def named(template: tuple[Path, Named]) -> Named:
    """Restored at the same path for each test, since results state absolute paths."""
    saved, named = template
    shutil.rmtree(named.out.parent, ignore_errors=True)
    shutil.copytree(saved, named.out.parent, symlinks=True)
    return named


def names_in(out: Path) -> set[str | None]:
    return {row["person"] for path in out.rglob("faces.parquet") for row in rows_of(path.parent)}


def assert_same_rows(folder: Path) -> None:
    """The run's CSV, JSON lines and Parquet agree about people."""
    with (folder / "faces.csv").open(encoding="utf-8", newline="") as file:
        by_csv = [(row["decision"], row["person"], row["reason"]) for row in csv.DictReader(file)]
    lines = (folder / "faces.jsonl").read_text("utf-8").splitlines()
    for rows in ([json.loads(line) for line in lines], rows_of(folder)):
        assert [(row["decision"], row["person"] or "", row["reason"] or "") for row in rows] == (
            by_csv
        )


def assert_no_text(named: Named, *people: str) -> None:
    texts = {".csv", ".jsonl", ".json", ".html", ".xmp"}
    for folder in (named.gallery, named.out, named.album):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix in texts:
                assert not any(person in path.read_text("utf-8") for person in people), path


def test_nothing_of_the_person_is_left_anywhere(named):
    person = named.person
    before = {folder: rows_of(folder) for folder in [named.out, *(named.out / "runs").iterdir()]}
    others = {row["person"] for row in before[named.out]} - {person, None}
    enrolled = named.open().persons.count(person)
    done = forget_person(named.gallery, person.upper())
    assert done.person == person and done.gallery_faces == enrolled > 0 and done.complete
    assert done.proof.secrets >= 6 and done.proof.files > 10
    (output,) = done.outputs
    assert output.cached_faces > 0 and output.rows > 0 and done.sidecars.entries > 0
    assert output.pictures > 0 and output.reports > 0
    assert_no_text(named, person)
    for folder, rows in before.items():
        after = rows_of(folder)
        for old, new in zip(rows, after, strict=True):
            if old["person"] == person:
                assert (new["decision"], new["reason"]) == ("rejected", "forgotten")
                assert new["probability"] is None and new["x"] == old["x"]
            else:
                kept = {k: v for k, v in old.items() if not k.startswith("runner_up")}
                assert {k: new[k] for k in kept} == kept
        assert_same_rows(folder)
    assert others <= {row["person"] for row in rows_of(named.out)}
    summary = named.run()  # does not embed the face again
    assert summary.photos_opened == 0 and not summary.unchanged
    assert summary.reasons["forgotten"] > 0 and person not in summary.people
    marked = stored_faces(named.out, forgotten=True)
    blank = marked + stored_faces(named.out, forgotten=False) - count(named.out, "pictures")
    assert blank == marked == summary.reasons["forgotten"]
    assert (named.out / "report.html").is_file()
    with pytest.raises(FaceOpsError, match="is not in the gallery"):
        forget_person(named.gallery, person)


def test_a_face_that_was_confirmed_at_another_detail_is_removed(named):
    row = next(row for row in rows_of(named.out) if row["decision"] == "unknown")
    person, naming = Decisions.load(named.gallery).naming("Eve")
    box = row["x"], row["y"] + 0.4 * row["height"], row["width"], row["height"]
    confirmed = Entry(Action.CONFIRM, row["photo_id"], box, (99, 99), person)
    storage_of(named.gallery).journal().append([*naming, confirmed])
    assert [output.cached_faces for output in forget_person(named.gallery, "Eve").outputs] == [1]


def test_a_face_without_a_name_in_another_output_is_removed_there_too(named):
    nobody = named.open().without(np.ones(len(named.open().faces), bool))
    other = named.out.parent / "other"
    other.mkdir()
    shutil.copy(named.out / "state.sqlite", other)
    identify(named.album, nobody, named.bundle, other)  # everybody is unknown
    done = named.forget(other)
    assert {output.folder for output in done.outputs} == {named.out, other}
    assert len({output.cached_faces for output in done.outputs}) == 1


def test_a_damaged_output_does_not_prevent_cleaning_the_others(named, tmp_path):
    damaged = Path(shutil.copytree(named.out, tmp_path / "a_damaged_one"))
    for file, content in (
        *(("state.sqlite", b"no database"), ("faces.jsonl", b"{broken")),
        *(("summary.json", b"null"), ("summary.json", b'{"people": 1}')),
    ):
        sound = (damaged / file).read_bytes()
        (damaged / file).write_bytes(content)
        with pytest.raises(FaceOpsError, match=r"a_damaged_one(?s:.*)keeps the person"):
            forget_person(named.gallery, named.person, (damaged,))
        assert named.person not in named.names() and named.person in named.open().people
        (damaged / file).write_bytes(sound)
    named.forget(damaged)


def test_the_search_finds_what_was_not_removed(named):
    own, out, person = named.gallery, named.out, named.person
    faces = [face for face in named.open().faces if face.person == person]
    crops = [crop_path(own, face.crop_id) for face in faces]
    secrets = [face.embedding.tobytes() for face in faces]
    secrets += [path.read_bytes() for path in crops]
    with sqlite3.connect(out / "state.sqlite") as db:
        secrets += [row[0] for row in db.execute("SELECT thumbnail FROM pictures")]
    found = search_traces([own, out], person.__eq__, mentions([person_key(person)]), secrets).found
    for place, what in (
        (segment_of(own), "the name, in person"),
        (segment_of(own), "an embedding or picture"),
        (crops[0], "an embedding or picture"),
        (out / "faces.csv", "the name"),
        (out / "faces.jsonl", "the name"),
        (out / "summary.json", "the name"),
        (out / "state.sqlite", "an embedding or picture"),
        (out / "report.html", "an embedding or picture"),
    ):
        assert any(line.startswith(f"{place}: {what}") for line in found), (place, what)
    assert search_traces([own, out], "Nobody".__eq__, "Nobody".__eq__, [b"x" * 99]).found == []


def test_all_names_that_a_person_has_had_are_forgotten(named):
    rename(named.gallery, named.person, "In Between")
    merge(named.gallery, "In Between", named.second)
    rename(named.gallery, named.second, "A Rod")
    named.run(IdentifySettings(budget=0.3, xmp=True))
    done = forget_person(named.gallery, named.person)
    assert done.person == "A Rod" and done.gallery_faces > 2 and done.complete
    assert_no_text(named, named.person, named.second, "A Rod")
    assert not {named.person, named.second, "A Rod"} & named.names()
    assert named.open().aliases == {}


def test_earlier_names_are_kept_until_every_folder_was_reached(named, tmp_path):
    rename(named.gallery, named.person, "A Rod")
    away = shutil.move(named.out, tmp_path / "away")
    assert not forget_person(named.gallery, "A Rod").complete
    assert "A Rod" not in named.open().people
    shutil.move(away, named.out)
    done = forget_person(named.gallery, "A Rod")
    assert done.complete and done.outputs[0].rows > 0
    assert named.person not in named.names() and named.open().aliases == {}


def test_absent_folders_are_reported_until_they_are_declared_gone(named, tmp_path, capsys):
    album, gone = named.album, tmp_path / "gone"
    remember_output(named.gallery, gone)
    away = shutil.move(album, tmp_path / "away")
    album.mkdir()  # the bare mount point
    command = ["people", "forget", named.person, "--gallery", str(named.gallery)]
    assert main(command) == 1
    printed = capsys.readouterr().out
    assert f"unreachable: {gone};" in printed and f"unreachable: {album};" in printed
    assert main([*command, "--gone", str(named.out)]) == 2
    assert "exists, so it is not gone" in capsys.readouterr().err
    assert main([*command, "--gone", str(gone)]) == 1
    printed = capsys.readouterr().out
    assert str(gone) not in printed and f"unreachable: {album};" in printed
    album.rmdir()
    shutil.move(away, album)
    assert main([*command, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["sidecars"]["entries"] > 0 and content["unreachable"] == []
    assert content["searched"]["found"] == []
    assert_no_text(named, named.person)


def test_a_run_that_is_walking_does_not_name_the_person(named, monkeypatch):
    def slow_walk(photos: Path, exclude: Sequence[str]) -> PhotoList:
        forget_person(named.gallery, named.person)
        return list_photos(photos, exclude)

    monkeypatch.setattr("faceops.identification.run.list_photos", slow_walk)
    summary = named.run(OTHER)
    assert summary.gallery_people == 5 and named.person not in summary.people
    assert named.person not in named.names()
    monkeypatch.undo()
    assert named.run(OTHER).unchanged


def test_a_run_that_starts_during_forgetting_stops_it(named, tmp_path, monkeypatch):
    late = tmp_path / "late"
    save, enrolled = Gallery.save, named.open().persons.count(named.person)
    decide(named.gallery, Action.CONFIRM, named.person)
    decided = storage_of(named.gallery).journal().entries()

    def started(gallery: Gallery) -> Gallery:
        remember_output(named.gallery, late)
        with pytest.raises(FaceOpsError, match="in use"), folder_lock(named.out):
            pass  # a run into an output that is cleaned already cannot start before the save
        return save(gallery)

    monkeypatch.setattr(Gallery, "save", started)
    with folder_lock(late), pytest.raises(FaceOpsError, match=r"late is in use(?s:.*)until then"):
        forget_person(named.gallery, named.person)
    monkeypatch.undo()
    faces = [face for face in named.open().faces if face.person == named.person]
    assert len(faces) == enrolled and storage_of(named.gallery).journal().entries() == decided
    assert all(crop_path(named.gallery, face.crop_id).is_file() for face in faces)
    shutil.copytree(named.out, late, dirs_exist_ok=True)  # what that run named
    named.forget()
    assert named.person not in names_in(late) | named.names()


def test_file_names_that_are_not_utf_8(named, tmp_path):
    odd = named.album.rename(tmp_path / "alb\udcfcm")
    (odd / "scenes").rename(odd / "sc\udce8nes")
    for number, path in enumerate(sorted((odd / "sc\udce8nes").glob("*.jpg"))):
        path.rename(path.with_name(f"{number}\udcff.jpg"))
    for path in odd.rglob("*.xmp"):
        path.unlink()
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(named.out / "state.sqlite", out)
    settings = IdentifySettings(budget=0.3, annotate=True, xmp=True)
    identify(odd, named.open(), named.bundle, out, settings)
    before = len(list((out / "annotated").rglob("*.jpg")))
    (named.gallery / "outputs.jsonl").unlink()  # as of a version that did not note the photos
    done = named.forget(out)
    assert done.outputs[0].pictures > 0 and done.sidecars.entries > 0
    for path in odd.rglob("*.xmp"):
        assert named.person.encode() not in path.read_bytes(), path
    assert len(list((out / "annotated").rglob("*.jpg"))) < before


def test_sidecars_that_were_moved_with_their_photos(named):
    (named.album / "scenes").rename(named.album / "sorted")
    inner = named.album / "sorted" / ".hidden"
    inner.mkdir()
    (inner / ".half.jpg.xmp.faceops-tmp").write_text(named.person)  # a run was killed here
    assert named.forget().sidecars.entries > 0 and not list(inner.iterdir())
    assert_no_text(named, named.person)


def test_what_the_statement_says_is_what_was_searched(named, capsys):
    out, own, person = named.out, named.gallery, named.person
    command = ["people", "forget", person, "--gallery", str(own)]
    shutil.copyfile(segment_of(own), own / ".faces.parquet.tmp")  # enrol was killed here
    annotated = next(run for run in (out / "runs").iterdir() if (run / "annotated").is_dir())
    (annotated / "faces.parquet").unlink()  # nobody knows whom its copies name
    shutil.move(out / "runs", out.with_name("other_disk"))
    (out / "runs").symlink_to(out.with_name("other_disk"))
    old = out / "runs" / "old.html"
    old.write_text(f"<p>{person}</p>", "utf-8")
    tagged = named.album / "tagged.xmp"
    tagged.write_text(
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:subject="with {person}"/></rdf:RDF>'
    )
    assert main(command) == 1
    printed = capsys.readouterr().out
    assert "found in 1 places" in printed and f"still there: {old}: the name" in printed
    assert not (own / ".faces.parquet.tmp").exists()
    assert not list(annotated.rglob("*.jpg"))
    old.unlink()
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "left only in 1 texts that FaceOps does not change" in printed
    assert f"not changed: {tagged}: the name, in entries of other programs" in printed
    tagged.unlink()
    assert main(command) == 1 and "is not in the gallery" in capsys.readouterr().err
    printed = capsys.readouterr().out


def keep_photos_of(named: Named, count: int) -> None:
    """Remove all photos but some that show the person."""
    paths = {row["photo_path"] for row in rows_of(named.out) if row["person"] == named.person}
    for path in [*named.album.rglob("*.jpg")]:
        if path.relative_to(named.album).as_posix() not in sorted(paths)[:count]:
            path.unlink()


def test_forgotten_faces_do_not_return_by_another_detail_or_after_an_absence(named, tmp_path):
    keep_photos_of(named, 2)
    named.forget()
    again = named.run(LENIENT)
    assert (marked := again.reasons["forgotten"]) > 0
    scenes = shutil.move(named.album / "scenes", tmp_path / "away")
    (named.album / "empty.jpg").touch()
    named.run(LENIENT)
    shutil.move(scenes, named.album / "scenes")
    for detail in (640, 320, 960, 1280):  # more methods than are kept
        again = named.run(IdentifySettings(budget=0.3, detail=detail))
        assert again.reasons["forgotten"] == marked, detail


def test_a_shard_that_extracts_during_forgetting_keeps_no_data_of_the_face(named, monkeypatch):
    keep_photos_of(named, 2)
    named.run(LENIENT)
    embed = Bundle.embed

    def embed_slowly(self: Bundle, crops: np.ndarray) -> Embedded:
        if named.person in named.open().people:
            named.forget()
        return embed(self, crops)

    monkeypatch.setattr(Bundle, "embed", embed_slowly)
    settings = IdentifySettings(budget=0.3, detail=0)
    assert extract_shard(list_photos(named.album), named.bundle, named.out, settings) > 0
    monkeypatch.undo()
    assert named.run(settings).photos_opened == 0
    assert stored_faces(named.out, forgotten=True) == 4  # in two photos, by two methods


def test_a_person_who_is_enrolled_again_is_named_again_once_readmitted(
    named, synthetic_set, capsys
):
    own, out, person, other = named.gallery, named.out, named.person, named.second
    count = sum(row["person"] == person for row in rows_of(out))
    assert main(["people", "forget", person, "--gallery", str(own), "--json"]) == 0
    mark = json.loads(capsys.readouterr().out)["mark"]
    assert main(["people", "forget", other, "--gallery", str(own)]) == 0
    assert "faceops people readmit" in capsys.readouterr().out
    enrol(synthetic_set / "enrol", own, named.bundle)
    still = named.run(LENIENT)
    assert not {person, other} & {*still.people}
    assert main(["people", "readmit", mark, "--gallery", str(own)]) == 0
    assert f"{out}: {count} faces readmitted" in capsys.readouterr().out
    again = named.run(LENIENT)
    assert again.people[person] == count and other not in again.people
    assert main(["people", "readmit", mark, "--gallery", str(own)]) == 1
    assert f"has the mark {mark}" in capsys.readouterr().err


def test_forgetting_removes_what_a_killed_run_left(named):
    out = named.out
    finished = max((out / "runs").glob("2*"))
    unfinished = finished.with_name(f".unfinished-{finished.name}")
    shutil.copytree(finished, unfinished, symlinks=True)
    for folder in (out, finished):  # killed while publishing
        shutil.copyfile(out / "faces.csv", folder / ".faces.csv.tmp")
    named.forget()
    assert not unfinished.exists() and not list(out.rglob(".*.tmp"))
