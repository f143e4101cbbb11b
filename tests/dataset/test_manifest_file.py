"""The manifest's file: deterministic, sorted, and told when it is none."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.dataset.manifest import SCHEMA, manifest_table, read_manifest, write_manifest
from faceops.dataset.quarantine import read_quarantine


def row(path: str) -> dict[str, object]:
    return {
        "photo_id": path,
        "path": path,
        "person": "Ann",
        "width": 10,
        "height": 20,
        "source": "tree",
        "split": "",
        "status": "accepted",
        "reason": "",
    }


def test_the_order_of_rows_does_not_change_the_bytes(tmp_path: Path) -> None:
    rows = [row(f"photos/Ann/{number}.jpg") for number in range(5)]
    write_manifest(manifest_table(rows), tmp_path / "a.parquet")
    write_manifest(manifest_table(rows[::-1]), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    table = read_manifest(tmp_path / "a.parquet")
    assert table.schema == SCHEMA
    assert table.to_pylist() == rows


def test_what_is_no_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(FaceOpsError, match="run the stage validate first"):
        read_manifest(tmp_path / "nowhere.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(FaceOpsError, match="is not a manifest"):
        read_manifest(tmp_path / "text.parquet")
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(FaceOpsError, match="no column photo_id"):
        read_manifest(tmp_path / "other.parquet")


def test_the_list_of_a_person(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.csv"
    assert read_quarantine(path) == {}
    path.write_text(f"photo_id,reason\n{'A' * 64},not her\n")
    assert read_quarantine(path) == {"a" * 64: "not her"}
    path.write_text("photo_id,reason\nAnn/1.jpg,not her\n")
    with pytest.raises(FaceOpsError, match="line 2"):
        read_quarantine(path)
