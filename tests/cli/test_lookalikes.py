"""`enrol`, `people show` and `people list` say which enrolled people look alike."""

import json
import shutil
from pathlib import Path

import pytest

from faceops.cli import main


@pytest.fixture
def enrolling(synthetic_set: Path, sface_bundle: Path, tmp_path: Path) -> list[str]:
    """Enrols one person under the names Ann and Bea, and one who is unlike them, Cy."""
    one, *_, other = sorted((synthetic_set / "enrol").iterdir())
    photos = [*sorted(one.iterdir())[:2], sorted(other.iterdir())[0]]
    (tmp_path / "people").mkdir()
    for name, photo in zip(("Ann", "Bea", "Cy"), photos, strict=True):
        shutil.copy(photo, tmp_path / "people" / f"{name}{photo.suffix}")
    folders = ["--gallery", str(tmp_path / "g"), "--bundle", str(sface_bundle)]
    return ["enrol", str(tmp_path / "people"), *folders]


def test_a_person_enrolled_under_two_names_is_told_at_enrolment_and_marked(enrolling, capsys):
    place = enrolling[2:]
    assert main(enrolling) == 0
    said = capsys.readouterr().out
    assert "Ann and Bea look alike to the model: a face of one may stay unnamed" in said
    assert "Cy look alike" not in said and "and Cy" not in said
    assert main([*enrolling, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lookalikes"] == []  # of new faces, and none is new
    assert main(["people", "list", *place]) == 0
    listed = capsys.readouterr().out
    assert "Ann  <- looks like Bea\n" in listed and "Cy\n" in listed
    assert main(["people", "show", "Bea", *place]) == 0
    assert "looks like Ann (log odds " in capsys.readouterr().out
    assert main(["people", "show", "ann", *place, "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["lookalikes"]
    assert pair["person"] == "Bea" and isinstance(pair["log_odds"], float)


def test_without_a_release_people_are_listed_and_the_output_says_what_is_missing(
    enrolling, next_bundle, mlflow_store, tmp_path, monkeypatch, capsys
):
    assert main([*enrolling[:-1], str(next_bundle)]) == 0
    gallery = enrolling[2:4]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    capsys.readouterr()
    assert main(["people", "list", *gallery]) == 0
    assert "who looks alike is not known: " in capsys.readouterr().out
    assert main(["people", "list", *gallery, "--json"]) == 0
    people = json.loads(capsys.readouterr().out)["people"]
    assert [(one["person"], one["lookalikes"]) for one in people] == [
        ("Ann", None), ("Bea", None), ("Cy", None)
    ]  # fmt: skip
    assert main(["people", "show", "Ann", *gallery, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lookalikes"] is None
    assert main(["people", "list", *gallery, "--bundle", str(tmp_path / "none")]) == 2
