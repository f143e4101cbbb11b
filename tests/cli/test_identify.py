"""enrol, people and identify as commands: what they print, and their exit codes."""

import csv
import json

import pytest

from faceops.cli import main


def test_enrol_identify_and_forget(synthetic_set, album, sface_bundle, tmp_path, capsys):
    gallery, out = str(tmp_path / "g"), tmp_path / "out"
    release = ["--bundle", str(sface_bundle)]
    assert main(["enrol", str(synthetic_set / "enrol"), "--gallery", gallery, *release]) == 0
    printed = capsys.readouterr().out
    assert "6 people, 18 faces; 18 enrolled now" in printed
    assert "; device: " in printed
    command = ["identify", str(album), "--gallery", gallery, "--out", str(out), *release]
    assert main([*command, "--budget", "0.15"]) == 0
    printed = capsys.readouterr().out
    assert "faces found in 12 photos" in printed
    assert ", device: " in printed
    assert main([*command, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == json.loads((out / "summary.json").read_text("utf-8"))
    with (out / "faces.csv").open(encoding="utf-8", newline="") as file:
        named = [row["person"] for row in csv.DictReader(file) if row["person"]]
    assert len(named) == summary["identified"] > 0
    assert "(ONNX Runtime " in summary["device"]
    for folder in (gallery, out, sface_bundle, synthetic_set):  # each is recognised
        assert main(["evaluate", "--out", str(folder), *release]) == 2
        error = capsys.readouterr().err
        assert "name another folder for an evaluation" in error or "name two folders" in error
    assert main(["people", "forget", named[0], "--gallery", gallery]) == 0
    assert "not covered" in capsys.readouterr().out
    assert main(["people", "list", "--gallery", gallery, "--json"]) == 0
    people = json.loads(capsys.readouterr().out)["people"]
    assert len(people) == 5
    assert named[0] not in [one["person"] for one in people]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["identify", "none", "--out", "o"], "none does not exist"),
        (["identify", ".", "--out", "o"], "lies inside . (photos)"),
        (["identify", "p", "--out", "o"], "gallery is not a gallery"),
        (["identify", "p", "--out", "o", "--budget", "1.5"], "budget 1.5 is wrong"),
        (["identify", "p", "--out", "o", "--budget", "nan"], "budget nan is wrong"),
        (["identify", "p", "--out", "o", "--detail", "-1"], "detail -1 is wrong"),
        (["identify", "p", "--out", "o", "--threads", "0"], "threads 0 is wrong"),
        (["identify", "p", "--out", "o", "--keep-runs", "0"], "keep_runs 0 is wrong"),
        (["identify", "p", "--out", "o", "--max-megabytes", "-1"], "max_megabytes -1 is wrong"),
        (["enrol", "p", "--max-megapixels", "nan"], "max_megapixels nan is wrong"),
        (["enrol", "none"], "none is not a folder"),
        (["enrol", "p", "--bundle", "none"], "none is not a folder; name a release"),
        (["people", "list", "--gallery", "none"], "none is not a gallery"),
    ],
)
def test_wrong_arguments_get_one_sentence_and_exit_code_2(
    arguments, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").mkdir()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()
