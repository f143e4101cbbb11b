"""Attributes of people and photos from a CSV."""

from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import UsageError
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.slices import read_attributes

PERSONS = np.repeat([f"Ada_00{number}" for number in range(4)], 2)
PATHS = np.array([f"photos/{person}/{i % 2}.jpg" for i, person in enumerate(PERSONS)])
FACES = EmbeddedFaces(np.zeros((8, 2), np.float32), PERSONS, PATHS)


def write(folder: Path, text: str) -> Path:
    path = folder / "groups.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_people_and_photos_get_their_attributes(tmp_path: Path) -> None:
    by_person = read_attributes(
        write(tmp_path, '\ufeffperson,age,"hat"\nada 000,old,yes\nADA-001,,no\nNobody,old,no\n')
    ).of(FACES)
    assert by_person.values["age"].tolist() == ["old", "old", "", "", "", "", "", ""]
    assert by_person.values["hat"].tolist() == ["yes", "yes", "no", "no", "", "", "", ""]
    assert by_person.rows_without_faces == 1
    by_photo = read_attributes(
        write(tmp_path, "light,photo\ndim,photos/Ada_000/1.jpg\ndim,Ada_003/0.jpg\n")
    ).of(FACES)
    assert np.flatnonzero(by_photo.values["light"] == "dim").tolist() == [1, 6]
    ids = np.array([f"{number:064x}" for number in range(8)])
    by_id = read_attributes(write(tmp_path, f"photo_id,x\n{ids[2]},a\n")).of(FACES, ids)
    assert np.flatnonzero(by_id.values["x"] == "a").tolist() == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("person,age\n", "has a header and no rows"),
        ("name,age\nAda,3\n", "has the columns name, age"),
        ("person\nAda\n", "one or more attributes"),
        ("person,photo,age\nAda,x,3\n", "one of person, photo or photo_id"),
        ("person,age,age\nAda,1,2\n", "each with a name of its own"),
        ("person,worst\nAda,1\n", "called 'worst'"),
        ("person,age\nAda,old\nada,old\n", "line 3: person 'ada' has a row already"),
        ("person,age\nAda,old,1\n", "line 2: 3 cells, the header has 2"),
        ("person,age\n" + "".join(f"P{n},{n}\n" for n in range(31)), "31 different values"),
        ("person,age\nNobody,old\n", "none of its 1 rows matches the 8 photos"),
        ("photo_id,age\nabc,old\n", "photo_id is not known here"),
        ('person,age\n"Ada,old\n', "cannot be read as CSV"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_attributes(write(tmp_path, text)).of(FACES)
    assert "\n" not in str(caught.value)


def test_an_absent_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_attributes(tmp_path / "none.csv")
    (tmp_path / "picture.csv").write_bytes(b"\xff\xd8\xff\xe0 person,age")
    with pytest.raises(UsageError, match="cannot be read as CSV"):
        read_attributes(tmp_path / "picture.csv")
