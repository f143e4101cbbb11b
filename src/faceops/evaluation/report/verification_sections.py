"""Report sections about pairs: verification, calibration, thresholds, LFW's protocols."""

from typing import Any

from faceops.evaluation.report import document as doc
from faceops.verification.normalisation import Normalisation, pair_rate
from faceops.verification.thresholds import Interval, Thresholds, as_threshold

PAIRS_TITLE = "One-to-one verification"


def pairs_section(facts: doc.Facts) -> doc.Section:
    """Return figures of all pairs with their thresholds, the curves, and random pairs."""
    pairs, drawn = facts.figures.get("verification"), facts.figures.get("random_pairs")
    if not pairs and not drawn:
        return doc.absent("pairs", PAIRS_TITLE, "The selected protocol compares no pairs.")
    parts: list[doc.Part] = []
    if pairs:
        text = (
            f"All pairs of all photos: {pairs['genuine_pairs']:,} genuine, "
            f"{pairs['impostor_pairs']:,} impostor. The threshold of each TAR is set on these "
            "same pairs: use it to compare models, not as a guarantee."
        )
        parts += [
            doc.Text(text),
            _all_pairs(pairs, facts),
            doc.Picture("roc.png", "True against false accept rate, on a log axis"),
            doc.Picture(
                "det.png", "False reject against false accept rate, on normal-deviate axes"
            ),
            doc.Picture("scores.png", "Histograms of the scores of genuine and impostor pairs"),
        ]
    if drawn:
        parts.append(_random(drawn))
    return doc.Section("pairs", PAIRS_TITLE, parts)


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


VERIFIER_TITLE = "Calibration of the probability"


def verifier_section(facts: doc.Facts) -> doc.Section:
    """Return calibration on test people, and the verify stage's choices on validation people."""
    if facts.thresholds is None:
        why = "The embedder is not calibrated: its scores are not probabilities."
        return doc.absent("probability", VERIFIER_TITLE, why)
    error = facts.figures.get("verification", {}).get("calibration_error")
    parts: list[doc.Part] = [
        doc.Text("The selected protocol does not measure calibration.", "absent")
    ]
    if error is not None:
        text = (
            f"Expected calibration error {doc.shown_share(error)}: the mean difference between the "
            "stated probability and the observed share, over all pairs of test people. Genuine and "
            "impostor pairs have equal weight, and each person has equal weight among the genuine "
            "ones. Nearly all pairs lie near 0 or 1, so the mean says little about the values "
            "between; see the picture."
        )
        picture = doc.Picture("calibration.png", "Observed share by stated probability")
        parts = [doc.Text(text), picture]
    if facts.verify is None:
        why = "The report of the pipeline's own evaluation says how the verifier was chosen."
        parts.append(doc.Text(why, "absent"))
    else:
        parts += _choices(facts.verify)
    return doc.Section("probability", VERIFIER_TITLE, parts)


def _choices(verify: dict[str, Any]) -> list[doc.Part]:
    far, rates = verify["compared_at_far"], verify["tar"]
    kept = "the linear layer" if verify["kind"] == "linear" else "the plain distance"
    calibration = verify["calibration"]
    rows = [["linear layer", doc.shown_share(rates["linear"]), ""],
            ["plain distance", doc.shown_share(rates["distance"]), ""],
            ["gain of the linear layer", doc.shown_share(verify["gain"]),
             doc.shown_interval(verify["gain_interval"])]]  # fmt: skip
    parts: list[doc.Part] = [
        doc.Text(
            f"Chosen: {kept}. The linear layer on squared differences is chosen only if it beats "
            f"the plain distance on the {verify['people']:,} validation people in a paired "
            "bootstrap over people."
        ),
        doc.Table(["verifier", f"TAR at FAR {far:g}", "95 %"], rows, "On validation people"),
    ]
    worth = calibration["held_out"]
    if not worth:
        why = f"Calibrated by {calibration['method']}: too few people for a held-out comparison."
        return [*parts, doc.Text(why, "absent")]
    rows = [
        [name + (" (chosen)" if name == calibration["method"] else ""),
         doc.shown_share(figures["log_loss"]), doc.shown_share(figures["expected_error"])]
        for name, figures in sorted(worth.items(), key=lambda item: item[1]["log_loss"])
    ]  # fmt: skip
    caption = f"Cross-validated over {calibration['folds_of_people']} folds of validation people"
    return [*parts, doc.Table(["calibration", "log-loss, nats", "expected error"], rows, caption)]


THRESHOLDS_TITLE = "Thresholds"
GALLERIES = (10, 100, 1000, 10000)


def thresholds_section(facts: doc.Facts) -> doc.Section:
    """Return the default threshold by gallery size, and both tables of the release."""
    measured = facts.thresholds
    if measured is None:
        why = "The embedder has no thresholds: it is not calibrated."
        return doc.absent("thresholds", THRESHOLDS_TITLE, why)
    text = (
        f"Measured on {measured.data}: {measured.photos:,} photos, {measured.genuine_pairs:,} "
        f"genuine pairs, {measured.impostor_pairs:,} impostor pairs."
    )
    note = (
        f"A name also needs a lead of at least {measured.runner_up_margin:g} in log odds over the "
        "runner-up. Probabilities assume equal priors; real albums differ."
    )
    parts: list[doc.Part] = [doc.Text(text)]
    if measured.normalisation is not None:
        parts += [doc.Text(_ADAPTS), _fallback(measured, measured.normalisation)]
        parts.append(doc.Text(_WITHOUT_ALBUM))
    parts += [_in_words(measured), _search(measured), _pairs(measured)]
    return doc.Section("thresholds", THRESHOLDS_TITLE, [*parts, doc.Text(note)])


_ADAPTS = (
    "Names in an album: the threshold is found on the album itself, on normalised scores. An album "
    "with too few people cannot say; the threshold is then the highest of the calibration sets."
)
_WITHOUT_ALBUM = (
    "The tables below are on scores as they are, for what needs no album: enrolment and the "
    "grouping of unknown people."
)


def _fallback(measured: Thresholds, known: Normalisation) -> doc.Table:
    rows = []
    for size, budget in dict.fromkeys((row.gallery_faces, row.budget) for row in measured.search):
        name, odds = known.worst(pair_rate(budget, size))
        cut = doc.shown_probability(as_threshold(odds))
        rows.append([f"{size:,}", f"{budget * 100:g} %", cut, name])
    sets = "; ".join(
        f"{one.name}: {one.people:,} people, {one.photos:,} photos" for one in known.populations
    )
    header = ["people enrolled with one photo", "strangers named, at most", "threshold", "of"]
    return doc.Table(header, rows, f"For an album that cannot say ({sets})")


def _in_words(measured: Thresholds) -> doc.Table:
    budget = measured.default_budget
    rows = []
    for faces in GALLERIES:
        threshold = measured.for_search(budget, faces)
        how = "measured" if measured.search_is_measured(budget, faces) else "extrapolated"
        source = f"({how} on {measured.people:,} people)"
        aim = f"at most {doc.one_in(budget)} named {source}"
        if threshold > 1:
            aim = f"no name possible: impostor pairs reach probability 1 {source}"
        rows.append([f"{faces:,}", doc.shown_probability(threshold), aim])
    return doc.Table(["faces in the gallery", "threshold", "in words"], rows)


def _search(measured: Thresholds) -> doc.Table:
    rows = []
    for row in measured.search:
        size, budget = f"{row.gallery_faces:,}", f"{row.budget * 100:g} %"
        if row.probability is None:
            rows.append([size, budget, f"refused: needs {row.people_needed:,} people", "", ""])
            continue
        cut, how = doc.shown_probability(row.probability), ("extrapolated", "measured")
        rows.append([size, budget, cut, _interval(row.false_positive_rate), how[row.measured]])
    header = ["faces in the gallery", "strangers named, at most", "threshold",
              "95 %, threshold fixed", "how"]  # fmt: skip
    what = "Naming a face" if measured.normalisation is None else "Searching a gallery"
    return doc.Table(header, rows, f"{what}: measured on validation people")


def _pairs(measured: Thresholds) -> doc.Table:
    rows = []
    for row in measured.pairs:
        if row.probability is None:
            refused = f"refused: needs {row.people_needed:,} people"
            rows.append([f"{row.budget:g}", refused, "", ""])
            continue
        cut, rate = doc.shown_probability(row.probability), doc.shown_share(row.true_accept_rate)
        rows.append([f"{row.budget:g}", cut, _interval(row.false_accept_rate), rate])
    header = ["false accept rate", "threshold", "95 %, threshold fixed",
              "true accept rate on the same validation people"]  # fmt: skip
    return doc.Table(header, rows, "Comparing two photos")


def _interval(ends: Interval | None) -> str:
    return "" if ends is None else doc.shown_interval(ends.model_dump())


LFW_TITLE = "LFW's protocols"
_VIEWS = {"lfw_view1": "View 1", "lfw_view2": "View 2"}


def lfw_section(facts: doc.Facts) -> doc.Section:
    """Return accuracy by LFW's lists, and all pairs of the photos that they name."""
    parts: list[doc.Part] = []
    for key, name in _VIEWS.items():
        if key in facts.figures:
            parts += _view(name, facts.figures[key])
    return doc.Section("lfw", LFW_TITLE, parts)


def _view(name: str, figures: dict[str, Any]) -> list[doc.Part]:
    rows = [doc.figure_row("accuracy", figures, "accuracy")]
    if "accuracy_standard_error" in figures:
        error = "standard error over the folds"
        rows.append(doc.figure_row(error, figures, "accuracy_standard_error"))
    how = (
        "Ten folds; the threshold of each comes from the other nine."
        if "fold_accuracy" in figures
        else "The threshold comes from the training list."
    )
    parts: list[doc.Part] = [
        doc.Text(f"{name}: {figures['pairs']:,} pairs. {how}"),
        doc.Table(doc.HEADER, rows, name),
    ]
    every = figures.get("all_pairs")
    if every:
        rows = [*doc.pair_rows(every), doc.figure_row("rank-1", every, "rank_1")]
        count = f"{every['photos']:,}, {every['photos_without_face']:,} of them without a face"
        parts.append(doc.Table(doc.HEADER, rows, f"{name}: all pairs of its photos ({count})"))
    return parts
