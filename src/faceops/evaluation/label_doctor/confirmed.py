"""From a person's verdicts to the photos that the validate stage sets aside."""

from collections.abc import Sequence
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.evaluation.label_doctor.suspicions_file import Row
from faceops.photos.photo_error import printable


def confirmed_photos(rows: Sequence[Row], file: Path, data: Path) -> dict[str, str]:
    """Return photo_id -> reason of the photos with the verdict yes, in the order of the file.

    Args:
        rows: of suspicions.csv.
        file: its name, for messages.
        data: the folder that their paths start from.

    Raises:
        FaceOpsError: a photo has both yes and no, or is not in `data` any more.
    """
    refused = {row.photo_id: row.line for row in rows if row.verdict == "no"}
    reasons: dict[str, str] = {}
    for row in rows:
        if row.verdict != "yes":
            continue
        if row.photo_id in refused:
            raise FaceOpsError(
                f"{file} says yes in line {row.line} and no in line {refused[row.photo_id]} of "
                f"one photo, {printable(Path(row.path))}; decide."
            )
        _check_is_there(row, file, data)
        perhaps = f", perhaps {row.suggestion}" if row.suggestion else ""
        reasons.setdefault(row.photo_id, f"data doctor: {row.kind} of {row.person}{perhaps}")
    return reasons


def _check_is_there(row: Row, file: Path, data: Path) -> None:
    path = data / row.path
    try:
        same = sha256_file(path) == row.photo_id
    except OSError as error:
        raise FaceOpsError(
            f"{file} line {row.line}: {printable(path)} cannot be read ({error.strerror}); if it "
            "was moved or removed, clear its verdict, else name the data folder by --data."
        ) from None
    if not same:
        raise FaceOpsError(
            f"{file} line {row.line}: {printable(path)} is another photo than the one in doubt; "
            "run `faceops data doctor` again, or name the data folder by --data."
        )
