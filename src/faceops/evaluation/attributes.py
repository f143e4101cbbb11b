"""A CSV of attributes per person or per photo: which group each face belongs to."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.errors import UsageError
from faceops.dataset.names import name_key
from faceops.evaluation.embedded_faces import EmbeddedFaces

KEYS = ("person", "photo", "photo_id")
RESERVED = ("worst", "about")  # of the figures, beside the attributes
MOST_VALUES = 30  # more are a measurement, not groups


@dataclass(frozen=True)
class Attributes:
    """`values`: attribute -> text (N,), one a face, "" where nothing is stated.

    `rows_without_faces`: rows of the file that speak of nobody among the faces.
    """

    values: dict[str, np.ndarray]
    rows_without_faces: int


@dataclass(frozen=True)
class AttributesFile:
    """What a CSV states: `stated` gives, by the `key` column, attribute -> value."""

    path: Path
    key: str
    attributes: list[str]
    stated: dict[str, dict[str, str]]

    def of(self, faces: EmbeddedFaces, photo_ids: np.ndarray | None = None) -> Attributes:
        """Return the groups of `faces`; `photo_ids` text (N,) where they are known.

        People and photos that are not among the faces are counted: one file may serve several
        sets.

        Raises:
            UsageError: the file speaks of none of the faces, or by a key that is not known here.
        """
        if self.key == "photo_id" and photo_ids is None:
            raise UsageError(
                f"{self.path}: photo_id is not known here; use the column photo or person."
            )
        names = {"person": faces.persons, "photo": faces.paths, "photo_id": photo_ids}[self.key]
        assert names is not None
        keys = [_key(self.key, str(name)) for name in names]
        missing = len(self.stated.keys() - set(keys))
        if missing == len(self.stated):
            raise UsageError(
                f"{self.path}: none of its {missing} rows speaks of the {len(faces)} photos "
                f"evaluated; the first names {self.key} {next(iter(self.stated))!r}: check the "
                f"column {self.key}."
            )
        empty = dict.fromkeys(self.attributes, "")
        values = {
            column: np.array([self.stated.get(name, empty)[column] for name in keys], dtype=str)
            for column in self.attributes
        }
        return Attributes(values, missing)


def read_attributes(path: Path) -> AttributesFile:
    """Read a CSV of groups.

    One column says whom a row speaks of: `person` (any spelling), `photo` (a path relative to
    the data folder, with or without photos/) or `photo_id` (sha256); every other column is an
    attribute. An empty cell states nothing.

    Raises:
        UsageError: the file is absent, empty, no text, without such a column, names somebody
            twice, or has a row of another length or too many values.
    """
    header, lines = _read(path)
    found = [column for column in KEYS if column in header]
    if len(found) != 1 or len(header) < 2 or len(set(header)) < len(header) or "" in header:
        raise UsageError(
            f"{path} has the columns {', '.join(header)}; it takes one of person, photo or "
            "photo_id, and one or more attributes, each with a name of its own."
        )
    if reserved := set(header) & set(RESERVED):
        raise UsageError(f"{path} has an attribute called {min(reserved)!r}; call it otherwise.")
    stated = _stated(path, header, found[0], lines)
    attributes = [column for column in header if column != found[0]]
    for column in attributes:
        if (count := len({row[column] for row in stated.values()} - {""})) > MOST_VALUES:
            raise UsageError(
                f"{path}: {column} has {count} different values, which are no groups; put them "
                f"into at most {MOST_VALUES} bins or remove the column."
            )
    return AttributesFile(path, found[0], attributes, stated)


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows, each with the number of its line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; name a CSV file of attributes.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV ({error}); save it as UTF-8.") from None
    if len(rows) < 2:
        what = "has a header and no rows" if rows else "is empty"
        raise UsageError(f"{path} {what}; give each person or photo a row.")
    return rows[0][1], rows[1:]


def _stated(
    path: Path, header: list[str], key: str, lines: list[tuple[int, list[str]]]
) -> dict[str, dict[str, str]]:
    stated: dict[str, dict[str, str]] = {}
    for number, cells in lines:
        if len(cells) != len(header):
            raise UsageError(
                f"{path}, line {number}: {len(cells)} cells, the header has {len(header)}; "
                "correct the line."
            )
        row = dict(zip(header, cells, strict=True))
        name = _key(key, row.pop(key))
        if name in stated:
            raise UsageError(
                f"{path}, line {number}: {key} {name!r} has a row already; keep one of them."
            )
        stated[name] = row
    return stated


def _key(key: str, name: str) -> str:
    if key == "person":
        return name_key(name)
    return name.removeprefix("./").removeprefix("photos/") if key == "photo" else name.lower()
