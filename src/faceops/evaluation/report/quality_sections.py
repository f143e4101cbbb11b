"""Groups of people or photos, each with its errors, and where a group is too small to judge."""

from typing import Any

from faceops.evaluation.figures import shown_interval, shown_share
from faceops.evaluation.mistakes import ONE_PERSON, TWO_PEOPLE
from faceops.evaluation.report.document import (
    Bullets,
    Facts,
    Pairs,
    Part,
    Picture,
    Section,
    Table,
    Text,
    absent,
)

GROUPS_TITLE = "Groups"


def groups_section(facts: Facts) -> Section:
    """A table an attribute; without attributes, that nothing is known."""
    slices = facts.figures.get("slices")
    if not slices:
        why = (
            "No groups were given, so nothing is known of how errors differ between them. A CSV of "
            "attributes a person or photo (evaluate.slices, or --slices) measures it."
        )
        return absent("groups", GROUPS_TITLE, why)
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
    return Section("groups", GROUPS_TITLE, [*parts, *_worst(slices["worst"])])


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


ROBUSTNESS_TITLE = "Bad photos"


def robustness_section(facts: Facts) -> Section:
    """A row an alteration: faces found again, TAR, and its fall against the unaltered photos."""
    rows = facts.figures.get("robustness", [])
    if not rows:
        why = "Not measured: evaluate.robustness_photos is 0, or the protocol alters no photos."
        return absent("robustness", ROBUSTNESS_TITLE, why)
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
    return Section("robustness", ROBUSTNESS_TITLE, parts)


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


MISTAKES_TITLE = "The worst mistakes"


def mistakes_section(facts: Facts, pictured: bool) -> Section:
    """Both lists of pairs; `pictured` says whether they are at hand."""
    if not pictured:
        why = "No pictures: the protocol that was run does not look at all pairs (all does)."
        return absent("mistakes", MISTAKES_TITLE, why)
    told = (
        "Whether a pair is of one person is what the labels say. A wrong label is no mistake of "
        "the model; it stands at the top here. A photo is shown in its worst pair only. "
        + (
            "p is the stated probability of one person; 1-2e-07 is 1 minus 0.0000002. "
            if facts.thresholds
            else "The squared distance of the embeddings stands with each pair. "
        )
        + "mistakes.csv has the same list."
    )
    return Section(
        "mistakes",
        MISTAKES_TITLE,
        [
            Text(told),
            Pairs(TWO_PEOPLE, "Two people who look alike most"),
            Pairs(ONE_PERSON, "One person whose photos look alike least"),
        ],
    )


def map_section(facts: Facts) -> Section:
    """The map of some people's faces."""
    told = (
        "Some people with several photos, placed by t-SNE: who lies side by side is alike to the "
        "model. Distances mean nothing. A colour frames the photos of one person; it comes again."
    )
    picture = Picture("similarity_map.png", "Faces of some people, alike ones near", wide=True)
    return Section("map", "A map of faces", [Text(told), picture])


def training_section(facts: Facts) -> Section:
    """Loss and validation score by epoch."""
    key, title = "training", "Training"
    if not facts.history:
        return absent(key, title, "The history of the training is not at hand.")
    if len(facts.history) < 2:
        return absent(key, title, "No epoch of training: the start was kept as it was.")
    rows = [
        [row["epoch"], row["phase"], row["loss"] or "-", row["val_tar"] or "-"]
        for row in facts.history
    ]
    header = ["epoch", "phase", "loss", "TAR at FAR 1e-3, validation people"]
    picture = Picture("loss.png", "Loss and validation score by epoch")
    return Section(key, title, [picture, Table(header, rows)])


def limits_section(facts: Facts) -> Section:
    """Limits that follow from how many and what kind of people were measured."""
    people = facts.figures["people"]
    few = "few" if people < 200 else "a limited sample"
    groups = (
        "the table of groups says how far"
        if facts.figures.get("slices")
        else "no figure by group exists here"
    )
    items = [
        "Thresholds hold for strangers like the people they were measured on. Siblings, twins, "
        "children and people of groups that are rare in the photos above are confused more "
        f"often; {groups}.",
        f"{people:,} test people are {few}: read the intervals, not the values.",
        "Extrapolated thresholds rest on the tail's shape; measure on more people before a large "
        "gallery relies on them.",
        "Small, blurred, covered or strongly turned faces, old photos, and pictures of pictures "
        "are recognised worse than the figures say"
        + (", see Bad photos." if facts.figures.get("robustness") else "."),
        *facts.about.notes,
    ]
    return Section("limits", "Limits", [Bullets(items)])
