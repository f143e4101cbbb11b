"""Report sections about pairs: verification, calibration, LFW's lists, groups, alterations."""

from collections.abc import Iterator
from typing import Any

from faceops.evaluation.report import document as doc


def pairs(facts: doc.Facts) -> Iterator[doc.Part]:
    """Yield figures of all pairs with their thresholds, the curves, and random pairs."""
    scored, drawn = facts.figures.get("verification"), facts.figures.get("random_pairs")
    if scored:
        yield doc.Text(
            f"All pairs of all photos: {scored['genuine_pairs']:,} genuine, "
            f"{scored['impostor_pairs']:,} impostor. The threshold of each TAR is set on these "
            "same pairs: use it to compare models, not as a guarantee."
        )
        yield _all_pairs(scored, facts)
        yield doc.Picture("roc.png", "True against false accept rate, on a log axis")
        alt = "False reject against false accept rate, on normal-deviate axes"
        yield doc.Picture("det.png", alt)
        yield doc.Picture("scores.png", "Histograms of the scores of genuine and impostor pairs")
    if drawn:
        yield _random(drawn)
    if not scored and not drawn:
        yield doc.Text("The selected protocol compares no pairs.", "absent")


def _all_pairs(pairs: dict[str, Any], facts: doc.Facts) -> doc.Table:
    rows = doc.pair_rows(pairs)
    if facts.thresholds is None:
        return doc.Table(doc.HEADER, rows)
    cuts = {
        f"TAR at FAR {key.removeprefix('tar_at_far_').removesuffix('_threshold')}": value
        for key, value in pairs.items()
        if key.endswith("_threshold")
    }
    shown = []
    for row in rows:
        cut = cuts.get(row[0].partition(" (")[0])
        shown.append([*row, "" if cut is None else doc.shown_probability(cut)])
    return doc.Table([*doc.HEADER, "threshold"], shown)


def _random(drawn: dict[str, Any]) -> doc.Table:
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
        spread = doc.shown_share(drawn.get(f"{key}_spread"))
        rows.append(
            [name, doc.shown_share(value), doc.shown_interval(drawn[f"{key}_interval"]), spread]
        )
    caption = (
        f"{drawn['draws']} draws of {drawn['pairs']:,} random pairs, half of them genuine. VAL is "
        "the share of genuine pairs accepted at a threshold set on each draw"
        + ("; accuracy at a FAR uses the release's threshold." if "accuracy" in drawn else ".")
    )
    return doc.Table([*doc.HEADER, "spread over draws"], rows, caption)


def verifier(facts: doc.Facts) -> Iterator[doc.Part]:
    """Yield calibration on test people, and the verify stage's choices on validation people."""
    if facts.thresholds is None:
        why = "The embedder is not calibrated: its scores are not probabilities."
        yield doc.Text(why, "absent")
        return
    error = facts.figures.get("verification", {}).get("calibration_error")
    if error is None:
        yield doc.Text("The selected protocol does not measure calibration.", "absent")
    else:
        yield doc.Text(
            f"Expected calibration error {doc.shown_share(error)}: the mean difference between the "
            "stated probability and the observed share, over all pairs of test people. Genuine and "
            "impostor pairs have equal weight, and each person has equal weight among the genuine "
            "ones. Nearly all pairs lie near 0 or 1, so the mean says little about the values "
            "between; see the picture."
        )
        yield doc.Picture("calibration.png", "Observed share by stated probability")
    if facts.verify is None:
        why = "The report of the pipeline's own evaluation says how the verifier was chosen."
        yield doc.Text(why, "absent")
    else:
        yield from _choices(facts.verify)


def _choices(verify: dict[str, Any]) -> Iterator[doc.Part]:
    far, rates = verify["compared_at_far"], verify["tar"]
    kept = "the linear layer" if verify["kind"] == "linear" else "the plain distance"
    calibration = verify["calibration"]
    rows = [["linear layer", doc.shown_share(rates["linear"]), ""],
            ["plain distance", doc.shown_share(rates["distance"]), ""],
            ["gain of the linear layer", doc.shown_share(verify["gain"]),
             doc.shown_interval(verify["gain_interval"])]]  # fmt: skip
    yield doc.Text(
        f"Chosen: {kept}. The linear layer on squared differences is chosen only if it beats "
        f"the plain distance on the {verify['people']:,} validation people in a paired "
        "bootstrap over people."
    )
    yield doc.Table(["verifier", f"TAR at FAR {far:g}", "95 %"], rows, "On validation people")
    worth = calibration["held_out"]
    if not worth:
        why = f"Calibrated by {calibration['method']}: too few people for a held-out comparison."
        yield doc.Text(why, "absent")
        return
    rows = [
        [name + (" (chosen)" if name == calibration["method"] else ""),
         doc.shown_share(figures["log_loss"]), doc.shown_share(figures["expected_error"])]
        for name, figures in sorted(worth.items(), key=lambda item: item[1]["log_loss"])
    ]  # fmt: skip
    caption = f"Cross-validated over {calibration['folds_of_people']} folds of validation people"
    yield doc.Table(["calibration", "log-loss, nats", "expected error"], rows, caption)


def lfw(facts: doc.Facts) -> Iterator[doc.Part]:
    """Yield accuracy by LFW's lists, and all pairs of the photos that they name."""
    for key, name in (("lfw_view1", "View 1"), ("lfw_view2", "View 2")):
        if key in facts.figures:
            yield from _view(name, facts.figures[key])


def _view(name: str, figures: dict[str, Any]) -> Iterator[doc.Part]:
    rows = [doc.figure_row("accuracy", figures, "accuracy")]
    if "accuracy_standard_error" in figures:
        error = "standard error over the folds"
        rows.append(doc.figure_row(error, figures, "accuracy_standard_error"))
    how = (
        "Ten folds; the threshold of each comes from the other nine."
        if "fold_accuracy" in figures
        else "The threshold comes from the training list."
    )
    yield doc.Text(f"{name}: {figures['pairs']:,} pairs. {how}")
    yield doc.Table(doc.HEADER, rows, name)
    if every := figures.get("all_pairs"):
        rows = [*doc.pair_rows(every), doc.figure_row("rank-1", every, "rank_1")]
        count = f"{every['photos']:,}, {every['photos_without_face']:,} of them without a face"
        yield doc.Table(doc.HEADER, rows, f"{name}: all pairs of its photos ({count})")


def groups(facts: doc.Facts) -> Iterator[doc.Part]:
    """Yield one table per attribute, or how to measure groups."""
    slices = facts.figures.get("slices")
    if not slices:
        yield doc.Text(
            "No groups were given, so differences between groups are unknown. Name a CSV file of "
            "attributes per person or photo (evaluate.slices or --slices) to measure them.",
            "absent",
        )
        return
    about = slices["about"]
    yield doc.Text(
        "False accepts are counted within a group. TAR is at one common threshold, set for a "
        f"false accept rate of {about['far']:g} over all groups together."
    )
    for attribute, measured in slices.items():
        if attribute in ("worst", "about"):
            continue
        yield doc.Table(*_group_table(measured), f"By {attribute}")
        if blank := about["photos_without_value"].get(attribute, 0):
            yield doc.Text(f"{blank:,} photos have no {attribute}.")
        for value, group in measured.items():
            if group["too_small"]:
                yield doc.Text(f"{attribute} {value}: {group['too_small']}", "warning")
    titles = {"tar": "The lowest TAR", "false_accept_rate": "The highest false accept rate"}
    for name, title in titles.items():
        where = "no group is large enough"
        if group := slices["worst"].get(name):
            where = f"{group['attribute']} {group['value']}, {doc.with_interval(group, name)}"
        yield doc.Text(f"{title}: {where}.")


def _group_table(groups: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    searched = any(group.get("dir") is not None for group in groups.values())
    header = ["group", "people", "photos", "TAR", "false accept rate"]
    header += ["correct names", "strangers named"] if searched else []
    rows = []
    for value, group in groups.items():
        row = [value, f"{group['people']:,}", f"{group['photos']:,}"]
        for name in ("tar", "false_accept_rate"):
            few = "" if group[f"{name}_supported"] else " - too few people"
            row.append(f"{doc.with_interval(group, name)}{few}")
        if searched:
            row += [doc.with_interval(group, name) for name in ("dir", "fpir")]
        rows.append(row)
    return header, rows


ROBUSTNESS_TITLE = "Robustness to altered photos"


def robustness(facts: doc.Facts) -> Iterator[doc.Part]:
    """Yield one row per alteration: faces found again, TAR, and the loss of TAR."""
    rows = facts.figures.get("robustness", [])
    if not rows:
        why = "Not measured: evaluate.robustness_photos is 0, or the protocol alters no photos."
        yield doc.Text(why, "absent")
        return
    first = rows[0]
    yield doc.Text(
        f"{first['photos']:,} photos of {first['people']:,} people, altered in one way at a time "
        f"and compared with unaltered photos of the same person ({first['pairs']:,} pairs). The "
        f"threshold is set for a false accept rate of {first['far']:g} on unaltered photos; a face "
        "that is not found again counts as a miss. TAR at equal FAR is at the threshold at which "
        "the altered photos themselves, each with unaltered ones of other people, have that rate: "
        "compare models by it."
    )
    if not first["far_supported"]:
        why = f"Too few photos for a false accept rate of {first['far']:g}: compare the order only."
        yield doc.Text(why, "warning")
    header = ["photo", "face found", "TAR", "95 %", "loss of TAR", "95 % of the loss"]
    header += ["TAR at equal FAR", "95 %"]
    released = "release_tar" in first
    if released:
        header += ["TAR at the release's threshold", "false accept rate there"]
    yield doc.Table(header, [_alteration_cells(row, released) for row in rows])
    if first.get("release_threshold_refused"):
        yield doc.Text(f"The release's own: {first['release_threshold_refused']}", "absent")


def _alteration_cells(row: dict[str, Any], released: bool) -> list[str]:
    name = row["alteration"].replace("_", " ")
    cells = [name, doc.shown_share(row["found"])]
    for figure in ("tar", "fall", "equal_far_tar"):
        cells += doc.figure_row("", row, figure)[1:]
    if released:
        cells += [doc.shown_share(row[f"release_{name}"]) for name in ("tar", "false_accept_rate")]
    return cells
