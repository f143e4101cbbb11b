"""Groups of people or photos, each with its errors, and where a group is too small to judge."""

from typing import Any

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Part, Section, Table, Text, absent
from faceops.evaluation.shown import shown_interval, shown_share

TITLE = "Groups"


def groups_section(facts: Facts) -> Section:
    """A table an attribute; without attributes, that nothing is known."""
    slices = facts.figures.get("slices")
    if not slices:
        why = (
            "No groups were given, so nothing is known of how errors differ between them. A CSV of "
            "attributes a person or photo (evaluate.slices, or --slices) measures it."
        )
        return absent("groups", TITLE, why)
    about = slices["about"]
    parts: list[Part] = [
        Text(
            f"False accepts are of two people of one group. TAR at the one threshold that keeps a "
            f"false accept rate of {about['far']:g} on everybody together."
        )
    ]
    for attribute, groups in slices.items():
        if attribute in ("worst", "about"):
            continue
        parts.append(Table(*_table(groups), f"By {attribute}"))
        blank = about["photos_without_value"].get(attribute, 0)
        if blank:
            parts.append(Text(f"{blank:,} photos state no {attribute}."))
        parts += [
            Text(f"{attribute} {value}: {group['too_small']}", "warning")
            for value, group in groups.items()
            if group["too_small"]
        ]
    return Section("groups", TITLE, [*parts, *_worst(slices["worst"])])


def _table(groups: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    searched = any(group.get("dir") is not None for group in groups.values())
    header = ["group", "people", "photos", "TAR", "false accept rate"]
    header += ["right names", "strangers named"] if searched else []
    rows = []
    for value, group in groups.items():
        row = [value, f"{group['people']:,}", f"{group['photos']:,}"]
        row += [_judged(group, name) for name in ("tar", "false_accept_rate")]
        if searched:
            row += [_with_ends(group, name) for name in ("dir", "fpir")]
        rows.append(row)
    return header, rows


def _judged(group: dict[str, Any], name: str) -> str:
    told = _with_ends(group, name)
    return told if group[f"{name}_supported"] else f"{told} - too few people"


def _with_ends(group: dict[str, Any], name: str) -> str:
    ends = shown_interval(group.get(f"{name}_interval"))
    return shown_share(group[name]) + (f" ({ends})" if ends else "")


def _worst(worst: dict[str, Any]) -> list[Part]:
    parts: list[Part] = []
    for name, told in (("tar", "The lowest TAR"), ("false_accept_rate", "The most false accepts")):
        group = worst.get(name)
        where = (
            "no group is large enough to say"
            if group is None
            else f"{group['attribute']} {group['value']}, {_with_ends(group, name)}"
        )
        parts.append(Text(f"{told}: {where}."))
    return parts
