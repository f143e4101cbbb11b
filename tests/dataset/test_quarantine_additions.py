"""Confirmed photos are added to quarantine.csv; what a person wrote there stays."""

from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.dataset.quarantine import add_to_quarantine, read_quarantine

A, B, C = (letter * 64 for letter in "abc")


def test_photos_are_added_once(tmp_path: Path) -> None:
    file = tmp_path / "quarantine.csv"
    assert add_to_quarantine(file, {A: "not her"}) == 1
    assert file.read_bytes() == f"photo_id,reason\n{A},not her\n".encode()
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
        f"who,reason,photo_id\nAnn,blurred,{A}\n",  # other columns in another order
        f"photo_id,reason\n{A.upper()},blurred\n",
    ],
)
def test_what_was_there_stays_byte_for_byte(before: str, tmp_path: Path) -> None:
    file = tmp_path / "quarantine.csv"
    file.write_bytes(before.encode())
    assert add_to_quarantine(file, {A: "again", B: "two"}) == 1
    assert file.read_bytes().startswith(before.encode())
    assert read_quarantine(file) == {A: "blurred", B: "two"}
    assert (b"\r\n" in file.read_bytes()) == ("\r\n" in before)
    assert add_to_quarantine(file, {C: ""}) == 1
    assert list(read_quarantine(file)) == [A, B, C]


@pytest.mark.parametrize("before", ["", "\n"])
def test_an_empty_file_gets_its_first_line(before: str, tmp_path: Path) -> None:
    file = tmp_path / "quarantine.csv"
    file.write_text(before)
    add_to_quarantine(file, {A: "two"})
    assert file.read_text() == f"photo_id,reason\n{A},two\n"


@pytest.mark.parametrize("before", ["ids\n", "photo_id,reason\n12,short\n"])
def test_a_wrong_file_is_told_and_left(before: str, tmp_path: Path) -> None:
    file = tmp_path / "quarantine.csv"
    file.write_text(before)
    with pytest.raises(FaceOpsError, match=r"quarantine\.csv"):
        add_to_quarantine(file, {A: "two"})
    assert file.read_text() == before
