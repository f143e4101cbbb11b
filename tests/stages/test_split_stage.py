"""The split stage: each person is in one split, and the expectations check it."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.dataset.data_folder import (
    PERSON,
    STRANGER,
    ReviewedFace,
    write_hard_negatives,
    write_reviewed,
)
from faceops.dataset.expectations import check_split, stop_on_hard_failures
from faceops.dataset.splits import SCHEMA
from faceops.stages.split import main


def write_faces(place: Path, people: int) -> None:
    """Write build/crop/faces.parquet: people with 1 to 4 photos, one face in ten rejected."""
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


def test_every_accepted_face_is_in_one_split(place):
    main()
    rows = faces(place)
    cropped = pq.read_table(place / "build/crop/faces.parquet").to_pylist()
    accepted = [row["crop"] for row in cropped if row["status"] == "accepted"]
    assert [row["crop"] for row in rows] == accepted
    photos = Counter(row["person"] for row in rows)
    assert len({(row["person"], row["split"]) for row in rows}) == len(photos)
    assert all(row["negative_only"] == (photos[row["person"]] == 1) for row in rows)
    report = json.loads((place / "build/split/split.json").read_text())
    assert sum(report[split]["photos"] for split in ("train", "val", "test")) == len(rows)
    assert report["expectations"]["split_disjoint"]["success"]
    before = (place / "build/split/faces.parquet").read_bytes()
    main()
    assert (place / "build/split/faces.parquet").read_bytes() == before


def test_confirmed_people_train_and_ignored_strangers_calibrate(place):
    main()
    before = {row["person"]: row["split"] for row in faces(place)}
    confirmed = [person for person, split in before.items() if split == "test"][:4]
    (stranger,) = [person for person, split in before.items() if split == "train"][:1]
    paths = [f"photos/{person}/crop.jpg" for person in (*confirmed, stranger)]
    kinds = [PERSON] * 4 + [STRANGER]
    box = (0.0, 0.0, 9.0, 9.0)
    reviewed = [
        ReviewedFace(path, kind, "a" * 64, box, "b" * 32)
        for path, kind in zip(paths, kinds, strict=True)
    ]
    write_reviewed(place / "build/validate/inputs/reviewed.csv", reviewed)
    several = [p for p in confirmed if sum(row["person"] == p for row in faces(place)) > 1]
    pairs = {(several[0].lower(), several[1]): 3, (several[0], stranger): 1, ("Nobody", "Else"): 1}
    write_hard_negatives(place / "build/validate/inputs/hard_negatives.csv", pairs)
    main()
    after = {row["person"]: row["split"] for row in faces(place)}
    assert {after[person] for person in confirmed} == {"train"}
    assert after[stranger] == "val"
    others = before.keys() - {*confirmed, stranger}
    assert {p: after[p] for p in others} == {p: before[p] for p in others}
    used = pq.read_table(place / "build/split/hard_negatives.parquet").to_pylist()
    assert used == [{"person": several[0], "other": several[1]}]


def test_split_by_lfw_follows_its_lists(place):
    (place / "params.yaml").write_text("split: {by: lfw}\n")
    with pytest.raises(FaceOpsError, match=r"data/protocols/lfw/peopleDevTrain\.txt is missing"):
        main()
    lists = place / "build/validate/inputs"
    lists.mkdir(parents=True)
    for name, people in (("Train", range(90)), ("Test", range(90, 120))):
        lines = [f"Person_{number}\t1\n" for number in people]
        (lists / f"peopleDev{name}.txt").write_text(f"{len(lines)}\n{''.join(lines)}")
    main()
    for row in faces(place):
        assert (row["split"] == "test") == (int(row["person"].split("_")[1]) >= 90)


def test_people_below_min_photos_are_negatives_only(place):
    (place / "params.yaml").write_text("validate: {min_photos: 3}\n")
    main()
    rows = faces(place)
    photos = Counter(row["person"] for row in rows)
    assert {photos[row["person"]] for row in rows if row["negative_only"]} == {1, 2}
    assert {photos[row["person"]] for row in rows if not row["negative_only"]} <= {3, 4}
    (place / "params.yaml").write_text("validate: {min_photos: 5}\n")
    with pytest.raises(FaceOpsError, match="too few people have 5 accepted photos"):
        main()


def test_too_few_people_and_a_missing_input_are_errors(place):
    write_faces(place, 5)
    with pytest.raises(FaceOpsError, match="import more people"):
        main()
    (place / "build/crop/faces.parquet").unlink()
    with pytest.raises(FaceOpsError, match="does not exist; run"):
        main()


def test_a_person_in_two_splits_is_a_hard_failure():
    rows = [
        {"crop": 0, "photo_id": "a", "person": "Ann Lee", "split": "train"},
        {"crop": 1, "photo_id": "b", "person": "ann_lee", "split": "test"},
        {"crop": 2, "photo_id": "c", "person": "Bo", "split": "train"},
        {"crop": 3, "photo_id": "c", "person": "Cy", "split": "val"},
    ]
    rows = [row | {"path": "", "negative_only": False} for row in rows]
    results = check_split(pa.Table.from_pylist(rows, schema=SCHEMA), 2, ["split_disjoint"])
    found = {result.name: result for result in results}
    assert found["split_disjoint"].examples == ["ann lee", "c"]
    assert found["singles_negative_only"].examples == ["bo", "cy"]
    with pytest.raises(FaceOpsError, match="split_disjoint"):
        stop_on_hard_failures(results, "split.json")


def test_a_wrong_negative_only_is_found():
    rows = [
        {"crop": n, "photo_id": str(n), "path": "", "person": person, "split": "train"}
        | {"negative_only": n in (2, 3, 4, 5)}
        for n, person in enumerate(["Ann", "Ann", "Bo", "Bo", "Bo", "Cy", "Cy", "Cy"])
    ]
    results = check_split(pa.Table.from_pylist(rows, schema=SCHEMA), 3, ["singles_negative_only"])
    (found,) = [one for one in results if one.name == "singles_negative_only"]
    assert found.examples == ["ann", "bo", "cy"]
