"""CSV files, with cells that no spreadsheet runs as a formula."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from faceops.base.files import write_file

# A spreadsheet would run =HYPERLINK(...) in the name of a file or a person.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_cell(value: object) -> object:
    """Return `value`; a text that a spreadsheet would take for a formula gets an apostrophe."""
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return value


def csv_text(cell: str) -> str:
    """Return the text that `csv_cell` turned into `cell`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


def write_csv(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], errors: str = "strict"
) -> None:
    """Write a CSV file atomically: UTF-8, quoted where needed, None as an empty cell.

    Args:
        errors: how to encode what UTF-8 cannot hold, see `str.encode`.

    Raises:
        FaceOpsError: it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_file(path, text.getvalue().encode("utf-8", errors))
