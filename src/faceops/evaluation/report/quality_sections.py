"""Report sections about groups, altered photos, mistakes, training and limits."""

from typing import Any

from faceops.evaluation.mistakes import ONE_PERSON, TWO_PEOPLE
from faceops.evaluation.report import document as doc
from faceops.verification.album import FEWEST_PEOPLE

GROUPS_TITLE = "Groups"


def groups_section(facts: doc.Facts) -> doc.Section:
    """Return one table per attribute, or how to measure groups."""
    slices = facts.figures.get("slices")
    if not slices:
        why = (
            "No groups were given, so differences between groups are unknown. Name a CSV file of "
            "attributes per person or photo (evaluate.slices or --slices) to measure them."
        )
        return doc.absent("groups", GROUPS_TITLE, why)
    about = slices["about"]
    parts: list[doc.Part] = [
        doc.Text(
            "False accepts are counted within a group. TAR is at one common threshold, set for a "
            f"false accept rate of {about['far']:g} over all groups together."
        )
    ]
    for attribute, groups in slices.items():
        if attribute in ("worst", "about"):
            continue
        parts.append(doc.Table(*_table(groups), f"By {attribute}"))
        blank = about["photos_without_value"].get(attribute, 0)
        if blank:
            parts.append(doc.Text(f"{blank:,} photos have no {attribute}."))
        parts += [
            doc.Text(f"{attribute} {value}: {group['too_small']}", "warning")
            for value, group in groups.items()
            if group["too_small"]
        ]
    return doc.Section("groups", GROUPS_TITLE, [*parts, *_worst(slices["worst"])])


def _table(groups: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    searched = any(group.get("dir") is not None for group in groups.values())
    header = ["group", "people", "photos", "TAR", "false accept rate"]
    header += ["correct names", "strangers named"] if searched else []
    rows = []
    for value, group in groups.items():
        row = [value, f"{group['people']:,}", f"{group['photos']:,}"]
        row += [_cell_with_support(group, name) for name in ("tar", "false_accept_rate")]
        if searched:
            row += [doc.with_interval(group, name) for name in ("dir", "fpir")]
        rows.append(row)
    return header, rows


def _cell_with_support(group: dict[str, Any], name: str) -> str:
    text = doc.with_interval(group, name)
    return text if group[f"{name}_supported"] else f"{text} - too few people"


def _worst(worst: dict[str, Any]) -> list[doc.Part]:
    parts: list[doc.Part] = []
    titles = {"tar": "The lowest TAR", "false_accept_rate": "The highest false accept rate"}
    for name, title in titles.items():
        where = "no group is large enough"
        if group := worst.get(name):
            where = f"{group['attribute']} {group['value']}, {doc.with_interval(group, name)}"
        parts.append(doc.Text(f"{title}: {where}."))
    return parts


ROBUSTNESS_TITLE = "Robustness to altered photos"


def robustness_section(facts: doc.Facts) -> doc.Section:
    """Return one row per alteration: faces found again, TAR, and the loss of TAR."""
    rows = facts.figures.get("robustness", [])
    if not rows:
        why = "Not measured: evaluate.robustness_photos is 0, or the protocol alters no photos."
        return doc.absent("robustness", ROBUSTNESS_TITLE, why)
    first = rows[0]
    text = (
        f"{first['photos']:,} photos of {first['people']:,} people, altered in one way at a time "
        f"and compared with unaltered photos of the same person ({first['pairs']:,} pairs). The "
        f"threshold is set for a false accept rate of {first['far']:g} on unaltered photos; a face "
        "that is not found again counts as a miss. TAR at equal FAR is at the threshold at which "
        "the altered photos themselves, each with unaltered ones of other people, have that rate: "
        "compare models by it."
    )
    parts: list[doc.Part] = [doc.Text(text)]
    if not first["far_supported"]:
        why = f"Too few photos for a false accept rate of {first['far']:g}: compare the order only."
        parts.append(doc.Text(why, "warning"))
    header = ["photo", "face found", "TAR", "95 %", "loss of TAR", "95 % of the loss"]
    header += ["TAR at equal FAR", "95 %"]
    released = "release_tar" in first
    if released:
        header += ["TAR at the release's threshold", "false accept rate there"]
    parts.append(doc.Table(header, [_cells(row, released) for row in rows]))
    if first.get("release_threshold_refused"):
        parts.append(doc.Text(f"The release's own: {first['release_threshold_refused']}", "absent"))
    return doc.Section("robustness", ROBUSTNESS_TITLE, parts)


def _cells(row: dict[str, Any], released: bool) -> list[str]:
    name = row["alteration"].replace("_", " ")
    cells = [name, doc.shown_share(row["found"])]
    for figure in ("tar", "fall", "equal_far_tar"):
        cells += doc.figure_row("", row, figure)[1:]
    if released:
        cells += [doc.shown_share(row[f"release_{name}"]) for name in ("tar", "false_accept_rate")]
    return cells


MISTAKES_TITLE = "Worst mistakes"


def mistakes_section(facts: doc.Facts, pictured: bool) -> doc.Section:
    """Return both lists of pairs; `pictured`: their pictures are available."""
    if not pictured:
        why = "No pictures: only the protocol all compares all pairs."
        return doc.absent("mistakes", MISTAKES_TITLE, why)
    text = (
        "Genuine and impostor are as labelled: wrong labels appear here first and are not the "
        "model's mistakes. A photo is shown in its worst pair only. "
        + (
            "p is the stated probability of one person; 1-2e-07 is 1 minus 0.0000002. "
            if facts.thresholds
            else "Each pair is shown with the squared distance of its embeddings. "
        )
        + "mistakes.csv holds the same list."
    )
    pairs = [
        doc.Pairs(TWO_PEOPLE, "Impostor pairs with the highest scores"),
        doc.Pairs(ONE_PERSON, "Genuine pairs with the lowest scores"),
    ]
    return doc.Section("mistakes", MISTAKES_TITLE, [doc.Text(text), *pairs])


def map_section() -> doc.Section:
    """Return the t-SNE map of some people's faces."""
    text = (
        "Photos of some people, placed by t-SNE: neighbours are similar to the model, distances "
        "have no meaning. The frame's colour marks the person; colours repeat."
    )
    picture = doc.Picture(
        "similarity_map.png", "Faces of some people, similar ones close", wide=True
    )
    return doc.Section("map", "Map of faces", [doc.Text(text), picture])


def training_section(facts: doc.Facts) -> doc.Section:
    """Return loss and validation score by epoch."""
    key, title = "training", "Training"
    if not facts.history:
        return doc.absent(key, title, "No training history is available.")
    if len(facts.history) < 2:
        why = "No epoch of training: the pretrained weights are used as they are."
        return doc.absent(key, title, why)
    columns = ("epoch", "phase", "loss", "val_tar")
    rows = [[row[name] or "-" for name in columns] for row in facts.history]
    header = ["epoch", "phase", "loss", "TAR at FAR 1e-3, validation people"]
    picture = doc.Picture("loss.png", "Loss and validation score by epoch")
    return doc.Section(key, title, [picture, doc.Table(header, rows)])


_OF_STRANGERS = (
    "Thresholds hold for strangers similar to the people they were measured on. Siblings, twins, "
    "children and people of groups that are rare in these photos are confused more often"
)
_OF_ALBUMS = (
    "The threshold of an album holds for its strangers on average; relatives of enrolled people "
    f"get names more often. An album of fewer than {FEWEST_PEOPLE} people gets the threshold of a "
    "calibration set, which holds for strangers similar to those of that set"
)


def limits_section(facts: doc.Facts) -> doc.Section:
    """Return the limits that follow from the number and kind of people measured."""
    people = facts.figures["people"]
    few = "few" if people < 200 else "a limited sample"
    groups = (
        "see the tables of groups"
        if facts.figures.get("slices")
        else "no figures by group were measured"
    )
    adapts = facts.thresholds is not None and facts.thresholds.normalisation is not None
    items = [
        f"{_OF_ALBUMS if adapts else _OF_STRANGERS}; {groups}.",
        f"{people:,} test people are {few}: rely on the intervals, not on single values.",
        "Extrapolated thresholds assume the shape of the scores' tail; measure on more people "
        "before relying on them in a large gallery.",
        "Small, blurred, covered or strongly turned faces, old photos and pictures of pictures "
        "are recognised less reliably than the figures say"
        + (f"; see {ROBUSTNESS_TITLE}." if facts.figures.get("robustness") else "."),
        *facts.about.notes,
    ]
    return doc.Section("limits", "Limits", [doc.Bullets(items)])
