"""Figures for a person to read: aligned lines, and several models side by side."""

from collections.abc import Iterator, Sequence
from typing import Any

_TOLD = ("bundle", "protocol", "data", "people", "photos")
_ABSENT = "-"
_OF_GROUPS = ("people", "photos", "tar", "false_accept_rate", "dir", "fpir")


def figures_lines(name: str, figures: dict[str, Any]) -> list[str]:
    """Return the lines that show all figures of the model `name`."""
    lines = [f"{name} on {figures['people']} people, {figures['photos']} photos"]
    if "data" in figures:
        lines += _data_lines(figures["data"])
    for protocol, value in figures.items():
        if protocol in _TOLD:
            continue
        if isinstance(value, str):
            lines += ["", f"{protocol}: {value}"]
            continue
        lines += ["", protocol]
        told = _slices(value) if protocol == "slices" else _lines(value)
        lines += [f"  {line}" for line in told]
    return lines


def side_by_side(names: Sequence[str], figures: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each figure and a column for each model."""
    tables = [dict(_flat(one)) for one in figures]
    rows = list(dict.fromkeys(name for table in tables for name in table))
    first = max(len(row) for row in rows)
    columns = [[name, *(table.get(row, _ABSENT) for row in rows)] for name, table in
               zip(names, tables, strict=True)]  # fmt: skip
    lines = []
    for row, *cells in zip(["", *rows], *columns, strict=True):
        told = "  ".join(
            f"{cell:>{max(map(len, column))}}" for cell, column in zip(cells, columns, strict=True)
        )
        lines.append(f"{row:<{first}}  {told}")
    if "data" in figures[0]:
        lines += ["", *_data_lines(figures[0]["data"])]
    return lines


def _slices(slices: dict[str, Any]) -> list[str]:
    """Return a table for each attribute, a row a group; why a group is too small stands below."""
    lines: list[str] = []
    for attribute, groups in slices.items():
        if attribute in ("worst", "about"):
            lines += [attribute, *(f"  {line}" for line in _lines(groups))]
            continue
        rows = [
            {attribute: value}
            | {key: group[key] for key in group if key.removesuffix("_interval") in _OF_GROUPS}
            for value, group in groups.items()
        ]
        lines += _table(rows, share=False)
        lines += [f"! {value}: {g['too_small']}" for value, g in groups.items() if g["too_small"]]
        lines.append("")
    return lines


def _data_lines(data: dict[str, Any]) -> list[str]:
    rejected = ", ".join(f"{count} {reason}" for reason, count in data["without_face"].items())
    lines = [
        f"{data['folder']}: {data['photos']} photos of {data['people']} people, "
        f"{data['faces']} faces" + (f"; without: {rejected}" if rejected else "")
    ]
    return [*lines, data["seen"]["told"]]


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        flat = [line for line in _scalars(value) if line]
        for name, inner in value.items():
            if _nested(inner) and not name.endswith("_interval"):
                flat += [name, *(f"  {line}" for line in _lines(inner))]
        return flat
    if isinstance(value, list):
        return _table(value)
    return [_shown(value)]


def _nested(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and len(value) > 0 and isinstance(value[0], dict)
    )


def _scalars(figures: dict[str, Any]) -> Iterator[str]:
    for name, value in figures.items():
        if name.endswith("_interval") or _nested(value) or value == "":
            continue
        shown = _shown(value)
        interval = figures.get(f"{name}_interval")
        if interval and interval["low"] is not None:
            shown += f"  ({interval['low']:.4f} to {interval['high']:.4f})"
        yield f"{name:<32} {shown}"


def _table(rows: list[Any], share: bool = True) -> list[str]:
    """Return a list of equal dictionaries as a table; above it what all rows `share`."""
    if not rows or not isinstance(rows[0], dict):
        return [_shown(rows)]
    names = [n for n in dict.fromkeys(n for row in rows for n in row) if "interval" not in n]
    common = len(rows) > 1 and share
    shared = [n for n in names if common and all(row.get(n) == rows[0].get(n) for row in rows)]
    told = [f"{name:<32} {_shown(rows[0].get(name))}" for name in shared]
    names = [name for name in names if name not in shared]
    cells = [[_cell(row, name) for name in names] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(names, *cells, strict=True)]
    return told + [
        "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
        for line in [names, *cells]
    ]


def _cell(row: dict[str, Any], name: str) -> str:
    interval = row.get(f"{name}_interval")
    told = _shown(row.get(name))
    if interval and interval["low"] is not None:
        told += f" ({interval['low']:.4f} to {interval['high']:.4f})"
    return told


def _flat(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        if not prefix and name in ("bundle", "protocol", "data"):
            continue
        if isinstance(value, dict):
            if not name.endswith("_interval"):
                yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, row in enumerate(value):
                which = row.get("alteration", str(number))
                yield from _flat(row, f"{prefix}{name}.{which}.")
        elif not isinstance(value, str):
            interval = figures.get(f"{name}_interval")
            told = _cell({name: value, f"{name}_interval": interval}, name)
            yield f"{prefix}{name}", told


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2g}"
    return ", ".join(_shown(v) for v in value) if isinstance(value, list) else str(value)
