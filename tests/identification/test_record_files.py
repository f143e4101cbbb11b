"""The three record files hold the same rows, in the documented columns."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from faceops.base.reasons import Reason
from faceops.identification.engine.decide import Candidate, Decision, Outcome
from faceops.identification.records.records import SCHEMA, Record, records_of
from faceops.identification.records.writers import RecordWriters
from faceops.identification.state.found_photo import FoundFace, FoundPhoto

COLUMNS = [
    *("run_id", "photo_id", "photo_path", "face_index", "x", "y", "width", "height"),
    *("detector_score", "quality", "decision", "person", "probability", "distance"),
    *("runner_up", "runner_up_probability", "reason", "release", "contract_id"),
]
HOSTILE = [
    '=HYPERLINK("http://x")',
    "+1",
    "-2",
    "@cmd",
    'quo"te, comma',
    "two\nlines",
    "<b>&amp;",
    "名前 Ω",
]


def row(person: str | None, number: int) -> Record:
    empty = dict.fromkeys(Record._fields)
    named = {"run_id": "r", "decision": "identified", "release": "R", "contract_id": "c"}
    face = {"face_index": number, "x": 1.5, "probability": 0.25}
    return Record(**{**empty, **named, **face, "photo_path": f"{person}.jpg", "person": person})


def test_columns_are_the_documented_ones(tmp_path: Path) -> None:
    with RecordWriters(tmp_path):
        pass
    assert list(Record._fields) == SCHEMA.names == COLUMNS
    assert pq.read_table(tmp_path / "faces.parquet").column_names == COLUMNS
    assert (tmp_path / "faces.csv").read_text().splitlines() == [",".join(COLUMNS)]


def test_hostile_text_survives_in_every_format(tmp_path: Path) -> None:
    rows = [row(person, number) for number, person in enumerate([*HOSTILE, None])]
    with RecordWriters(tmp_path) as writers:
        writers.write(rows)
    expected = [one._asdict() for one in rows]
    assert pq.read_table(tmp_path / "faces.parquet").to_pylist() == expected
    lines = (tmp_path / "faces.jsonl").read_text("utf-8").split("\n")[:-1]
    assert [json.loads(line) for line in lines] == expected
    with (tmp_path / "faces.csv").open(encoding="utf-8", newline="") as file:
        cells = [one["person"] for one in csv.DictReader(file)]
    assert [cell.removeprefix("'") for cell in cells] == [*HOSTILE, ""]


def test_no_csv_cell_is_a_formula(tmp_path: Path) -> None:
    with RecordWriters(tmp_path) as writers:
        writers.write([row(person, number) for number, person in enumerate(HOSTILE)])
    with (tmp_path / "faces.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for one in csv.reader(file) for cell in one]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_many_rows_come_out_in_order(tmp_path: Path) -> None:
    with RecordWriters(tmp_path) as writers:
        for start in range(0, 25_000, 100):
            writers.write([row("Ann", number) for number in range(start, start + 100)])
    table = pq.read_table(tmp_path / "faces.parquet")
    assert table["face_index"].to_pylist() == list(range(25_000))


def test_probabilities_near_one_stay_apart_in_every_format(tmp_path: Path) -> None:
    one = np.float32(1)
    values = [np.nextafter(one, np.float32(0)), np.float32(0.9999987), np.float32(1e-9), one]
    face = FoundFace((1, 2, 30, 40), 0.9, 0.8, np.zeros(8, np.float32), b"")
    photo = FoundPhoto("a" * 64, None, (face,) * len(values))
    decisions = [
        Decision(
            Outcome.UNKNOWN,
            Reason.BELOW_THRESHOLD,
            Candidate("Ann", float(value), 0.5),
            Candidate("Ben", float(value), 0.6),
        )
        for value in values
    ]
    with RecordWriters(tmp_path) as writers:
        writers.write(records_of("r", "a.jpg", photo, decisions, "R", "c"))
    table = pq.read_table(tmp_path / "faces.parquet")
    with (tmp_path / "faces.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    for column in ("probability", "runner_up_probability"):
        assert table.schema.field(column).type == "float"
        assert table[column].to_pylist() == [float(value) for value in values]
        assert [np.float32(cell[column]) for cell in cells] == values
        assert [np.float32(line[column]) for line in lines] == values
    assert cells[1]["probability"] == "0.9999987"
