"""What a report is made of, apart from how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Text:
    """A paragraph; "absent" says why something is not there, "warning" what to beware of."""

    text: str
    kind: Literal["plain", "warning", "absent", "promise"] = "plain"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells as text; every row is as long as the header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture in the folder of the report; left out where the file is not there."""

    file: str
    alt: str
    wide: bool = False


@dataclass(frozen=True)
class Pairs:
    """The pairs of photos of one kind, see `faceops.evaluation.mistake_sheets`."""

    kind: str
    caption: str


Part = Text | Bullets | Table | Picture | Pairs


@dataclass(frozen=True)
class Section:
    """Parts below a heading; `key` is its anchor."""

    key: str
    title: str
    parts: list[Part] = field(default_factory=list)


def absent(key: str, title: str, why: str) -> Section:
    """Return a section that says why it is empty."""
    return Section(key, title, [Text(why, "absent")])
