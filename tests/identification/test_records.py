"""The three record files hold the same rows, in the columns of the registry."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.reasons import CODES, IDENTIFIED, REJECTED, UNKNOWN, Reason
from faceops.identification.engine.decide import FaceDecisions, NamedBlock
from faceops.identification.records import records
from faceops.identification.records.records import (
    COLUMNS,
    Column,
    RunOrigin,
    record_files,
    records_of,
)
from faceops.identification.state.photo_block import PhotoBlock
from tests.identification.columns import block, photo

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


def named(people: Sequence[str], photos: PhotoBlock, paths: Sequence[str]) -> NamedBlock:
    """Photos whose faces are given the names of `people` in turn."""
    faces = len(photos.faces)
    decisions = replace(
        FaceDecisions.without_names(faces),
        kind=np.full(faces, IDENTIFIED, np.int8),
        best=(np.arange(faces) % len(people)).astype(np.int32),
    )
    return NamedBlock(photos, paths, decisions, people)


def rows_by_format(folder: Path) -> dict[str, list[dict[str, Any]]]:
    with (folder / "faces.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    lines = (folder / "faces.jsonl").read_text("utf-8").split("\n")[:-1]
    return {
        "parquet": pq.read_table(folder / "faces.parquet").to_pylist(),
        "jsonl": [json.loads(line) for line in lines],
        "csv": cells,
    }


def test_columns_are_the_documented_ones(tmp_path, repository):
    with record_files(tmp_path):
        pass
    assert pq.read_table(tmp_path / "faces.parquet").column_names == NAMES
    assert (tmp_path / "faces.csv").read_text().splitlines() == [",".join(NAMES)]
    page = (repository / "docs/your-own-photos.md").read_text("utf-8")
    paragraph = page.split("Rows have the columns")[1].split(". ")[0]
    assert re.findall(r"`(\w+)`", paragraph) == NAMES
    assert all(column.doc for column in COLUMNS)


def test_a_new_column_is_one_entry_and_appears_in_every_format(tmp_path, monkeypatch):
    area = Column(
        "area", pa.float64(), "of the box, upright pixels", lambda rows: rows.box(2) * rows.box(3)
    )
    monkeypatch.setattr(records, "COLUMNS", (*COLUMNS, area))
    photos = block(photo("a" * 64, [0.8]), photo(None, reason=Reason.EMPTY))
    unnamed = NamedBlock(photos, ["a.jpg", "b.jpg"], FaceDecisions.without_names(1), [])
    with record_files(tmp_path) as write_rows:
        write_rows(ORIGIN, unnamed)
    found = rows_by_format(tmp_path)
    for kind, empty in (("parquet", None), ("jsonl", None), ("csv", "")):
        values = [each["area"] for each in found[kind]]
        assert values == ([1200.0, None] if empty is None else ["1200", ""])
    assert pq.read_schema(tmp_path / "faces.parquet").field("area").type == pa.float64()


def test_hostile_text_survives_in_every_format_and_no_cell_is_a_formula(tmp_path):
    photos = block(*(photo(f"{number:064x}", [0.8]) for number in range(len(HOSTILE))))
    paths = [f"{person}.jpg" for person in HOSTILE]
    with record_files(tmp_path) as write_rows:
        write_rows(ORIGIN, named(HOSTILE, photos, paths))
    found = rows_by_format(tmp_path)
    assert found["parquet"] == found["jsonl"] == records_of(ORIGIN, named(HOSTILE, photos, paths))
    assert [each["person"] for each in found["jsonl"]] == HOSTILE
    assert [each["photo_path"] for each in found["jsonl"]] == paths
    cells = [each["person"] for each in found["csv"]]
    assert [cell.removeprefix("'") for cell in cells] == HOSTILE
    everything = [cell for each in found["csv"] for cell in each.values()]
    assert not [cell for cell in everything if cell.startswith(("=", "+", "-", "@"))]


def test_the_rows_are_those_of_the_photos_in_order(tmp_path):
    turned = replace(photo("b" * 64, [0.123456, 0.5]), turned=90)
    turned.faces["forgotten"][1] = True
    blocks = [
        block(photo("a" * 64, reason=Reason.NO_FACE), turned, photo(None, reason=Reason.VANISHED)),
        block(photo("c" * 64, [0.9]), photo("d" * 64, reason=Reason.NO_FACE)),
    ]
    refused = replace(
        FaceDecisions.without_names(2),
        kind=np.array([UNKNOWN, REJECTED], np.int8),
        reason=np.array([CODES[Reason.BELOW_THRESHOLD], CODES[Reason.FORGOTTEN]]),
        best=np.array([1, -1]),
        probability=np.array([0.25, np.nan], np.float32),
        distance=np.array([0.1234567, np.nan], np.float32),
    )
    with record_files(tmp_path) as write_rows:
        write_rows(ORIGIN, NamedBlock(blocks[0], ["a", "b", "n"], refused, ["Ann", "Ben"]))
        write_rows(ORIGIN, named(["Ann"], blocks[1], ["c", "d"]))
    nothing = dict.fromkeys(NAMES)
    run = {"run_id": "r", "release": "R", "contract_id": "c", "turned": 0}
    empty = {**nothing, **run, "decision": "rejected"}
    face = {**run, "x": 1.0, "y": 2.0, "width": 30.0, "height": 40.0, "detector_score": 0.9}
    expected = [
        {**empty, "photo_id": "a" * 64, "photo_path": "a", "reason": "no_face"},
        {**nothing, **face, "photo_id": "b" * 64, "photo_path": "b", "face_index": 0, "turned": 90,
         "quality": 0.1235, "decision": "unknown", "reason": "below_threshold",
         "probability": 0.25, "distance": 0.12346},
        {**nothing, **face, "photo_id": "b" * 64, "photo_path": "b", "face_index": 1, "turned": 90,
         "quality": 0.5, "decision": "rejected", "reason": "forgotten"},
        {**empty, "photo_path": "n", "reason": "vanished"},
        {**nothing, **face, "photo_id": "c" * 64, "photo_path": "c", "face_index": 0,
         "quality": 0.9, "decision": "identified", "person": "Ann"},
        {**empty, "photo_id": "d" * 64, "photo_path": "d", "reason": "no_face"},
    ]  # fmt: skip
    found = rows_by_format(tmp_path)
    assert found["parquet"] == expected
    assert found["jsonl"] == expected
    cells = [{name: "" if v is None else v for name, v in row.items()} for row in expected]
    assert [row["face_index"] for row in found["csv"]] == [str(row["face_index"]) for row in cells]
    assert [row["decision"] for row in found["csv"]] == [row["decision"] for row in cells]


def test_probabilities_near_one_stay_apart_in_every_format(tmp_path):
    one = np.float32(1)
    values = [np.nextafter(one, np.float32(0)), np.float32(0.9999987), np.float32(1e-9), one]
    column = np.array(values, np.float32)
    photos = block(photo("a" * 64, [0.8] * len(values)))
    decisions = replace(
        FaceDecisions.without_names(len(values)),
        best=np.zeros(4, np.int32),
        runner_up=np.ones(4, np.int32),
        probability=column,
        runner_up_probability=column,
        stranger_share=column,
    )
    with record_files(tmp_path) as write_rows:
        write_rows(ORIGIN, NamedBlock(photos, ["a.jpg"], decisions, ["Ann", "Ben"]))
    schema = pq.read_schema(tmp_path / "faces.parquet")
    found = rows_by_format(tmp_path)
    for name in ("probability", "runner_up_probability", "stranger_share"):
        assert schema.field(name).type == "float"
        for rows in found.values():
            assert [np.float32(each[name]) for each in rows] == values
    assert found["csv"][1]["probability"] == "0.9999987"
