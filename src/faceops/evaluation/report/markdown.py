"""Sections as Markdown: text, lists and tables; pictures stay with the HTML report."""

import re
from collections.abc import Sequence

from faceops.evaluation.report.section import Bullets, Part, Section, Table, Text


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
