"""Attributes of people or photos from a CSV: the groups that `slices` measures."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.errors import UsageError
from faceops.dataset.names import name_key
from faceops.evaluation.embedded_faces import EmbeddedFaces

KEYS = ("person", "photo", "photo_id")
RESERVED = ("worst", "about")  # keys of the figures, beside the attributes
MOST_VALUES = 30  # more are a measurement, not groups


@dataclass(frozen=True)
class Attributes:
    """`values`: attribute -> text (N,), one a face, "" where nothing is stated.

    `rows_without_faces`: rows of the file about nobody among the faces.
    """

    values: dict[str, np.ndarray]
    rows_without_faces: int


@dataclass(frozen=True)
class AttributesFile:
    """The content of a CSV: `stated` gives, by the `key` column, attribute -> value."""

    path: Path
    key: str
    attributes: list[str]
    stated: dict[str, dict[str, str]]

    def of(self, faces: EmbeddedFaces, photo_ids: np.ndarray | None = None) -> Attributes:
        """Return the attributes of `faces`; `photo_ids` text (N,) where they are known.

        People and photos that are not among the faces are counted only: one file may serve
        several sets.

        Raises:
            UsageError: no row matches a face, or the key is not known here.
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
                f"{self.path}: none of its {missing} rows matches the {len(faces)} photos "
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
    """Read a CSV of attributes.

    One column is the key: `person` (any spelling), `photo` (a path relative to the data folder,
    with or without photos/) or `photo_id` (sha256); every other column is an attribute. An empty
    cell states nothing.

    Raises:
        UsageError: the file is absent, empty, no text, without a key column, repeats a key, or
            has a row of another length or too many values.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; name a CSV file of attributes.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV ({error}); save it as UTF-8.") from None
    if len(lines) < 2:
        what = "has a header and no rows" if lines else "is empty"
        raise UsageError(f"{path} {what}; give each person or photo a row.")
    header = lines[0][1]
    keys = [column for column in KEYS if column in header]
    if len(keys) != 1 or len(header) < 2 or len(set(header)) < len(header) or "" in header:
        raise UsageError(
            f"{path} has the columns {', '.join(header)}; it takes one of person, photo or "
            "photo_id, and one or more attributes, each with a name of its own."
        )
    if reserved := set(header) & set(RESERVED):
        raise UsageError(f"{path} has an attribute called {min(reserved)!r}; rename it.")
    stated: dict[str, dict[str, str]] = {}
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise UsageError(
                f"{path}, line {number}: {len(cells)} cells, the header has {len(header)}; "
                "correct the line."
            )
        row = dict(zip(header, cells, strict=True))
        name = _key(keys[0], row.pop(keys[0]))
        if name in stated:
            raise UsageError(
                f"{path}, line {number}: {keys[0]} {name!r} has a row already; keep one of them."
            )
        stated[name] = row
    attributes = [column for column in header if column != keys[0]]
    for column in attributes:
        if (count := len({row[column] for row in stated.values()} - {""})) > MOST_VALUES:
            raise UsageError(
                f"{path}: {column} has {count} different values, which are no groups; put them "
                f"into at most {MOST_VALUES} bins or remove the column."
            )
    return AttributesFile(path, keys[0], attributes, stated)


def _key(key: str, name: str) -> str:
    if key == "person":
        return name_key(name)
    return name.removeprefix("./").removeprefix("photos/") if key == "photo" else name.lower()
