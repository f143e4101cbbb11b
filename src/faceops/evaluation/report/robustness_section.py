"""What bad photos cost."""

from typing import Any

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Part, Section, Table, Text, absent
from faceops.evaluation.shown import shown_interval, shown_share

TITLE = "Bad photos"


def robustness_section(facts: Facts) -> Section:
    """A row an alteration: faces found again, TAR, and its fall against the unaltered photos."""
    rows = facts.figures.get("robustness", [])
    if not rows:
        why = "Not measured: evaluate.robustness_photos is 0, or the protocol alters no photos."
        return absent("robustness", TITLE, why)
    first = rows[0]
    told = (
        f"{first['photos']:,} photos of {first['people']:,} people altered one way at a time, each "
        f"compared with unaltered photos of its person ({first['pairs']:,} pairs). The threshold "
        f"keeps a false accept rate of {first['far']:g} on unaltered photos; a face that is not "
        "found again is a miss."
    )
    parts: list[Part] = [Text(told)]
    if not first["far_supported"]:
        why = f"Too few photos to see a false accept rate of {first['far']:g}: read the order only."
        parts.append(Text(why, "warning"))
    header = ["photo", "face found", "TAR", "95 %", "fall", "95 % of the fall"]
    released = "release_tar" in first
    if released:
        header += ["TAR at the release's threshold", "false accept rate there"]
    parts.append(Table(header, [_cells(row, released) for row in rows]))
    if first.get("release_threshold_refused"):
        parts.append(Text(f"The release's own: {first['release_threshold_refused']}", "absent"))
    return Section("robustness", TITLE, parts)


def _cells(row: dict[str, Any], released: bool) -> list[str]:
    cells = [
        row["alteration"].replace("_", " "),
        shown_share(row["found"]),
        shown_share(row["tar"]),
        shown_interval(row["tar_interval"]),
        shown_share(row["fall"]),
        shown_interval(row["fall_interval"]),
    ]
    if released:
        told = shown_share(row["release_false_accept_rate"])
        cells += [shown_share(row["release_tar"]), told]
    return cells
