"""The split stage: who trains, validates, tests, and what it says when it cannot be."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.dataset.expectations import check_split
from faceops.dataset.run_expectations import stop_on_hard_failures
from faceops.dataset.splits import SCHEMA
from faceops.stages.split import main


def write_faces(place: Path, people: int) -> None:
    """Write build/crop/faces.parquet: people of 1 to 4 photos, one face in ten rejected."""
    rows = []
    crop = 0
    for person in range(people):
        for number in range(1 + person % 4):
            rejected = len(rows) % 10 == 9
            name = f"Person_{person}"
            rows.append(
                {
                    "crop": -1 if rejected else crop,
                    "photo_id": f"{person}-{number}",
                    "path": f"photos/{name}/{number}.jpg",
                    "person": name,
                    "status": "rejected" if rejected else "accepted",
                    "reason": "no_face" if rejected else "",
                }
            )
            crop += not rejected
    (place / "build/crop").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), place / "build/crop/faces.parquet")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("")
    write_faces(tmp_path, 120)
    return tmp_path


def faces(place: Path) -> list[dict]:
    table = pq.read_table(place / "build/split/faces.parquet")
    assert table.schema == SCHEMA
    return table.to_pylist()


def test_every_accepted_face_is_in_one_split(place: Path) -> None:
    main()
    rows = faces(place)
    accepted = [
        row
        for row in pq.read_table(place / "build/crop/faces.parquet").to_pylist()
        if row["status"] == "accepted"
    ]
    assert [row["crop"] for row in rows] == [row["crop"] for row in accepted]
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["person"], set()).add(row["split"])
        alone = sum(other["person"] == row["person"] for other in rows) == 1
        assert row["negative_only"] == alone
    assert all(len(where) == 1 for where in splits.values())
    told = json.loads((place / "build/split/split.json").read_text())
    assert sum(told[split]["photos"] for split in ("train", "val", "test")) == len(rows)
    assert told["expectations"]["split_disjoint"]["success"]
    before = (place / "build/split/faces.parquet").read_bytes()
    main()
    assert (place / "build/split/faces.parquet").read_bytes() == before


def test_lfw_lists_are_followed_or_asked_for(place: Path) -> None:
    (place / "params.yaml").write_text("split: {by: lfw}\n")
    with pytest.raises(FaceOpsError, match=r"peopleDevTrain\.txt is missing"):
        main()
    lists = place / "build/validate/inputs"
    lists.mkdir(parents=True)
    train = "".join(f"Person_{n}\t1\n" for n in range(90))
    test = "".join(f"Person_{n}\t1\n" for n in range(90, 120))
    (lists / "peopleDevTrain.txt").write_text(f"90\n{train}")
    (lists / "peopleDevTest.txt").write_text(f"30\n{test}")
    main()
    for row in faces(place):
        in_test = int(row["person"].split("_")[1]) >= 90
        assert (row["split"] == "test") == in_test


def test_too_few_people_stop(place: Path) -> None:
    write_faces(place, 5)
    with pytest.raises(FaceOpsError, match="import more people"):
        main()


def test_missing_faces_are_told(place: Path) -> None:
    (place / "build/crop/faces.parquet").unlink()
    with pytest.raises(FaceOpsError, match="run the stage crop first"):
        main()


def test_a_leak_between_splits_is_a_hard_failure() -> None:
    rows = [
        {"crop": 0, "photo_id": "a", "person": "Ann Lee", "split": "train"},
        {"crop": 1, "photo_id": "b", "person": "ann_lee", "split": "test"},
        {"crop": 2, "photo_id": "c", "person": "Bo", "split": "train"},
        {"crop": 3, "photo_id": "c", "person": "Cy", "split": "val"},
    ]
    told = [row | {"path": "", "negative_only": False} for row in rows]
    outcomes = check_split(pa.Table.from_pylist(told, schema=SCHEMA), 2, ["split_disjoint"])
    found = {outcome.name: outcome for outcome in outcomes}
    assert found["split_disjoint"].examples == ["ann lee", "c"]
    assert found["singles_negative_only"].examples == ["bo", "cy"]
    with pytest.raises(FaceOpsError, match="split_disjoint"):
        stop_on_hard_failures(outcomes, "split.json")


def test_people_with_fewer_than_min_photos_are_negatives_only(place: Path) -> None:
    (place / "params.yaml").write_text("validate: {min_photos: 3}\n")
    main()
    rows = faces(place)
    photos = Counter(row["person"] for row in rows)
    assert {photos[row["person"]] for row in rows if row["negative_only"]} == {1, 2}
    assert {photos[row["person"]] for row in rows if not row["negative_only"]} <= {3, 4}
    told = json.loads((place / "build/split/split.json").read_text())
    assert told["expectations"]["singles_negative_only"]["success"]
    (place / "params.yaml").write_text("validate: {min_photos: 5}\n")
    with pytest.raises(FaceOpsError, match="too few people have 5 accepted photos"):
        main()


def test_a_wrong_column_negative_only_is_found() -> None:
    rows = [
        {"crop": n, "photo_id": str(n), "path": "", "person": person, "split": "train"}
        for n, person in enumerate(["Ann", "Ann", "Bo", "Bo", "Bo", "Cy", "Cy", "Cy"])
    ]
    told = [row | {"negative_only": n in (2, 3, 4, 5)} for n, row in enumerate(rows)]
    outcomes = check_split(pa.Table.from_pylist(told, schema=SCHEMA), 3, ["singles_negative_only"])
    (found,) = [one for one in outcomes if one.name == "singles_negative_only"]
    assert found.examples == ["ann", "bo", "cy"]
