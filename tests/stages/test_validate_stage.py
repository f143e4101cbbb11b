"""The validate stage: a row per file, hard expectations stop, the others warn."""

import csv
import hashlib
import io
import json
import logging
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError
from faceops.config.sections import Validate
from faceops.dataset.data_folder import read_manifest
from faceops.dataset.synthetic.make import make_synthetic
from faceops.dataset.synthetic.people import SyntheticSettings
from faceops.dataset.validate import validate_photos
from faceops.photos.formats import PhotoLimits
from faceops.stages.validate import copy_inputs, main

FORMATS = Validate().formats


@pytest.fixture(scope="module")
def made(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people with ten photos, and four more photos that are broken or duplicates."""
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


def reasons(formats: list[str] = FORMATS, min_side: int = 48) -> dict[str, str]:
    limits = PhotoLimits(min_side=min_side)
    rows = validate_photos(Path("data"), limits, formats, near_bits=0, processes=1)
    return {row["path"]: row["reason"] for row in rows if row["reason"]}


@pytest.mark.slow
def test_every_file_has_a_row_and_a_rejected_one_a_reason(place, capsys):
    main()
    table = read_manifest(place / "build/validate/manifest.parquet")
    files = [path for path in (place / "data/photos").rglob("*") if path.is_file()]
    assert table.num_rows == len(files) == 124
    rejected = {row["path"]: row["reason"] for row in table.to_pylist() if row["reason"]}
    assert sorted(rejected.values()) == [
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
        stated = row["width"], row["height"]
        assert stated == (Image.open(io.BytesIO(content)).size if row["width"] else (0, 0))
    with (place / "build/validate/quarantine.csv").open(newline="") as file:
        assert {row["path"]: row["reason"] for row in csv.DictReader(file)} == rejected
    report = json.loads((place / "build/validate/validation.json").read_text())
    assert (report["photos"], report["accepted"], report["people"]) == (124, 119, 12)
    failed = {name for name, one in report["expectations"].items() if not one["success"]}
    assert failed == {"readable", "one_person_a_photo"}
    error = capsys.readouterr().err
    assert "warning: expectation readable (3 of 124" in error
    (page,) = re.findall(r"warning: photos: expectations are not met; open file://(\S+)", error)
    assert Path(page).is_relative_to(place / "build/data_docs")
    assert "not_a_photo" in Path(page).read_text("utf-8")
    assert (place / "build/data_docs/index.html").is_file()
    outputs = [path for path in sorted((place / "build/validate").rglob("*")) if path.is_file()]
    names = ["sources.json", "manifest.parquet", "quarantine.csv", "validation.json"]
    assert [path.name for path in outputs] == names
    before = [path.read_bytes() for path in outputs]
    main()
    assert [path.read_bytes() for path in outputs] == before
    assert not Path(page).exists()  # the pages of one run: they name people and photos
    assert len(list((place / "build/data_docs/validations/photos").rglob("*.html"))) == 1


@pytest.mark.slow
def test_failed_hard_expectations_stop_and_are_named(place, capfd, monkeypatch):
    # Prefect's handler keeps a stderr that pytest has closed, if a flow ran in this process.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    hard = ", ".join([*Validate().hard, "readable"])
    section = f"hard: [{hard}], max_rejected_share: 0.01, min_side: 400"
    (place / "params.yaml").write_text(f"validate: {{{section}}}\n")
    with pytest.raises(FaceOpsError, match="hard expectations failed: ") as caught:
        main()
    for failed in ("readable (2 of 124", "rejected_share (is 1", "people_enough (is 0"):
        assert failed in str(caught.value)
    assert "validation.json and the pages in build/data_docs/validations" in str(caught.value)
    assert (place / "build/validate/validation.json").is_file()
    shutil.rmtree(place / "build/data_docs")
    (place / "build/data_docs").touch()
    capfd.readouterr()
    with pytest.raises(
        FaceOpsError, match=r"build/data_docs cannot be written \(.*give permission"
    ):
        main()
    assert "Traceback" not in capfd.readouterr().err


def test_an_unknown_expectation_is_refused(place):
    (place / "params.yaml").write_text("validate: {hard: [no_such_thing]}\n")
    with pytest.raises(UsageError, match="no_such_thing"):
        main()


def test_the_small_files_that_later_stages_read_are_copied(place):
    lists = place / "data/protocols/lfw"
    lists.mkdir(parents=True)
    (lists / "peopleDevTest.txt").write_text("0\n")
    (place / "data/groups.csv").write_text("person,glasses\nAnn,yes\n")
    for name in ("imported/reviewed.csv", "hard_negatives.csv"):
        (place / "data" / name).parent.mkdir(exist_ok=True)
        (place / "data" / name).write_text("person\n")
    copy_inputs("data/groups.csv")
    inputs = place / "build/validate/inputs"
    copied = sorted(path.name for path in inputs.iterdir())
    reviewed = ["hard_negatives.csv", "reviewed.csv"]
    assert copied == sorted(["groups.csv", "peopleDevTest.txt", "sources.json", *reviewed])
    assert (inputs / "groups.csv").read_text() == "person,glasses\nAnn,yes\n"
    assert json.loads((inputs / "sources.json").read_text()).keys() == {"synthetic"}
    with pytest.raises(UsageError, match=r"evaluate\.slices = data/no\.csv does not exist"):
        copy_inputs("data/no.csv")


def test_format_size_and_the_quarantine_list_have_reasons(place):
    assert "format_not_allowed" in reasons(["PNG"]).values()
    assert "too_small" in reasons(min_side=161).values()
    photo = min((place / "data/photos").rglob("*_0003.jpg"))
    photo_id = hashlib.sha256(photo.read_bytes()).hexdigest()
    (place / "data/quarantine.csv").write_text(f"photo_id,reason\n{photo_id},not her\n")
    assert reasons()[photo.relative_to(place / "data").as_posix()] == "quarantined"


def test_loose_files_bad_names_and_two_spellings(place):
    photos = place / "data/photos"
    first, second = sorted(photos.iterdir())[-2:]
    shutil.copy(second / f"{second.name}_0001.jpg", photos / "loose.jpg")
    second.rename(photos / "odd\tname")
    moved = photos / first.name.lower()
    moved.mkdir()
    (first / f"{first.name}_0001.jpg").rename(moved / "1.jpg")
    rows = validate_photos(Path("data"), PhotoLimits(), FORMATS, near_bits=0, processes=1)
    found = {row["path"]: row["reason"] for row in rows}
    assert found["photos/loose.jpg"] == "bad_name"
    assert list(found.values()).count("bad_name") == 11
    persons = {row["person"] for row in rows if first.name.lower() in row["path"].lower()}
    assert persons == {first.name}


def test_a_folder_without_photos_is_an_error(place):
    shutil.rmtree(place / "data/photos")
    with pytest.raises(FaceOpsError, match="holds no photos"):
        main()
