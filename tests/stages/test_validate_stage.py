"""The validate stage: a row for every file, hard expectations stop, soft ones warn."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.dataset.manifest import read_manifest
from faceops.dataset.synthetic.make import make_synthetic
from faceops.dataset.synthetic.settings import SyntheticSettings
from faceops.stages.validate import main


@pytest.fixture(scope="module")
def made(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people of ten photos, four more that are broken or doubled."""
    data = tmp_path_factory.mktemp("made") / "data"
    settings = SyntheticSettings(people=12, photos=10, gallery=1, strangers=0, scenes=0)
    make_synthetic(data, settings, weights_dir / "weights.tar")
    return data


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("")
    return tmp_path


def reasons(place: Path) -> dict[str, str]:
    rows = read_manifest(place / "build/validate/manifest.parquet").to_pylist()
    return {row["path"]: row["reason"] for row in rows if row["status"] == "rejected"}


def report(place: Path) -> dict:
    return json.loads((place / "build/validate/validation.json").read_text())


def test_every_file_has_a_row_and_what_is_wrong_a_reason(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    table = read_manifest(place / "build/validate/manifest.parquet")
    files = [path for path in (place / "data/photos").rglob("*") if path.is_file()]
    assert table.num_rows == len(files) == 124
    found = reasons(place)
    assert sorted(found.values()) == [
        "duplicate_other_person",
        "duplicate_other_person",
        "empty",
        "not_a_photo",
        "unreadable",
    ]
    for row in table.to_pylist():
        content = (place / "data" / row["path"]).read_bytes()
        assert row["photo_id"] == hashlib.sha256(content).hexdigest()
        assert row["person"] == row["path"].split("/")[1]
        assert row["source"] == "synthetic"
        assert (row["width"], row["height"]) == ((160, 160) if row["width"] else (0, 0))
    with (place / "build/validate/quarantine.csv").open(newline="") as file:
        assert {row["path"]: row["reason"] for row in csv.DictReader(file)} == found
    told = report(place)
    assert (told["photos"], told["accepted"], told["people"]) == (124, 119, 12)
    failed = {name for name, one in told["expectations"].items() if not one["success"]}
    assert failed == {"readable", "one_person_a_photo"}
    assert "warning: expectation readable (3 of 124" in capsys.readouterr().err
    assert (place / "reports/data_docs/index.html").is_file()


def test_a_second_run_gives_the_same_bytes(place: Path) -> None:
    main()
    outputs = [path for path in sorted((place / "build/validate").rglob("*")) if path.is_file()]
    before = [path.read_bytes() for path in outputs]
    main()
    assert [path.read_bytes() for path in outputs] == before
    assert [path.name for path in outputs] == [
        "sources.json",
        "manifest.parquet",
        "quarantine.csv",
        "validation.json",
    ]


def test_the_small_files_that_later_stages_read_are_copied(place: Path) -> None:
    lists = place / "data/protocols/lfw"
    lists.mkdir(parents=True)
    (lists / "peopleDevTest.txt").write_text("0\n")
    (place / "data/groups.csv").write_text("person,glasses\nAnn,yes\n")
    (place / "params.yaml").write_text("evaluate: {slices: data/groups.csv}\n")
    main()
    inputs = place / "build/validate/inputs"
    copied = sorted(path.name for path in inputs.iterdir())
    assert copied == ["groups.csv", "peopleDevTest.txt", "sources.json"]
    assert (inputs / "groups.csv").read_text() == "person,glasses\nAnn,yes\n"
    assert json.loads((inputs / "sources.json").read_text()).keys() == {"synthetic"}
    (place / "data/groups.csv").unlink()
    with pytest.raises(UsageError, match=r"evaluate\.slices = data/groups\.csv does not exist"):
        main()


def test_a_hard_expectation_stops_and_says_which(place: Path) -> None:
    (place / "params.yaml").write_text("validate: {hard: [readable]}\n")
    with pytest.raises(FaceOpsError, match=r"hard expectations failed: readable \(3 of 124"):
        main()
    assert not report(place)["expectations"]["readable"]["success"]


def test_too_many_rejected_photos_stop(place: Path) -> None:
    (place / "params.yaml").write_text("validate: {max_rejected_share: 0.01}\n")
    with pytest.raises(FaceOpsError, match=r"rejected_share \(is 0.0403"):
        main()


def test_format_and_size_have_reasons(place: Path) -> None:
    (place / "params.yaml").write_text(
        "validate: {formats: [PNG], max_rejected_share: 1, hard: [manifest_complete]}\n"
    )
    main()
    assert "format_not_allowed" in reasons(place).values()
    (place / "params.yaml").write_text("validate: {min_side: 161, hard: []}\n")
    main()
    assert "too_small" in reasons(place).values()
    assert report(place)["expectations"]["people_enough"]["observed"] == 0


def test_an_unknown_expectation_is_refused(place: Path) -> None:
    (place / "params.yaml").write_text("validate: {hard: [no_such_thing]}\n")
    with pytest.raises(UsageError, match="no_such_thing"):
        main()


def test_what_a_person_set_aside_stays_aside(place: Path) -> None:
    photo = min((place / "data/photos").rglob("*_0003.jpg"))
    photo_id = hashlib.sha256(photo.read_bytes()).hexdigest()
    (place / "data/quarantine.csv").write_text(f"photo_id,reason\n{photo_id},not her\n")
    main()
    assert reasons(place)[photo.relative_to(place / "data").as_posix()] == "quarantined"


def test_loose_files_bad_names_and_two_spellings(place: Path) -> None:
    photos = place / "data/photos"
    people = sorted(path for path in photos.iterdir())
    shutil.copy(people[-1] / f"{people[-1].name}_0001.jpg", photos / "loose.jpg")
    people[-1].rename(photos / "odd\tname")
    moved = photos / people[-2].name.lower()
    moved.mkdir()
    (people[-2] / f"{people[-2].name}_0001.jpg").rename(moved / "1.jpg")
    (place / "params.yaml").write_text("validate: {max_rejected_share: 1}\n")
    main()
    found = reasons(place)
    assert found["photos/loose.jpg"] == "bad_name"
    assert list(found.values()).count("bad_name") == 11
    table = read_manifest(place / "build/validate/manifest.parquet").to_pylist()
    persons = {row["person"] for row in table if people[-2].name.lower() in row["path"].lower()}
    assert persons == {people[-2].name}


def test_no_photos_are_told(place: Path) -> None:
    shutil.rmtree(place / "data" / "photos")
    with pytest.raises(FaceOpsError, match="holds no photos"):
        main()
