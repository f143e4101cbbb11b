"""Two photos, one person or two: all pairs, and pairs drawn at random."""

from typing import Any

from faceops.evaluation.figures import one_in, shown_interval, shown_probability, shown_share
from faceops.evaluation.report.document import (
    HEADER,
    Facts,
    Part,
    Picture,
    Section,
    Table,
    Text,
    absent,
    figure_row,
    pair_rows,
)
from faceops.verification.thresholds import Interval, Thresholds

PAIRS_TITLE = "Two photos compared"


def pairs_section(facts: Facts) -> Section:
    """All pairs with the thresholds behind each rate, the curves, and random pairs."""
    pairs, drawn = facts.figures.get("verification"), facts.figures.get("random_pairs")
    if not pairs and not drawn:
        return absent("pairs", PAIRS_TITLE, "The protocol that was run compares no pairs.")
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
    return Section("pairs", PAIRS_TITLE, parts)


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


VERIFIER_TITLE = "The probability"


def verifier_section(facts: Facts) -> Section:
    """Calibration on test people; the choices of the verify stage, on validation people."""
    if facts.thresholds is None:
        why = "Nothing was calibrated: a score of this model is no probability."
        return absent("probability", VERIFIER_TITLE, why)
    error = facts.figures.get("verification", {}).get("calibration_error")
    parts: list[Part] = [
        Text("The protocol that was run holds no probability against truth.", "absent")
    ]
    if error is not None:
        told = (
            f"Expected calibration error {shown_share(error)}: by so much a stated probability is "
            "off on average, over all pairs of test people. Pairs of one person weigh as much as "
            "pairs of two, and among them every person as much as another. "
            "Nearly all pairs lie near 0 or 1, so the mean says little of what lies between: look "
            "at the picture."
        )
        parts = [Text(told), Picture("calibration.png", "Stated probability against what was so")]
    if facts.verify is None:
        why = "How the verifier was chosen is told in the report of the pipeline's own evaluation."
        parts.append(Text(why, "absent"))
    else:
        parts += _choices(facts.verify)
    return Section("probability", VERIFIER_TITLE, parts)


def _choices(verify: dict[str, Any]) -> list[Part]:
    far, rates = verify["compared_at_far"], verify["tar"]
    kept = "the linear layer" if verify["kind"] == "linear" else "the plain distance"
    calibration = verify["calibration"]
    rows = [["linear layer", shown_share(rates["linear"]), ""],
            ["plain distance", shown_share(rates["distance"]), ""],
            ["gain of the layer", shown_share(verify["gain"]),
             shown_interval(verify["gain_interval"])]]  # fmt: skip
    parts: list[Part] = [
        Text(
            f"Kept: {kept}. The linear layer on squared differences is kept only where it beats "
            f"the plain distance on the {verify['people']:,} validation people, the same people "
            "resampled for both."
        ),
        Table(["verifier", f"TAR at FAR {far:g}", "95 %"], rows, "On validation people"),
    ]
    worth = calibration["held_out"]
    if not worth:
        why = f"Calibrated by {calibration['method']}: too few people to hold any out for a choice."
        return [*parts, Text(why, "absent")]
    rows = [
        [name + (" (chosen)" if name == calibration["method"] else ""),
         shown_share(figures["log_loss"]), shown_share(figures["expected_error"])]
        for name, figures in sorted(worth.items(), key=lambda item: item[1]["log_loss"])
    ]  # fmt: skip
    caption = f"Held out: {calibration['folds_of_people']} folds of validation people"
    return [*parts, Table(["calibration", "log-loss, nats", "expected error"], rows, caption)]


THRESHOLDS_TITLE = "Where it cuts"
GALLERIES = (10, 100, 1000, 10000)


def thresholds_section(facts: Facts) -> Section:
    """The default threshold by gallery size in words, and both tables of the release."""
    measured = facts.thresholds
    if measured is None:
        why = "The embedder has no thresholds: nothing was calibrated."
        return absent("thresholds", THRESHOLDS_TITLE, why)
    told = (
        f"Measured on {measured.data}: {measured.photos:,} photos, {measured.genuine_pairs:,} "
        f"pairs of one person, {measured.impostor_pairs:,} of two."
    )
    note = (
        f"A name also needs a lead of {measured.runner_up_margin:g} in log odds over the next "
        "person. A probability is calibrated for as many pairs of one person as of two; in a "
        "photo folder the odds are others."
    )
    parts: list[Part] = [Text(told), _in_words(measured), _search(measured), _pairs(measured)]
    return Section("thresholds", THRESHOLDS_TITLE, [*parts, Text(note)])


def _in_words(measured: Thresholds) -> Table:
    budget = measured.default_budget
    rows = []
    for faces in GALLERIES:
        threshold = measured.for_search(budget, faces)
        how = "measured" if measured.search_is_measured(budget, faces) else "extrapolated"
        whom = f"({how} on {measured.people:,} people)"
        aim = f"meant for at most {one_in(budget)} given a name {whom}"
        if threshold > 1:
            aim = f"no name possible: impostor pairs reach probability 1 {whom}"
        rows.append([f"{faces:,}", shown_probability(threshold), aim])
    return Table(["faces in the gallery", "threshold", "in words"], rows)


def _search(measured: Thresholds) -> Table:
    rows = [
        [
            f"{row.gallery_faces:,}",
            f"{row.budget * 100:g} %",
            f"refused: needs {row.people_needed:,} people"
            if row.probability is None
            else shown_probability(row.probability),
            _interval(row.false_positive_rate),
            "" if row.probability is None else "measured" if row.measured else "extrapolated",
        ]
        for row in measured.search
    ]
    header = ["faces in the gallery", "strangers named, at most", "threshold",
              "95 %, threshold held", "how"]  # fmt: skip
    return Table(header, rows, "Naming a face, on the validation people it was measured on")


def _pairs(measured: Thresholds) -> Table:
    rows = []
    for row in measured.pairs:
        if row.probability is None or row.true_accept_rate is None:
            refused = f"refused: needs {row.people_needed:,} people"
            rows.append([f"{row.budget:g}", refused, "", ""])
            continue
        rows.append(
            [
                f"{row.budget:g}",
                shown_probability(row.probability),
                _interval(row.false_accept_rate),
                shown_share(row.true_accept_rate),
            ]
        )
    header = ["false accepts a pair", "threshold", "95 %, threshold held",
              "pairs of one person accepted, on the validation people it was tuned on"]  # fmt: skip
    return Table(header, rows, "Comparing two photos")


def _interval(ends: Interval | None) -> str:
    return "" if ends is None else shown_interval({"low": ends.low, "high": ends.high})


LFW_TITLE = "LFW's protocols"
_VIEWS = {"lfw_view1": "View 1", "lfw_view2": "View 2"}


def lfw_section(facts: Facts) -> Section:
    """Accuracy by LFW's lists, and all pairs of the photos that they name; those that were run."""
    parts: list[Part] = []
    for key, name in _VIEWS.items():
        if key in facts.figures:
            parts += _view(name, facts.figures[key])
    return Section("lfw", LFW_TITLE, parts)


def _view(name: str, figures: dict[str, Any]) -> list[Part]:
    rows = [figure_row("accuracy", figures, "accuracy")]
    if "accuracy_standard_error" in figures:
        error = shown_share(figures["accuracy_standard_error"])
        rows.append(["standard error over the folds", error, ""])
    how = (
        "Ten folds; the threshold of each comes from the other nine."
        if "fold_accuracy" in figures
        else "The threshold comes from the training list."
    )
    parts: list[Part] = [
        Text(f"{name}: {figures['pairs']:,} pairs. {how}"),
        Table(HEADER, rows, name),
    ]
    every = figures.get("all_pairs")
    if every:
        rows = [*pair_rows(every), figure_row("rank-1", every, "rank_1")]
        told = f"{every['photos']:,}, {every['photos_without_face']:,} of them without a face"
        parts.append(Table(HEADER, rows, f"{name}: all pairs of its photos ({told})"))
    return parts
