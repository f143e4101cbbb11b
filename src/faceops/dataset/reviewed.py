"""The reviewed faces of a data folder: which decision each comes from, and who trains on them.

`faceops data import reviewed` writes them. Confirmed people train. Ignored strangers, one photo
each, calibrate: they are impostors for everybody. Neither is in the test people or in the gate.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import csv_cell, csv_text, write_csv
from faceops.dataset.names import name_key
from faceops.dataset.splits import TRAIN, VAL

# In the data folder; the stage `validate` copies both to build/validate/inputs.
REVIEWED_FILE = Path("imported/reviewed.csv")  # as the lists of other sources
HARD_NEGATIVES_FILE = Path("hard_negatives.csv")
PERSON, STRANGER = "person", "stranger"  # kinds
_BOX = ("x", "y", "width", "height")
_COLUMNS = ("path", "origin", "kind", *_BOX, "decision")
_RESTORE = "run `faceops data import reviewed` again, or restore it"


@dataclass(frozen=True)
class ReviewedFace:
    """A face that was cut from a photo."""

    path: str  # of the crop, POSIX, relative to the data folder: photos/<Person>/<file>
    kind: str  # `PERSON`, who was confirmed, or `STRANGER`, whom somebody ignored
    photo_id: str  # sha256 of the photo that it was cut from
    box: tuple[float, float, float, float]  # x, y, width, height in pixels of that photo, upright
    decision: str  # id of the entry in the journal

    @property
    def person(self) -> str:
        """The person's folder."""
        return self.path.split("/")[1]

    @property
    def place(self) -> tuple[str, tuple[float, float, float, float]]:
        """What identifies the face: the photo and the box."""
        return self.photo_id, self.box


def read_reviewed(file: Path) -> list[ReviewedFace]:
    """Return the faces in a file as `REVIEWED_FILE`, in its order; none without the file.

    Raises:
        FaceOpsError: it is not such a file.
    """
    kinds = {PERSON: PERSON, STRANGER: STRANGER}
    try:
        return [
            ReviewedFace(
                row["path"], kinds[row["kind"]], row["origin"],
                (float(row["x"]), float(row["y"]), float(row["width"]), float(row["height"])),
                row["decision"],
            )
            for row in _rows(file)
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise FaceOpsError(
            f"{file} is not a list of reviewed faces ({error}); {_RESTORE}."
        ) from None


def write_reviewed(file: Path, faces: Iterable[ReviewedFace]) -> None:
    """Write the faces, sorted by path: equal faces give equal bytes."""
    rows = (
        (face.path, face.photo_id, face.kind, *face.box, face.decision)
        for face in sorted(faces, key=lambda face: face.path)
    )
    write_csv(file, _COLUMNS, rows)


def write_hard_negatives(file: Path, pairs: Mapping[tuple[str, str], int]) -> None:
    """Write pairs of people, by folder, with the number of faces that were taken for the other."""
    rows = (
        (csv_cell(one), csv_cell(other), count) for (one, other), count in sorted(pairs.items())
    )
    write_csv(file, ("person", "other", "faces"), rows)


def read_hard_negatives(file: Path) -> list[tuple[str, str]]:
    """Return the pairs of people in the file; none without the file.

    Raises:
        FaceOpsError: it is not such a file.
    """
    try:
        return [(csv_text(row["person"]), csv_text(row["other"])) for row in _rows(file)]
    except KeyError as error:
        raise FaceOpsError(f"{file} has no column {error}; {_RESTORE}.") from None


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FaceOpsError(f"{file} cannot be read ({error}); {_RESTORE}.") from None


def reviewed_splits(people: Iterable[str], faces: Iterable[ReviewedFace]) -> dict[str, str]:
    """Return those of `people` (folders) whom the review touched -> split.

    Confirmed people are for training, whatever other photos they have; strangers for validation.
    """
    kinds = {name_key(face.person): face.kind for face in faces}
    of_kind = {PERSON: TRAIN, STRANGER: VAL}
    return {person: of_kind[kinds[key]] for person in people if (key := name_key(person)) in kinds}
