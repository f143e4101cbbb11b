"""suspicions.csv: one row a photo in doubt, with an empty column for a person's verdict."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.tables import csv_cell, csv_text, write_csv
from faceops.dataset.quarantine import is_photo_id
from faceops.evaluation.label_doctor.suspicion import Kind, Suspicion

# rank: of the suspicion, shared by its photos; score: its log odds; suggestion: the other name.
COLUMNS = (
    *("rank", "kind", "score", "person", "suggestion", "path", "photo_id", "evidence"),
    "verdict",
)
VERDICTS = ("yes", "no", "")


@dataclass(frozen=True)
class Row:
    """One row as a person left it; `line` 2 is the first; `verdict` is one of VERDICTS."""

    line: int
    kind: Kind
    person: str
    suggestion: str
    path: str
    photo_id: str
    verdict: str


def write_suspicions(
    suspicions: Sequence[Suspicion],
    persons: np.ndarray,
    paths: np.ndarray,
    photo_ids: dict[int, str],
    file: Path,
    judged: Iterable[Row] = (),
) -> None:
    """Write suspicions.csv; the verdicts of rows judged before are kept.

    Args:
        suspicions: in their order.
        persons: str (N,), of all photos.
        paths: str (N,), of all photos.
        photo_ids: sha256 of each photo in doubt, by its row.
        file: where to.
        judged: rows of the file that this one replaces.
    """
    verdicts = {(row.kind, row.photo_id, row.suggestion): row.verdict for row in judged}
    rows = []
    for rank, doubt in enumerate(suspicions, start=1):
        for photo in doubt.photos:
            person = str(persons[photo])
            # Of two only photos that are alike each suggests the other's name.
            suggestion = doubt.suggestion if person == doubt.person else doubt.person
            verdict = verdicts.get((doubt.kind, photo_ids[photo], suggestion), "")
            cells = (person, suggestion, str(paths[photo]), photo_ids[photo], doubt.evidence)
            score = f"{doubt.score:.2f}"
            rows.append([rank, doubt.kind.value, score, *map(csv_cell, cells), verdict])
    write_csv(file, COLUMNS, rows, errors="surrogateescape")


def read_verdicts(file: Path) -> list[Row]:
    """Return the rows of a suspicions.csv that a person may have edited.

    Raises:
        FaceOpsError: no such file, no CSV of this kind, or a word that is no verdict.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as opened:
            reader = csv.DictReader(opened, restval="")
            rows = list(enumerate(reader, start=2))
            columns = reader.fieldnames or []
    except (OSError, csv.Error) as error:
        told = getattr(error, "strerror", None) or error
        raise FaceOpsError(f"{file} cannot be read ({told}); run `faceops data doctor`.") from None
    if lacking := [name for name in COLUMNS if name not in columns]:
        raise FaceOpsError(
            f"{file} has no column {lacking[0]!r}; keep the columns that `faceops data doctor` "
            "wrote, and save it as CSV with commas."
        )
    return [_row(file, line, row) for line, row in rows if any(row.values())]


def _row(file: Path, line: int, row: dict[str, str]) -> Row:
    verdict = row["verdict"].strip().lower()
    photo_id = row["photo_id"].strip().lower()
    if verdict not in VERDICTS:
        raise FaceOpsError(
            f"{file} line {line}: the verdict {row['verdict']!r} is none of yes, no or nothing."
        )
    if not is_photo_id(photo_id):
        raise FaceOpsError(
            f"{file} line {line}: photo_id {row['photo_id']!r} is not a sha256 of 64 digits; "
            "run `faceops data doctor` again and fill in the verdicts only."
        )
    try:
        kind = Kind(row["kind"].strip())
    except ValueError:
        raise FaceOpsError(
            f"{file} line {line}: kind {row['kind']!r} is none of {', '.join(Kind)}; "
            "fill in the verdicts only."
        ) from None
    person, suggestion, path = (csv_text(row[name]) for name in ("person", "suggestion", "path"))
    return Row(line, kind, person, suggestion, path, photo_id, verdict)
