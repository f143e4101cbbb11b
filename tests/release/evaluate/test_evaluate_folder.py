"""`faceops evaluate --data`: a row for every file, any model, continued after interruption."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.cli import main
from faceops.config.sections import Params
from faceops.release.evaluate.embed_photos import PhotoStore, embed_photos, labelled_photos
from faceops.release.evaluate.evaluate import FolderRequest, ProtocolInput, evaluate_folder
from faceops.release.evaluate.measured_model import open_model


@pytest.fixture(scope="module")
def people(synthetic_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five people with three photos; a copy, a broken, an empty, a text and a stray file."""
    data = tmp_path_factory.mktemp("people") / "data"
    for folder in sorted((synthetic_set / "photos").iterdir())[:5]:
        (data / "photos" / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:3]:
            shutil.copy(photo, data / "photos" / folder.name)
    first, second, *_ = sorted((data / "photos").glob("*/*"))
    shutil.copy(first, first.with_name("a_copy" + first.suffix))
    (second.parent / "broken.jpg").write_bytes(second.read_bytes()[:900])
    (second.parent / "empty.jpg").touch()
    (second.parent / "notes.txt").write_text("no photo")
    shutil.copy(second, data / "photos" / "stray.jpg")
    return data


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_folder_is_evaluated_and_every_file_has_a_row(
    people, work, sface_bundle, tmp_path, capsys
):
    (tmp_path / "params.yaml").write_text("evaluate: {robustness_photos: 2}\n")
    groups = tmp_path / "groups.csv"
    names = sorted({path.parent.name for path in people.glob("photos/*/*")})
    groups.write_text(
        "person,side\n" + "".join(f"{n},{'lr'[i % 2]}\n" for i, n in enumerate(names))
    )
    chosen = ("--bundle", sface_bundle, "--data", people, "--work", work, "--slices", groups)
    params = ("--params", tmp_path / "params.yaml", "--out", tmp_path / "out", "--json")
    code, out, _ = run(capsys, *chosen, *params, "--protocol", "robustness")
    assert code == 0
    figures = json.loads(out)
    assert json.loads((tmp_path / "out/evaluation.json").read_text()) == figures
    with (tmp_path / "out/photos.csv").open() as file:
        rows = list(csv.DictReader(file))
    files = [path for path in people.glob("photos/**/*") if path.is_file()]
    assert [row["path"] for row in rows] == sorted(str(p.relative_to(people)) for p in files)
    without = figures["data"]["without_face"]
    assert {reason: without[reason] for reason in ("empty", "not_a_photo", "bad_name")} == {
        "empty": 1, "not_a_photo": 1, "bad_name": 1,
    }  # fmt: skip
    assert without["unreadable"] == 1
    assert without["duplicate"] == 1
    assert sum(without.values()) + figures["data"]["faces"] == figures["data"]["photos"]
    assert [row["alteration"] for row in figures["robustness"]][:2] == ["unaltered", "rotation_15"]
    assert all(row["found"] > 0 for row in figures["robustness"][:6])
    assert set(figures["slices"]["side"]) == {"l", "r"}
    assert figures["data"]["seen"]["known"] is False


def test_several_folders_are_compared_and_each_gets_its_report(
    people, work, sface_bundle, tmp_path, capsys
):
    fewer = tmp_path / "fewer"
    for folder in sorted((people / "photos").iterdir())[:4]:
        if folder.is_dir():
            shutil.copytree(folder, fewer / folder.name)
    both = ("--data", people, "--data", fewer, "--work", work, "--bundle", sface_bundle)
    chosen = ("--protocol", "open-set", "--out", tmp_path / "out", "--json")
    code, out, err = run(capsys, *both, *chosen)
    assert code == 0, err
    sets = json.loads(out)["sets"]
    assert json.loads((tmp_path / "out/evaluation.json").read_text()) == {"sets": sets}
    for name, figures in sets.items():
        assert (tmp_path / "out" / name / "report.html").is_file()
        assert json.loads((tmp_path / "out" / name / "evaluation.json").read_text()) == figures
        assert {row["name"]: row["people"] for row in figures["populations"]} == {
            other: one["people"] for other, one in sets.items()
        }
    assert {figures["people"] for figures in sets.values()} == {4, 5}
    code, out, _ = run(capsys, *both, "--protocol", "open-set")
    assert code == 0
    assert out.split("\n")[0].split() == list(sets)
    assert "strangers named, by population:" in out


def test_a_protocol_is_one_entry_of_the_registry(people, work, sface_bundle, monkeypatch):
    def toy(task: ProtocolInput) -> dict[str, Any]:
        return {"toy": {"faces_per_person": len(task.faces) / task.faces.people}}

    monkeypatch.setattr("faceops.release.evaluate.evaluate.PROTOCOLS", {"toy": toy})
    request = FolderRequest(people, "toy", work=work)
    figures = evaluate_folder(open_model(sface_bundle), request, Params(), 1).result.figures
    assert figures["protocol"] == "toy" and 2 < figures["toy"]["faces_per_person"] <= 3


def test_a_foreign_embedder_is_compared_with_a_release(
    people, work, sface_bundle, weights_dir, tmp_path, capsys
):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    shutil.copy(weights_dir / "face_recognition_sface_2021dec.onnx", foreign / "embedder.onnx")
    (foreign / "adapter.json").write_text('{"layout": "NCHW", "colour": "RGB"}')
    both = ("--bundle", sface_bundle, "--bundle", foreign, "--data", people, "--work", work)
    listed = tmp_path / "people.txt"
    names = sorted({path.parent.name for path in people.glob("photos/*/*")})[:4]
    listed.write_text("4\n" + "".join(f"{name}\t4\n" for name in names))
    code, out, err = run(capsys, *both, "--protocol", "closed-set", "--people", listed, "--json")
    assert code == 0, err
    ours, theirs = json.loads(out)["bundles"]
    assert ours["people"] == theirs["people"] == 4
    assert ours["closed_set"] == theirs["closed_set"]  # ranks by a falling distance are the same
    assert "made elsewhere" in theirs["data"]["seen"]["told"]
    assert len(list(work.iterdir())) == 1  # faces were detected once for both
    code, out, _ = run(capsys, *both, "--protocol", "pairs", "--json")
    ours, theirs = json.loads(out)["bundles"]
    assert "uncalibrated" not in ours
    assert "nothing was calibrated" in theirs["uncalibrated"]
    assert "accuracy" in ours["random_pairs"]
    assert not [name for name in theirs["random_pairs"] if name.startswith("accuracy")]
    rate = "val_at_far_0.01"
    assert ours["random_pairs"][rate] == theirs["random_pairs"][rate]
    code, out, _ = run(capsys, *both, "--protocol", "promise")
    assert code == 0
    assert str(foreign) in out.splitlines()[0]


def test_an_interrupted_evaluation_continues(people, sface_bundle, tmp_path, monkeypatch):
    model, photos = open_model(sface_bundle), labelled_photos(people)
    whole = embed_photos(model, photos, frozenset(), tmp_path, threads=2)
    (store,) = tmp_path.iterdir()
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    # A kill in the middle: half a line, a crop without a line, an embedding half written.
    lines = before["photos.jsonl"].splitlines(keepends=True)
    (store / "photos.jsonl").write_bytes(b"".join(lines[:-3]) + lines[-3][:20])
    vectors = next(store.glob("embedded-*"))
    vectors.write_bytes(before[vectors.name][:700])
    again = embed_photos(model, photos, frozenset(), tmp_path, threads=2)
    assert np.array_equal(again.faces.embeddings, whole.faces.embeddings)
    assert again.photos == whole.photos
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before

    def never(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr("faceops.faces.find_faces.FaceFinder.find", never)
    monkeypatch.setattr("faceops.release.bundle.Bundle.embed", never)
    third = embed_photos(open_model(sface_bundle), photos, frozenset(), tmp_path, threads=1)
    assert np.array_equal(third.faces.embeddings, whole.faces.embeddings)
    assert third.faces.missing == whole.faces.missing
    aside = frozenset([whole.photo_ids[0]])
    quarantined = embed_photos(open_model(sface_bundle), photos, aside, tmp_path, threads=1)
    assert quarantined.reasons["quarantined"] >= 1
    copies = embed_photos(model, photos, frozenset(), tmp_path, threads=1, duplicates=True)
    assert len(copies.faces) == len(whole.faces) + 1


def test_a_store_is_locked_by_one_run(tmp_path):
    with (
        PhotoStore(tmp_path),
        pytest.raises(FaceOpsError, match="in use by another"),
        PhotoStore(tmp_path),
    ):
        pass


def test_people_are_found_in_a_plain_tree_and_in_any_spelling(people):
    plain = labelled_photos(people / "photos")
    assert [p.person for p in plain] == [p.person for p in labelled_photos(people)]
    person = next(p.person for p in plain if p.person)
    some = labelled_photos(people, [person.lower().replace("_", " ")])
    assert {photo.person for photo in some} == {person}


def test_wrong_folders_and_lists_are_one_sentence(people, tmp_path):
    with pytest.raises(UsageError, match="holds no photos of people"):
        labelled_photos(tmp_path)
    (tmp_path / "all" / "ada").mkdir(parents=True)
    photo = next(p.file for p in labelled_photos(people) if p.person)
    (tmp_path / "all" / "1.jpg").symlink_to(photo)
    with pytest.raises(UsageError, match=r"of one person only, all; figures need photos of two"):
        labelled_photos(tmp_path)
    (tmp_path / "all" / "ada" / "1.jpg").symlink_to(photo)
    with pytest.raises(UsageError, match=r"its folders are the people, name .*all\.$"):
        labelled_photos(tmp_path)
    with pytest.raises(UsageError, match="has no photos of Nobody; correct --people"):
        labelled_photos(people, ["Nobody"])
    with pytest.raises(UsageError, match=r"name .*data\.$"):
        labelled_photos(people.parent)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--protocol", "pairs"], "needs --data DIR"),
        (["--protocol", "pipeline", "--data", "a"], "takes no --data"),
        (["--people", "list.txt"], "--people needs --data"),
        (["--bundle", "a", "--bundle", "a", "--out", "x"], "--out takes one --bundle"),
        (["--bundle", "a"], "neither a release"),
        (["--bundle", "a", "--protocol", "all", "--data", "none"], "neither a release"),
    ],
)
def test_a_wrong_call_is_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("{}\n")
    (tmp_path / "a").mkdir()
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1
