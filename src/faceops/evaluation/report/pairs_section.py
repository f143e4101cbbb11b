"""Two photos, one person or two: all pairs, and pairs drawn at random."""

from typing import Any

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Part, Picture, Section, Table, Text, absent
from faceops.evaluation.report.summary_section import HEADER, pair_rows
from faceops.evaluation.shown import shown_interval, shown_probability, shown_share

TITLE = "Two photos compared"


def pairs_section(facts: Facts) -> Section:
    """All pairs with the thresholds behind each rate, the curves, and random pairs."""
    pairs, drawn = facts.figures.get("verification"), facts.figures.get("random_pairs")
    if not pairs and not drawn:
        return absent("pairs", TITLE, "The protocol that was run compares no pairs.")
    parts: list[Part] = []
    if pairs:
        told = (
            f"All pairs of all photos: {pairs['genuine_pairs']:,} of one person, "
            f"{pairs['impostor_pairs']:,} of two. The threshold behind a TAR here is found on "
            "these very pairs: it compares models, it is no promise."
        )
        parts += [
            Text(told),
            _all_pairs(pairs, facts),
            Picture("roc.png", "True against false accept rate, on a log axis"),
            Picture("det.png", "False reject against false accept rate, on normal deviate axes"),
            Picture("scores.png", "Histograms of the scores of both kinds of pairs"),
        ]
    if drawn:
        parts.append(_random(drawn))
    return Section("pairs", TITLE, parts)


def _all_pairs(pairs: dict[str, Any], facts: Facts) -> Table:
    rows = pair_rows(pairs)
    if facts.thresholds is None:
        return Table(HEADER, rows)
    cuts = {
        f"TAR at FAR {key.removeprefix('tar_at_far_').removesuffix('_threshold')}": value
        for key, value in pairs.items()
        if key.endswith("_threshold")
    }
    shown = []
    for row in rows:
        cut = cuts.get(row[0].partition(" (")[0])
        shown.append([*row, "" if cut is None else shown_probability(cut)])
    return Table([*HEADER, "threshold"], shown)


def _random(drawn: dict[str, Any]) -> Table:
    rows = []
    for key, value in drawn.items():
        if key in ("pairs", "draws") or not isinstance(value, float | None):
            continue
        if key.endswith("_spread"):
            continue
        name = key.replace("val_at", "VAL at").replace("accuracy_at", "accuracy at")
        name = name.replace("_far_", " FAR ")
        if f"{key}_reason" in drawn:
            rows.append([name, "refused", drawn[f"{key}_reason"], ""])
            continue
        spread = shown_share(drawn.get(f"{key}_spread"))
        rows.append([name, shown_share(value), shown_interval(drawn[f"{key}_interval"]), spread])
    caption = (
        f"{drawn['draws']} draws of {drawn['pairs']:,} random pairs, half of one person. VAL is "
        "the share of pairs of one person accepted at a threshold of each draw's own"
        + ("; accuracy at a FAR is at the release's threshold." if "accuracy" in drawn else ".")
    )
    return Table([*HEADER, "spread over draws"], rows, caption)
