"""Unknown faces keep their groups from run to run, as long as they were compared alike."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.identification.unknown.unknown_people import find_unknown_people
from faceops.verification.verifier import Verifier

SIZE = 33  # an odd one
Row = tuple[str, int | None, float]  # photo, face, and the angle of its embedding
Group = Callable[..., dict[str, set[str]]]
COLUMNS = ("x", "y", "width", "height", "quality")


def embedding(angle: float) -> np.ndarray:
    """A unit vector: each full turn is in a plane of its own."""
    plane = int(angle // 360)
    row = np.zeros(SIZE, np.float32)
    row[2 * plane : 2 * plane + 2] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return row


@pytest.fixture
def group(tmp_path: Path) -> Group:
    """Groups rows and returns the photos (and faces but the first) of each unknown person."""

    def run(
        rows: Sequence[Row],
        threshold: Callable[[int], float] = lambda faces: 0.5,
        named: Sequence[Row] = (),
        turn: float = 0,
    ) -> dict[str, set[str]]:
        reasons = [
            "no_face" if row[1] is None else None if row in named else "below_threshold"
            for row in rows
        ]
        table = {
            "photo_id": pa.array([photo.split("/")[-1] for photo, _, _ in rows], pa.string()),
            "photo_path": pa.array([photo for photo, _, _ in rows], pa.string()),
            "face_index": pa.array([face for _, face, _ in rows], pa.int32()),
            **dict.fromkeys(COLUMNS, pa.array([0.5] * len(rows), pa.float64())),
            "reason": pa.array(reasons, pa.string()),
        }
        pq.write_table(pa.table(table), tmp_path / "faces.parquet")
        weight = np.full(SIZE, -12, np.float32)  # one half at a cosine of 0.625, 51 degrees
        bundle: Any = SimpleNamespace(
            verify=Verifier(weight, 9.0, "distance").probability,
            release=SimpleNamespace(
                embedding_size=SIZE,
                thresholds=SimpleNamespace(
                    default_budget=0.01, for_groups=lambda budget, faces: threshold(faces)
                ),
            ),
        )
        faces = [embedding(angle + turn) for _, face, angle in rows if face is not None]
        found = find_unknown_people(
            tmp_path / "faces.parquet",
            np.array(faces).reshape(-1, SIZE),
            bundle,
            tmp_path / "state",
        )
        assert found.grouped_faces + len(found.alone) == found.faces.num_rows
        photos = {}
        for person in found.people:
            rows = found.faces.take(person.rows).to_pylist()
            photos[person.name] = {row["photo_path"] + "*" * row["face_index"] for row in rows}
        return photos

    return run


ALBUM: list[Row] = [
    ("a1", 0, 0),
    ("empty", None, 0),
    ("b1", 0, 360),
    ("a2", 0, 20),
    ("b2", 0, 380),
    ("b2", 1, 725),
    ("c1", 0, 1080),
    ("known", 0, 370),
]
KNOWN = ALBUM[-1:]
FOUND = {"unknown-001": {"a1", "a2"}, "unknown-002": {"b1", "b2"}}


def stored(folder: Path, what: str = "count(*)") -> Any:
    with closing(sqlite3.connect(folder / "state")) as db:
        return db.execute(f"SELECT {what} FROM unknown_faces").fetchone()[0]


def test_new_faces_join_their_people_wherever_they_are_in_the_records(group, tmp_path):
    assert group(ALBUM, named=KNOWN) == FOUND
    assert group(ALBUM, named=KNOWN) == FOUND
    assert stored(tmp_path, "sum(grouped)") == 4 and stored(tmp_path, "count(grouped)") == 6
    more = [("a0", 0, 15.0), *ALBUM, ("c2", 0, 1100.0), ("folder/b2", 0, 380.0), ("d", 0, 1500.0)]
    assert group(more, named=KNOWN) == {
        "unknown-001": {"a0", "a1", "a2"},
        "unknown-002": {"b1", "b2", "folder/b2"},  # a copy
        "unknown-003": {"c1", "c2"},
    }
    # The face of a person who is enrolled now leaves; it returns to the same person.
    gone = [("b1", 0, 360.0), ("b2", 0, 380.0), ("folder/b2", 0, 380.0)]
    assert "unknown-002" not in group(more, named=[*KNOWN, *gone])
    assert stored(tmp_path, "count(number)") == 7 and stored(tmp_path, "sum(grouped)") == 5
    assert group(more, named=KNOWN)["unknown-002"] == {"b1", "b2", "folder/b2"}


def test_the_threshold_stays_until_the_faces_have_doubled(group):
    def threshold(faces: int) -> float:
        return 0.5 if faces < 9 else 0.999

    apart: list[Row] = [
        ("a1", 0, 0),
        ("a2", 0, 40),
        *((f"x{n}", 0, 360.0 * n) for n in range(1, 6)),
    ]
    assert group(apart, threshold) == {"unknown-001": {"a1", "a2"}}
    more = [*apart, *((f"y{n}", 0, 360.0 * n) for n in range(1, 6))]
    assert group(more, threshold)["unknown-001"] == {"a1", "a2"}
    assert len(group(more, threshold)) == 6
    twice: list[Row] = [*more, ("z1", 0, 3000), ("z2", 0, 3400)]
    assert "unknown-001" not in group(twice, threshold)


def test_other_embeddings_are_grouped_anew_and_keep_their_numbers(group, tmp_path):
    assert group(ALBUM, named=KNOWN) == FOUND
    before = stored(tmp_path, "sum(embedding & 65535)")
    moved = [*ALBUM[:3], ("a2", 0, 100.0), *ALBUM[4:]]
    assert group(moved, named=KNOWN) == {"unknown-002": {"b1", "b2"}}
    assert group(ALBUM, named=KNOWN, turn=5) == FOUND
    assert stored(tmp_path, "sum(embedding & 65535)") != before


def test_numbers_of_earlier_versions_are_kept(group, tmp_path):
    with closing(sqlite3.connect(tmp_path / "state")) as db, db:
        db.execute(
            "CREATE TABLE unknown_faces (photo_id TEXT, face_index INTEGER, number INTEGER, "
            "PRIMARY KEY (photo_id, face_index))"
        )
        db.execute("CREATE TABLE unknown_given (number INTEGER)")
        db.execute("INSERT INTO unknown_given VALUES (7)")
        db.execute("INSERT INTO unknown_faces VALUES ('b1', 0, 4)")
    assert group(ALBUM, named=KNOWN) == {
        "unknown-004": {"b1", "b2"},
        "unknown-008": {"a1", "a2"},
    }


def test_no_unknown_face_is_no_unknown_person(group):
    assert group([]) == group(ALBUM[1:2]) == group(KNOWN, named=KNOWN) == {}
    assert group(ALBUM, named=KNOWN) == FOUND


def test_records_and_embeddings_of_other_lengths_are_refused(group, tmp_path):
    group(ALBUM)
    with pytest.raises(ValueError, match="7 rows with a face, 6 embeddings"):
        find_unknown_people(
            tmp_path / "faces.parquet",
            np.zeros((6, SIZE)),
            None,
            tmp_path / "state",  # type: ignore[arg-type]
        )
