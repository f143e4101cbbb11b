"""Forgetting reaches concurrent runs, odd file names, moved sidecars and absent folders."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.locks import folder_lock
from faceops.cli import main
from faceops.gallery.enrol import enrol
from faceops.gallery.folder import output_folders, remember_output
from faceops.gallery.store import Gallery
from faceops.identification import run
from faceops.identification.engine.extract import extract_shard
from faceops.identification.forget.forget import ForgetResult, forget_person
from faceops.identification.records import reuse as unchanged
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.identification.summary import Summary
from faceops.photos.walk import walk_photos
from faceops.release.bundle import Bundle

LENIENT = IdentifySettings(budget=0.3)


@pytest.fixture
def own(gallery_dir: Path, tmp_path: Path) -> Path:
    """A gallery of its own, that knows of no output."""
    ignored = shutil.ignore_patterns("outputs.jsonl")
    return Path(shutil.copytree(gallery_dir, tmp_path / "gallery", ignore=ignored))


def most_named(summary: Summary) -> str:
    return summary.people.most_common(1)[0][0]


def names_in(out: Path) -> set[str]:
    names: set[str] = set()
    for path in out.rglob("faces.parquet"):
        names |= {*pq.read_table(path)["person"].to_pylist()}
    return names


def test_a_run_that_walks_meanwhile_does_not_name_the_person(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    person = most_named(identify(album, Gallery.open(own), bundle, tmp_path / "first", LENIENT))

    def slow_walk(photos: Path) -> tuple[Path, list[Path]]:
        forget_person(own, person)
        return unchanged.list_photos(photos)

    monkeypatch.setattr(run, "list_photos", slow_walk)
    summary = identify(album, Gallery.open(own), bundle, out, LENIENT)
    assert summary.gallery_people == 5 and person not in summary.people
    assert person not in names_in(out)
    monkeypatch.undo()
    assert identify(album, Gallery.open(own), bundle, out, LENIENT).unchanged


def test_a_run_that_begins_while_the_person_is_forgotten_stops_the_forgetting(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, late = tmp_path / "out", tmp_path / "late"
    person = most_named(identify(album, Gallery.open(own), bundle, out, LENIENT))
    save = Gallery.save

    def begun(gallery: Gallery) -> None:
        remember_output(own, late)
        save(gallery)

    monkeypatch.setattr(Gallery, "save", begun)
    with folder_lock(late), pytest.raises(FaceOpsError, match=r"late is in use(?s:.*)until then"):
        forget_person(own, person)
    monkeypatch.undo()
    assert person in Gallery.open(own).people
    identify(album, Gallery.open(own), bundle, late, LENIENT)
    assert forget_person(own, person).complete
    assert person not in names_in(late) | names_in(out)


def test_no_run_writes_into_an_output_between_its_cleaning_and_the_gallerys(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    person = most_named(identify(album, Gallery.open(own), bundle, out, LENIENT))
    save = Gallery.save

    def run_now(gallery: Gallery) -> None:
        with pytest.raises(FaceOpsError, match="in use"):
            identify(album, Gallery.open(own), bundle, out, IdentifySettings(budget=0.31))
        save(gallery)

    monkeypatch.setattr(Gallery, "save", run_now)
    assert forget_person(own, person).complete
    assert person not in names_in(out)


def test_an_output_that_a_run_could_not_lock_is_not_noted(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with folder_lock(out), pytest.raises(FaceOpsError, match="in use"):
        identify(album, Gallery.open(own), bundle, out)
    assert output_folders(own).folders == []


def forgotten(own: Path, person: str, *more: Path) -> ForgetResult:
    done = forget_person(own, person, more)
    assert done.complete, (done.proof.found, done.unreachable)
    return done


def assert_no_name_beside(folder: Path, person: str) -> None:
    sidecars = list(folder.rglob("*.xmp"))
    for path in sidecars:
        assert person.encode() not in path.read_bytes(), path


def test_names_of_files_that_are_no_unicode(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path
) -> None:
    odd = album.rename(tmp_path / "alb\udcfcm")
    (odd / "scenes").rename(odd / "sc\udce8nes")
    for number, path in enumerate(sorted((odd / "sc\udce8nes").iterdir())):
        path.rename(path.with_name(f"{number}\udcff.jpg"))
    out = tmp_path / "out"
    summary = identify(
        odd, Gallery.open(own), bundle, out, IdentifySettings(budget=0.3, annotate=True, xmp=True)
    )
    person = most_named(summary)
    before = len(list((out / "annotated").rglob("*.jpg")))
    (own / "outputs.jsonl").unlink()  # as of a version that did not note the photos' folder
    done = forgotten(own, person, out)
    assert done.outputs[0].pictures > 0 and done.sidecars.entries > 0
    assert_no_name_beside(odd, person)
    assert len(list((out / "annotated").rglob("*.jpg"))) < before


def test_sidecars_that_were_moved_with_their_photos(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    person = most_named(
        identify(album, Gallery.open(own), bundle, out, IdentifySettings(budget=0.3, xmp=True))
    )
    (album / "scenes").rename(album / "sorted")
    inner = album / "sorted" / ".hidden"
    inner.mkdir()
    (inner / ".half.jpg.xmp.faceops-tmp").write_text(person)  # a run was killed here
    done = forgotten(own, person)
    assert done.sidecars.entries > 0 and not list(inner.iterdir())
    assert_no_name_beside(album, person)


def test_a_sidecar_that_cannot_be_read_is_told_and_fails(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    person = most_named(
        identify(album, Gallery.open(own), bundle, out, IdentifySettings(budget=0.3, xmp=True))
    )
    broken = next(
        path for path in sorted(album.rglob("*.xmp")) if person.encode() in path.read_bytes()
    )
    content = broken.read_bytes()
    broken.write_bytes(content[:-40])
    done = forget_person(own, person)
    assert not done.complete and any(str(broken) in line for line in done.proof.found)
    broken.write_bytes(content)
    assert forgotten(own, person).sidecars.entries > 0


def test_folders_far_away_and_folders_that_are_gone(
    own: Path,
    album: Path,
    bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    person = most_named(
        identify(album, Gallery.open(own), bundle, out, IdentifySettings(budget=0.3, xmp=True))
    )
    identify(album, Gallery.open(own), bundle, other, LENIENT)
    shutil.rmtree(other)
    away = album.rename(tmp_path / "away")
    album.mkdir()  # the bare mount point
    command = ["people", "forget", person, "--gallery", str(own)]
    assert main(command) == 1
    told = capsys.readouterr().out
    assert f"not there now: {other};" in told and f"not there now: {album};" in told
    assert main([*command, "--gone", str(out)]) == 2
    assert "exists, so it is not gone" in capsys.readouterr().err
    assert main([*command, "--gone", str(other)]) == 1
    told = capsys.readouterr().out
    assert str(other) not in told and f"not there now: {album};" in told
    album.rmdir()
    away.rename(album)
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sidecars"]["entries"] > 0 and told["unreachable"] == []
    assert_no_name_beside(album, person)


def test_earlier_names_are_known_until_every_folder_was_reached(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path
) -> None:
    from faceops.gallery.people import rename

    out = tmp_path / "out"
    person = most_named(identify(album, Gallery.open(own), bundle, out, LENIENT))
    rename(own, person, "A Rod")
    away = out.rename(tmp_path / "away")
    assert not forget_person(own, "A Rod").complete
    assert "A Rod" not in Gallery.open(own).people
    away.rename(out)
    assert forgotten(own, "A Rod").outputs[0].rows > 0
    assert person not in names_in(out) and Gallery.open(own).aliases == {}


def test_forgotten_faces_do_not_come_back_by_another_detail_or_a_folder_that_was_away(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    person = most_named(identify(album, Gallery.open(own), bundle, out, LENIENT))
    forgotten(own, person)
    again = identify(album, Gallery.open(own), bundle, out, LENIENT)
    assert (marked := again.reasons["forgotten"]) > 0
    scenes = (album / "scenes").rename(tmp_path / "away")
    identify(album, Gallery.open(own), bundle, out, LENIENT)
    scenes.rename(album / "scenes")
    for detail in (1280, 0, 1920, 2560, 640, 1280):  # more methods than are kept
        again = identify(
            album, Gallery.open(own), bundle, out, IdentifySettings(budget=0.3, detail=detail)
        )
        assert again.reasons["forgotten"] == marked, detail


def test_a_shard_that_looks_meanwhile_keeps_nothing_of_the_face(
    own: Path, album: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    person = most_named(identify(album, Gallery.open(own), bundle, out, LENIENT))
    embed = Bundle.embed

    def embed_slowly(self: Bundle, crops: np.ndarray) -> np.ndarray:
        if person in Gallery.open(own).people:
            forgotten(own, person)
        return embed(self, crops)

    monkeypatch.setattr(Bundle, "embed", embed_slowly)
    assert extract_shard(walk_photos(album), bundle, out, IdentifySettings(detail=0)) > 0
    monkeypatch.undo()
    assert (
        identify(
            album, Gallery.open(own), bundle, out, IdentifySettings(budget=0.3, detail=0)
        ).photos_opened
        == 0
    )
    with sqlite3.connect(out / "state.sqlite") as db:
        places = db.execute("SELECT count(DISTINCT photo_id) FROM forgotten_places").fetchone()[0]
        blank = db.execute("SELECT count(*) FROM faces WHERE forgotten").fetchone()[0]
    assert blank == 2 * places > 0  # by both methods


def test_a_person_who_is_enrolled_again_is_named_again_once_readmitted(
    own: Path,
    album: Path,
    bundle: Bundle,
    synthetic_set: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    first = identify(album, Gallery.open(own), bundle, out, LENIENT)
    (person, count), (other, _) = first.people.most_common(2)
    assert main(["people", "forget", person, "--gallery", str(own), "--json"]) == 0
    mark = json.loads(capsys.readouterr().out)["mark"]
    assert main(["people", "forget", other, "--gallery", str(own)]) == 0
    assert "faceops people readmit" in capsys.readouterr().out
    enrol(synthetic_set / "enrol", own, bundle)
    still = identify(album, Gallery.open(own), bundle, out, LENIENT)
    assert not {person, other} & {*still.people}
    assert main(["people", "readmit", mark, "--gallery", str(own)]) == 0
    assert f"{out}: {count} faces readmitted" in capsys.readouterr().out
    again = identify(album, Gallery.open(own), bundle, out, LENIENT)
    assert again.people[person] == count and other not in again.people
    assert main(["people", "readmit", mark, "--gallery", str(own)]) == 1
    assert f"has the mark {mark}" in capsys.readouterr().err
