"""Photos are accepted by the formats of the registry, and rejected with a reason."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from faceops.base.errors import UsageError
from faceops.dataset.importer import import_photos
from faceops.dataset.validate import validate_photos
from faceops.photos.formats import FORMATS, PhotoFormat, PhotoLimits


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: one photo per format, and a text file."""
    folder = tmp_path / "photos" / "Ann"
    folder.mkdir(parents=True)
    for number, form in enumerate(("PNG", "PCX", "JPEG")):
        Image.new("RGB", (32, 32), (number * 60, 9, 9)).save(folder / f"{form}.jpg", format=form)
    (folder / "note.txt").write_text("not a photo")
    return tmp_path


def reasons(data: Path, formats: list[str]) -> dict[str, str]:
    rows = validate_photos(data, PhotoLimits(), formats, -1, 1)
    return {Path(row["path"]).stem: row["reason"] for row in rows}


@pytest.fixture
def pcx() -> Iterator[None]:
    """A new format in the registry."""
    FORMATS.append(PhotoFormat("PCX", (".pcx",), re.compile(b"\x0a\x05"), "PCX"))
    yield
    FORMATS.pop()


def test_a_new_format_is_imported_and_accepted(data: Path, pcx: None) -> None:
    assert reasons(data, ["PCX"])["PCX"] == ""
    assert reasons(data, ["JPEG"])["PCX"] == "format_not_allowed"
    Image.new("RGB", (32, 32)).save(data / "photos" / "Ann" / "scan.pcx")
    import_photos("tree", str(data / "photos"), data / "imported")
    assert (data / "imported" / "photos" / "Ann" / "scan.pcx").is_file()


def test_photos_have_a_reason_unless_their_format_is_accepted(data: Path) -> None:
    expected = {"JPEG": "", "PNG": "format_not_allowed", "PCX": "not_a_photo"}
    assert reasons(data, ["JPEG"]) == {**expected, "note": "not_a_photo"}


def test_an_unknown_format_is_refused_with_the_known_ones(data: Path) -> None:
    with pytest.raises(UsageError, match=r"lists 'JPG', .*choose from JPEG, PNG"):
        reasons(data, ["PNG", "JPG"])
