"""The manifest and quarantine.csv: deterministic files, and errors that name the file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.dataset.data_folder import (
    SCHEMA,
    add_to_quarantine,
    manifest_table,
    read_manifest,
    read_quarantine,
    write_manifest,
)

A, B, C = (letter * 64 for letter in "abc")


def row(path: str) -> dict[str, object]:
    numbers = {"width": 10, "height": 20}
    texts = {"person": "Ann", "source": "tree", "split": "", "status": "accepted", "reason": ""}
    return {"photo_id": path, "path": path, **numbers, **texts}


def test_the_order_of_rows_does_not_change_the_bytes(tmp_path):
    rows = [row(f"photos/Ann/{number}.jpg") for number in range(5)]
    write_manifest(manifest_table(rows), tmp_path / "a.parquet")
    write_manifest(manifest_table(rows[::-1]), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    table = read_manifest(tmp_path / "a.parquet")
    assert table.schema == SCHEMA
    assert table.to_pylist() == rows


def test_other_files_are_refused_as_manifest(tmp_path):
    (tmp_path / "text.parquet").write_text("no")
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "other.parquet")
    for name, why in {"nowhere": "does not", "text": "cannot", "other": ".*photo_id"}.items():
        with pytest.raises(FaceOpsError, match=f"{name}.parquet {why}"):
            read_manifest(tmp_path / f"{name}.parquet")


def test_photos_are_added_to_the_quarantine_once(tmp_path):
    file = tmp_path / "quarantine.csv"
    assert read_quarantine(file) == {}
    for empty in (None, "", "\n"):
        file.unlink(missing_ok=True)
        if empty is not None:
            file.write_text(empty)
        assert add_to_quarantine(file, {A: "not her"}) == 1
        assert file.read_text() == f"photo_id,reason\n{A},not her\n"
    assert add_to_quarantine(file, {A: "again", B: 'Ann, "Bo"\nor Cy'}) == 1
    assert add_to_quarantine(file, {A: "x", B: "y"}) == 0
    assert add_to_quarantine(file, {}) == 0
    assert read_quarantine(file) == {A: "not her", B: 'Ann, "Bo"\nor Cy'}
    assert [path.name for path in tmp_path.iterdir()] == ["quarantine.csv"]


@pytest.mark.parametrize(
    "before",
    [
        f"photo_id,reason\r\n{A},blurred\r\n",  # as a spreadsheet saves it
        f"\ufeffphoto_id,reason\n{A},blurred",  # with a byte order mark, no last line end
        f"photo_id,reason\n{A.upper()},blurred\n",
        f"who,reason,photo_id\nAnn,blurred,{A}\n",  # other columns in another order
        f"photo_id,reason\n{A},blurred,Ann's idea\n",  # more cells than the header
        f'"photo_id","reason"\n"{A}","blurred"\n',  # quoted
    ],
)
def test_what_a_person_wrote_is_kept_byte_for_byte(before, tmp_path):
    file = tmp_path / "quarantine.csv"
    file.write_bytes(before.encode())
    assert add_to_quarantine(file, {A: "again", B: "two"}) == 1
    assert read_quarantine(file) == {A: "blurred", B: "two"}
    assert file.read_bytes().startswith(before.encode())
    assert (b"\r\n" in file.read_bytes()) == ("\r\n" in before)
    assert add_to_quarantine(file, {C: ""}) == 1
    assert list(read_quarantine(file)) == [A, B, C]


@pytest.mark.parametrize(
    ("before", "message"),
    [("ids\n", "no column photo_id"), ("photo_id,reason\n12,short\n", "line 2: photo_id '12'")],
)
def test_a_wrong_quarantine_is_refused_and_kept(before, message, tmp_path):
    file = tmp_path / "quarantine.csv"
    file.write_text(before)
    with pytest.raises(FaceOpsError, match=message):
        add_to_quarantine(file, {A: "two"})
    assert file.read_text() == before
