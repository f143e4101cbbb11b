"""`faceops data doctor`, whole: a photo in the wrong folder is found, confirmed and set aside."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from faceops.cli import main
from faceops.cli.data import SHARE
from faceops.dataset.data_folder import manifest_table
from faceops.dataset.validate import validate_photos
from faceops.evaluation.label_doctor import diagnose
from faceops.faces.crop_photos import CropSettings, crop_photos
from faceops.photos.formats import PhotoLimits
from faceops.release.bundle import Bundle

FORMATS = ["JPEG", "PNG"]


@pytest.fixture
def place(synthetic_set: Path, sface_bundle: Path, tmp_path: Path) -> Path:
    """data/ of six people, a photo of the second in the first one's folder, and build/crop/."""
    data = tmp_path / "data"
    people = sorted((synthetic_set / "photos").iterdir())[:6]
    for person in people:
        shutil.copytree(person, data / "photos" / person.name)
    stray = sorted((data / "photos" / people[1].name).iterdir())[0]
    stray.rename(data / "photos" / people[0].name / "stray.jpg")
    rows = validate_photos(data, PhotoLimits(), FORMATS, -1, 1)
    (tmp_path / "build/crop").mkdir(parents=True)
    finder = Bundle.load(sface_bundle).face_finder()
    crop_photos(manifest_table(rows), data, tmp_path / "build/crop", finder, CropSettings(), 1)
    return tmp_path


def test_a_stray_photo_is_found_confirmed_and_set_aside(place, sface_bundle, monkeypatch, capsys):
    monkeypatch.chdir(place)
    command = ["data", "doctor", "--bundle", str(sface_bundle)]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "1 suspicion (1 mislabelled_photo)" in output
    file = place / "build/doctor/suspicions.csv"
    assert f"next: faceops data doctor --confirm {file.relative_to(place)}" in output
    (row,) = list(csv.DictReader(file.open(newline="")))
    assert row["path"].endswith("/stray.jpg")
    assert row["suggestion"] == sorted(p.name for p in (place / "data/photos").iterdir())[1]
    outputs = {path: path.read_bytes() for path in (place / "build/doctor").iterdir()}
    names = ["summary.json", "suspicions-001.png", "suspicions.csv"]
    assert sorted(p.name for p in outputs if p.suffix != ".f32") == names

    # Again, from embeddings that an interruption cut off: the same bytes.
    (kept,) = (path for path in outputs if path.suffix == ".f32")
    kept.write_bytes(outputs[kept][:1000])
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["photos_in_doubt"] == 1
    assert {path: path.read_bytes() for path in (place / "build/doctor").iterdir()} == outputs

    # Without a verdict nothing happens; with yes it is set aside, once.
    confirm = ["data", "doctor", "--confirm", str(file)]
    assert main(confirm) == 0
    assert not (place / "data/quarantine.csv").exists()
    file.write_text(file.read_text().removesuffix("\n") + "yes\n")
    capsys.readouterr()
    for added in ("1 photos added, 0 were there", "0 photos added, 1 were there"):
        assert main(confirm) == 0
        assert added in capsys.readouterr().out
    rows = validate_photos(place / "data", PhotoLimits(), FORMATS, -1, 1)
    assert [r["path"] for r in rows if r["reason"] == "quarantined"] == [row["path"]]


def test_mistakes_of_the_call_are_one_sentence(tmp_path, capsys):
    assert SHARE == diagnose.SHARE
    none = str(tmp_path / "none")
    for arguments, code, message in (
        (["--share", "0.7"], 2, "share 0.7 is wrong"),
        (["--crops", none], 1, "crops.npy does not exist"),
        (["--confirm", none, "--data", none], 2, "is not a folder"),
        (["--confirm", none, "--data", str(tmp_path)], 1, "cannot be read"),
    ):
        assert main(["data", "doctor", *arguments]) == code
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
