"""What is expected of a run's records: a sound table passes, each kind of fault is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.gallery.store import Gallery
from faceops.identification.mlflow_run import check_records, require_valid_records
from faceops.identification.records.records import schema
from faceops.identification.run import identify
from faceops.release.bundle import Bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(
    synthetic_set: Path, gallery: Gallery, bundle: Bundle, tmp_path_factory: Any
) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("checked") / "out"
    identify(synthetic_set / "album", gallery, bundle, out)
    assert require_valid_records(out / "faces.parquet") >= 6
    found: list[dict[str, Any]] = pq.read_table(out / "faces.parquet").to_pylist()
    return found


def first(rows: list[dict[str, Any]], decision: str) -> dict[str, Any]:
    return next(row for row in rows if row["decision"] == decision and row["x"] is not None)


def twice(rows: list[dict[str, Any]]) -> None:
    row = first(rows, "identified")
    rows.append({**row, "face_index": 99})


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("one_row_a_face", lambda rows: rows.append(dict(first(rows, "unknown")))),
        ("decision_exists", lambda rows: first(rows, "unknown").update(decision="perhaps")),
        ("name_or_reason", lambda rows: first(rows, "identified").update(person=None)),
        ("name_or_reason", lambda rows: first(rows, "unknown").update(reason=None)),
        ("boxes_have_an_area", lambda rows: first(rows, "unknown").update(width=0.0)),
        ("nobody_twice_in_a_photo", twice),
        ("shares_within_0_to_1", lambda rows: first(rows, "unknown").update(probability=1.5)),
        ("one_run_and_release", lambda rows: rows[0].update(contract_id="another")),
    ],
)
def test_a_spoilt_table_fails_its_expectation_and_is_told(
    rows: list[dict[str, Any]],
    name: str,
    spoil: Callable[[list[dict[str, Any]]], None],
    tmp_path: Path,
) -> None:
    copies = [dict(row) for row in rows]
    spoil(copies)
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.Table.from_pylist(copies, schema=schema()), path)
    failed = {outcome.name for outcome in check_records(path) if not outcome.success}
    assert failed == {name}
    with pytest.raises(FaceOpsError, match=name):
        require_valid_records(path)


def test_an_empty_table_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.Table.from_pylist([], schema=schema()), path)
    assert require_valid_records(path) >= 6
