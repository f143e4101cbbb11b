"""The parts of an evaluation report, independent of their rendering; rendering as Markdown."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from faceops.verification.thresholds import Thresholds


@dataclass(frozen=True)
class Text:
    """A paragraph; "absent": why something is missing; "warning": a caution."""

    text: str
    kind: Literal["plain", "warning", "absent", "headline"] = "plain"


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of text cells; every row has as many cells as the header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture in the report's folder; omitted if the file does not exist."""

    file: str
    alt: str
    wide: bool = False


@dataclass(frozen=True)
class Pairs:
    """The pairs of photos of one kind; see `worst_mistakes`."""

    kind: str
    caption: str


Part = Text | Bullets | Table | Picture | Pairs


@dataclass(frozen=True)
class Section:
    """Parts below a heading; `key` is its anchor."""

    key: str
    title: str
    parts: list[Part]


def markdown(title: str, sections: Sequence[Section]) -> str:
    """Return a document with one heading per section; pictures and pairs are omitted."""
    parts = [f"# {escaped(title)}"]
    for section in sections:
        parts.append(f"## {escaped(section.title)}")
        parts += [text for part in section.parts if (text := _part(part))]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return the text on one line with Markdown and HTML markup escaped."""
    line = " ".join(text.split()).replace("<", "&lt;")
    return re.sub(r"([\\`*|\[\]])", r"\\\1", line)


def _part(part: Part) -> str:
    if isinstance(part, Text):
        marks = {"warning": "**Warning:** ", "headline": "**", "absent": "", "plain": ""}
        end = "**" if part.kind == "headline" else ""
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
    """The evaluated model in words: `lineage` holds (name, value) pairs."""

    name: str
    use: Sequence[str]
    seen: Sequence[str]
    licences: Sequence[str]
    lineage: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Facts:
    about: About
    # The content of evaluation.json; protocols that did not run are missing
    figures: dict[str, Any]
    thresholds: Thresholds | None  # of the release; None for an uncalibrated embedder
    # The content of the verify stage's verify.json, if available
    verify: dict[str, Any] | None = None
    # Rows of the training history, one per epoch
    history: list[dict[str, str]] = field(default_factory=list)
    pictured: bool = False  # whether there are pictures of faces


HEADER = ["figure", "value", "95 %"]


def summary(facts: Facts) -> Iterator[Part]:
    """Yield the headline figures of verification and identification."""
    figures = facts.figures
    rows = [*pair_rows(figures.get("verification", {}))]
    closed, opened = figures.get("closed_set"), figures.get("open_set")
    if closed:
        name = f"rank-1 among {closed['gallery_people']:,} people with one photo each"
        rows.append(figure_row(name, closed, "rank_1"))
    if opened and "dir" in opened:
        gallery = f"{opened['known_people']:,} people, {opened['gallery_faces']:,} faces enrolled"
        rows += [
            figure_row(f"known people named correctly ({gallery})", opened, "dir"),
            figure_row("known people given a wrong name", opened, "misidentified"),
            figure_row("strangers given a name", opened, "fpir"),
        ]
    for name, value in (("View 1", "lfw_view1"), ("View 2", "lfw_view2")):
        if value in figures:
            rows.append(figure_row(f"LFW {name}, accuracy", figures[value], "accuracy"))
    measured = "the exported files" if facts.thresholds else "the embedder's own file"
    yield Text(
        f"Measured on {measured}, on {figures['people']:,} people with {figures['photos']:,} "
        "photos. The 95 % intervals are bootstrap intervals over people: for TAR the threshold is "
        "found again in each resample, for the other figures it is fixed."
    )
    yield Table(HEADER, rows) if rows else Text("The protocol has none of these.", "absent")


def pair_rows(pairs: dict[str, Any]) -> list[list[str]]:
    """Return the table rows of one-to-one verification."""
    if not pairs:
        return []
    rows = [figure_row("ROC AUC, all pairs", pairs, "roc_auc")]
    if "accuracy" in pairs:  # calibrated models only
        name = "accuracy on balanced pairs at probability 0.5"
        rows.insert(0, figure_row(name, pairs, "accuracy"))
    for key in sorted(pairs):
        is_rate = not key.endswith(("_interval", "_supported", "_threshold"))
        if not (key.startswith("tar_at_far_") and is_rate):
            continue
        note = "" if pairs[f"{key}_supported"] else " (fewer than ten impostor pairs above it)"
        rows.append(figure_row(f"TAR at FAR {key.removeprefix('tar_at_far_')}{note}", pairs, key))
    return rows


def figure_row(name: str, figures: dict[str, Any], key: str) -> list[str]:
    """Return the cells (name, figure, interval)."""
    return [name, shown_share(figures.get(key)), shown_interval(figures.get(f"{key}_interval"))]


def with_interval(figures: dict[str, Any], key: str) -> str:
    """Return "0.9120 (0.9 to 0.93)", or the figure alone if it has no interval."""
    _, value, interval = figure_row("", figures, key)
    return f"{value} ({interval})" if interval else value


def shown_probability(value: float) -> str:
    """Format a threshold so that two digits of 1 - p are visible: 0.9120, 0.99964, 1-3.6e-06."""
    if value > 1:
        return "none"
    rest = 1 - value
    if rest >= 0.01:
        return f"{value:.4f}"
    if rest >= 1e-5:
        return f"{value:.{1 - math.floor(math.log10(rest))}f}"
    return f"1-{rest:.1e}" if rest > 0 else "1"


def shown_share(value: float | None) -> str:
    """Return a rate with four digits, smaller ones with two significant: 0.9120, 3.1e-05."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2g}"


def shown_interval(interval: dict[str, float | None] | None) -> str:
    """Return "low to high", "" without one."""
    if not interval or interval["low"] is None or interval["high"] is None:
        return ""
    return f"{shown_share(interval['low'])} to {shown_share(interval['high'])}"


def one_in(budget: float) -> str:
    """Return a budget in words: "one stranger in 100", "60% of strangers"."""
    if budget <= 0.5:
        return f"one stranger in {round(1 / budget):,}"
    return f"{budget:.0%} of strangers"
