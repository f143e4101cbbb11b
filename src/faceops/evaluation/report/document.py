"""What a report is made of, apart from how it is shown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from faceops.evaluation.figures import shown_interval, shown_share
from faceops.verification.thresholds import Thresholds


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
    """The pairs of photos of one kind, see `faceops.evaluation.mistakes`."""

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


def markdown(title: str, sections: Sequence[Section]) -> str:
    """Return a document with a heading a section."""
    parts = [f"# {escaped(title)}"]
    for section in sections:
        parts.append(f"## {escaped(section.title)}")
        parts += [text for part in section.parts if (text := _part(part))]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return one line of text in which nothing but the words is Markdown or HTML."""
    line = " ".join(text.split()).replace("<", "&lt;")
    return re.sub(r"([\\`*|\[\]])", r"\\\1", line)


def _part(part: Part) -> str:
    if isinstance(part, Text):
        marks = {"warning": "**Warning:** ", "promise": "**", "absent": "", "plain": ""}
        end = "**" if part.kind == "promise" else ""
        return f"{marks[part.kind]}{escaped(part.text)}{end}"
    if isinstance(part, Bullets):
        return "\n".join(f"- {escaped(item)}" for item in part.items)
    if isinstance(part, Table):
        lines = [f"{escaped(part.caption).rstrip('.')}:\n"] if part.caption else []
        lines += [_row(part.header), _row(["---"] * len(part.header))]
        return "\n".join([*lines, *(_row(row) for row in part.rows)])
    return ""


def _row(cells: Sequence[str]) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in map(escaped, cells)) + "|"


@dataclass(frozen=True)
class About:
    """What is evaluated, in words.

    `lineage` are pairs of a name and its value; `notes` are further limits.
    """

    name: str
    use: Sequence[str]
    seen: Sequence[str]
    licences: Sequence[str]
    lineage: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """An evaluation and what it was of.

    Attributes:
        figures: as evaluation.json has them; protocols that did not run are not there.
        thresholds: of the release; None where nothing was calibrated.
        verify: as the verify stage wrote verify.json; None where that is not at hand.
    """

    about: About
    figures: dict[str, Any]
    thresholds: Thresholds | None
    verify: dict[str, Any] | None = None
    history: list[dict[str, str]] = field(default_factory=list)


HEADER = ["figure", "value", "95 %"]


def summary_section(facts: Facts) -> Section:
    """Verification and identification in short; the details have their own sections."""
    figures = facts.figures
    rows = [*pair_rows(figures.get("verification", {}))]
    closed, opened = figures.get("closed_set"), figures.get("open_set")
    if closed:
        name = f"rank-1 among {closed['gallery_people']:,} people with one photo each"
        rows.append(figure_row(name, closed, "rank_1"))
    if opened and "dir" in opened:
        gallery = f"{opened['known_people']:,} people, {opened['gallery_faces']:,} faces enrolled"
        rows += [
            figure_row(f"known people named rightly ({gallery})", opened, "dir"),
            figure_row("known people named wrongly", opened, "misidentified"),
            figure_row("strangers given a name", opened, "fpir"),
        ]
    for name, value in (("View 1", "lfw_view1"), ("View 2", "lfw_view2")):
        if value in figures:
            rows.append(figure_row(f"LFW {name}, accuracy", figures[value], "accuracy"))
    told = (
        f"Measured on {_whose(facts)}, on {figures['people']:,} people with "
        f"{figures['photos']:,} photos. The 95 % intervals are over people: those of TAR find "
        "their threshold anew in each resample, the others have the threshold held fixed."
    )
    parts: list[Part] = [Text(told)]
    parts.append(
        Table(HEADER, rows) if rows else Text("The protocol gives none of these.", "absent")
    )
    return Section("worth", "What it is worth", parts)


def pair_rows(pairs: dict[str, Any]) -> list[list[str]]:
    """Return the rows of one-to-one verification."""
    if not pairs:
        return []
    rows = [figure_row("ROC AUC, all pairs", pairs, "roc_auc")]
    if "accuracy" in pairs:  # of a model that was calibrated
        rows.insert(0, figure_row("accuracy on balanced pairs at even odds", pairs, "accuracy"))
    for key in sorted(pairs):
        if not key.startswith("tar_at_far_") or not _is_rate(key):
            continue
        note = "" if pairs[f"{key}_supported"] else " (fewer than ten impostor pairs above it)"
        rows.append(figure_row(f"TAR at FAR {key.removeprefix('tar_at_far_')}{note}", pairs, key))
    return rows


def figure_row(name: str, figures: dict[str, Any], key: str) -> list[str]:
    """Return `name`, the figure and its interval as text."""
    return [name, shown_share(figures.get(key)), shown_interval(figures.get(f"{key}_interval"))]


def _is_rate(key: str) -> bool:
    return not key.endswith(("_interval", "_supported", "_threshold"))


def _whose(facts: Facts) -> str:
    return "the exported files" if facts.thresholds else "the embedder's own file"
