"""suspicions.csv is written for a person and read back with the person's verdicts."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.evaluation.label_doctor.diagnose import Kind, Suspicion
from faceops.evaluation.label_doctor.findings import (
    CSV_COLUMNS,
    confirmed_photos,
    draw_pages,
    read_verdicts,
    write_suspicions,
)

NAMES = ("Ann, 'A' \"Q\"\nLee", "=1+1", "Björk 李", "'quoted", "-x")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a photo, of a few bytes, for each hostile name."""
    for number, name in enumerate(NAMES):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "1.jpg").write_bytes(b"photo %d" % number)
    return tmp_path / "data"


@pytest.fixture
def file(data: Path) -> Path:
    """Their list: a suspicion on the first two, one on each of the others."""
    suspicions = [Suspicion(Kind.SINGLE, 9.5, (0, 1), NAMES[0], NAMES[1], "alike")]
    suspicions += [
        Suspicion(Kind.MISLABELLED, 1.0, (i,), NAMES[i], "", f"=unlike {NAMES[i]}")
        for i in (2, 3, 4)
    ]
    write(suspicions, data, data.parent / "suspicions.csv")
    return data.parent / "suspicions.csv"


def write(suspicions: list[Suspicion], data: Path, file: Path) -> None:
    paths = np.array([f"{name}/1.jpg" for name in NAMES])
    ids = {
        i: hashlib.sha256((data / path).read_bytes()).hexdigest() for i, path in enumerate(paths)
    }
    earlier_rows = read_verdicts(file) if file.exists() else []
    write_suspicions(suspicions, np.array(NAMES), paths, ids, file, earlier_rows)


def judge(file: Path, verdicts: list[str]) -> None:
    """Fill in the verdicts as a spreadsheet would: with a byte order mark and \\r\\n."""
    with file.open(newline="", encoding="utf-8-sig") as opened:
        rows = list(csv.DictReader(opened))
    with file.open("w", newline="", encoding="utf-8-sig") as opened:
        writer = csv.DictWriter(opened, CSV_COLUMNS)
        writer.writeheader()
        for row, verdict in zip(rows, verdicts, strict=True):
            writer.writerow(row | {"verdict": verdict})


def test_hostile_names_come_back_and_are_no_formulas(file):
    rows = read_verdicts(file)
    assert [row.person for row in rows] == list(NAMES)
    assert [row.suggestion for row in rows[:2]] == [NAMES[1], NAMES[0]]
    assert [row.path for row in rows] == [f"{name}/1.jpg" for name in NAMES]
    with file.open(newline="") as opened:
        cells = [cell for row in csv.reader(opened) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_photos_with_yes_are_set_aside(file, data):
    judge(file, [" YES", "", "no", "yes", "No "])
    reasons = confirmed_photos(read_verdicts(file), file, data)
    assert reasons == {
        hashlib.sha256(b"photo 0").hexdigest(): (
            f"data doctor: second_name_or_mislabelled of {NAMES[0]}, perhaps {NAMES[1]}"
        ),
        hashlib.sha256(b"photo 3").hexdigest(): f"data doctor: mislabelled_photo of {NAMES[3]}",
    }


def test_verdicts_survive_a_new_list(file, data):
    judge(file, ["", "", "no", "yes", ""])
    suspicions = [
        Suspicion(Kind.MISLABELLED, 8.0, (3,), NAMES[3], "", "now first"),
        Suspicion(Kind.MISLABELLED, 7.0, (2,), NAMES[2], NAMES[3], "more like somebody else now"),
    ]
    write(suspicions, data, file)
    assert [row.verdict for row in read_verdicts(file)] == ["yes", ""]


def test_unknown_and_contradicting_verdicts_are_refused_with_their_line(file, data):
    judge(file, ["perhaps", *[""] * 4])
    with pytest.raises(FaceOpsError, match="line 2: the verdict 'perhaps'"):
        read_verdicts(file)
    judge(file, ["yes", "", "", "", ""])
    with file.open("a", newline="") as opened:
        row = next(csv.DictReader(file.open(newline="", encoding="utf-8-sig")))
        csv.DictWriter(opened, CSV_COLUMNS).writerow(row | {"verdict": "no", "rank": "9"})
    with pytest.raises(FaceOpsError, match="says yes in line 2 and no in line 7 about the photo"):
        confirmed_photos(read_verdicts(file), file, data)


@pytest.mark.parametrize("change", ["other", "gone"])
def test_a_changed_or_missing_photo_is_refused(file, data, change):
    judge(file, ["", "", "yes", "", ""])
    photo = data / NAMES[2] / "1.jpg"
    photo.unlink() if change == "gone" else photo.write_bytes(b"another")
    with pytest.raises(FaceOpsError, match=r"line 4: .*(is not the suspect photo|cannot be read)"):
        confirmed_photos(read_verdicts(file), file, data)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'rank'"),
        (b"rank;kind;score\n1;x;2\n", "no column 'rank'"),
        (
            ",".join(CSV_COLUMNS).encode() + b"\n1,x,2,p,,a/1.jpg," + b"0" * 64 + b",e,yes\n",
            "kind 'x'",
        ),
        (",".join(CSV_COLUMNS).encode() + b"\n1,x,2,p,,a/1.jpg,12,e,yes\n", "photo_id '12'"),
        (",".join(CSV_COLUMNS).encode() + b"\n1,x\n", "photo_id ''"),
        (b"\xff\xfe\x00\x01" * 50, "no column"),
    ],
)
def test_a_file_of_another_kind_is_refused(content, message, tmp_path):
    file = tmp_path / "list.csv"
    file.write_bytes(content)
    with pytest.raises(FaceOpsError, match=message):
        read_verdicts(file)
    with pytest.raises(FaceOpsError, match="cannot be read"):
        read_verdicts(tmp_path / "none.csv")


def test_twelve_suspicions_a_sheet_always_the_same():
    crops = np.random.default_rng(0).integers(0, 255, (9, 112, 112, 3), np.uint8)
    persons = np.array([NAMES[i % 5] for i in range(9)])
    paths = np.array([f"photos/x/{i}.jpg" for i in range(9)])
    suspicions = [
        Suspicion(Kind.MISLABELLED, 5.0, (0,), NAMES[0], NAMES[1], words, (2, 3), (4, 5, 6))
        for words in ("x" * 400, *["unlike"] * 12)
    ]
    first, last = draw_pages(suspicions, persons, paths, crops)
    assert (first.size, last.size) == ((1230, 2602), (1230, 226))
    (one,), (again,), (without,) = (
        draw_pages(suspicions[:1], persons, paths, seen) for seen in (crops, crops, None)
    )
    assert one.tobytes() == again.tobytes() != without.tobytes()
    assert without.size == last.size
