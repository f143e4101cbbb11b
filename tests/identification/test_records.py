"""The three record files hold the same rows, in the columns of the registry."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.reasons import DecisionKind, Reason
from faceops.identification.engine.decide import Candidate, Decision
from faceops.identification.records import records
from faceops.identification.records.records import (
    COLUMNS,
    Column,
    Record,
    RunOrigin,
    open_writers,
    records_of,
)
from faceops.identification.state.found_photo import FoundFace, FoundPhoto

NAMES = [
    *("run_id", "photo_id", "photo_path", "face_index", "x", "y", "width", "height"),
    *("detector_score", "quality", "decision", "person", "probability", "distance"),
    *("runner_up", "runner_up_probability", "reason", "release", "contract_id", "turned"),
    "stranger_share",
]
HOSTILE = [
    *('=HYPERLINK("http://x")', "+1", "-2", "@cmd", 'quo"te, comma'),
    *("two\nlines", "<b>&amp;", "名前 Ω"),
]
ORIGIN = RunOrigin("r", "R", "c")
FACE = FoundFace((1, 2, 30, 40), 0.9, 0.8, np.zeros(8, np.float32), b"")


def row(person: str | None, number: int) -> Record:
    known = {"run_id": "r", "decision": "identified", "face_index": number, "x": 1.5}
    return {**dict.fromkeys(NAMES), **known, "photo_path": f"{person}.jpg", "person": person}


def rows_by_format(folder: Path) -> dict[str, list[dict[str, Any]]]:
    with (folder / "faces.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    lines = (folder / "faces.jsonl").read_text("utf-8").split("\n")[:-1]
    return {
        "parquet": pq.read_table(folder / "faces.parquet").to_pylist(),
        "jsonl": [json.loads(line) for line in lines],
        "csv": cells,
    }


def test_columns_are_the_documented_ones(tmp_path: Path, repository: Path) -> None:
    with open_writers(tmp_path):
        pass
    assert pq.read_table(tmp_path / "faces.parquet").column_names == NAMES
    assert (tmp_path / "faces.csv").read_text().splitlines() == [",".join(NAMES)]
    page = (repository / "docs/your-own-photos.md").read_text("utf-8")
    paragraph = page.split("Rows have the columns")[1].split(". ")[0]
    assert re.findall(r"`(\w+)`", paragraph) == NAMES
    assert all(column.doc for column in COLUMNS)


def test_a_new_column_is_one_entry_and_appears_in_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area = Column(
        "area",
        pa.float64(),
        "of the box, upright pixels",
        lambda source: source.face.box[2] * source.face.box[3] if source.face else None,
    )
    monkeypatch.setattr(records, "COLUMNS", (*COLUMNS, area))
    photo = FoundPhoto("a" * 64, None, (FACE,))
    decision = Decision(DecisionKind.UNKNOWN, Reason.GALLERY_EMPTY)
    with open_writers(tmp_path) as writers:
        writers.write(records_of(ORIGIN, "a.jpg", photo, [decision]))
        writers.write(records_of(ORIGIN, "b.jpg", FoundPhoto(None, Reason.EMPTY), []))
    found = rows_by_format(tmp_path)
    for kind, empty in (("parquet", None), ("jsonl", None), ("csv", "")):
        values = [each["area"] for each in found[kind]]
        assert values == ([1200.0, None] if empty is None else ["1200", ""])
    assert pq.read_schema(tmp_path / "faces.parquet").field("area").type == pa.float64()


def test_hostile_text_survives_in_every_format_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    rows = [row(person, number) for number, person in enumerate([*HOSTILE, None])]
    with open_writers(tmp_path) as writers:
        writers.write(rows)
    found = rows_by_format(tmp_path)
    assert found["parquet"] == found["jsonl"] == rows
    cells = [each["person"] for each in found["csv"]]
    assert [cell.removeprefix("'") for cell in cells] == [*HOSTILE, ""]
    everything = [cell for each in found["csv"] for cell in each.values()]
    assert not [cell for cell in everything if cell.startswith(("=", "+", "-", "@"))]


def test_many_rows_come_out_in_order(tmp_path: Path) -> None:
    with open_writers(tmp_path) as writers:
        for start in range(0, 12_000, 100):
            writers.write([row("Ann", number) for number in range(start, start + 100)])
    table = pq.read_table(tmp_path / "faces.parquet")
    assert table["face_index"].to_pylist() == list(range(12_000))


def test_probabilities_near_one_stay_apart_in_every_format(tmp_path: Path) -> None:
    one = np.float32(1)
    values = [np.nextafter(one, np.float32(0)), np.float32(0.9999987), np.float32(1e-9), one]
    decisions = [
        Decision(
            DecisionKind.UNKNOWN,
            Reason.BELOW_THRESHOLD,
            Candidate("Ann", float(value), 0.5, 18.5, float(value)),
            Candidate("Ben", float(value), 0.6, 18.0),
        )
        for value in values
    ]
    photo = FoundPhoto("a" * 64, None, (FACE,) * len(values))
    with open_writers(tmp_path) as writers:
        writers.write(records_of(ORIGIN, "a.jpg", photo, decisions))
    schema = pq.read_schema(tmp_path / "faces.parquet")
    found = rows_by_format(tmp_path)
    for column in ("probability", "runner_up_probability", "stranger_share"):
        assert schema.field(column).type == "float"
        for rows in found.values():
            assert [np.float32(each[column]) for each in rows] == values
    assert found["csv"][1]["probability"] == "0.9999987"


def test_no_share_of_strangers_is_stated_without_normalised_scores(tmp_path: Path) -> None:
    decisions = [
        Decision(DecisionKind.UNKNOWN, Reason.BELOW_THRESHOLD, Candidate("Ann", 0.5, 1.0)),
        Decision(DecisionKind.REJECTED, Reason.LOW_QUALITY),
    ]
    with open_writers(tmp_path) as writers:
        writers.write(
            records_of(ORIGIN, "a.jpg", FoundPhoto("a" * 64, None, (FACE,) * 2), decisions)
        )
    found = rows_by_format(tmp_path)
    assert [row["stranger_share"] for row in found["parquet"] + found["csv"]] == [
        None,
        None,
        "",
        "",
    ]
