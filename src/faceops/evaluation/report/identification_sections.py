"""Report sections about a face searched in a gallery: the budget of strangers, thresholds."""

from collections.abc import Iterator
from typing import Any

from faceops.evaluation.report import document as doc
from faceops.verification.normalisation import Normalisation, pair_rate
from faceops.verification.thresholds import Interval, Thresholds, as_threshold, people_for_fpir


def identification(facts: doc.Facts) -> Iterator[doc.Part]:
    """Yield closed set, open sets, queries against a gallery, one against ten."""
    figures = facts.figures
    if "closed_set" in figures:
        yield _closed(figures["closed_set"])
        yield doc.Picture("cmc.png", "Share of probes whose person is among the first ranks")
    if figures.get("open_sets"):
        yield _open_sets(figures["open_sets"])
    if "gallery_query" in figures:
        yield _queries(figures["gallery_query"])
    if "one_against_ten" in figures:
        yield _ten(figures["one_against_ten"])
    names = ("closed_set", "open_sets", "gallery_query", "one_against_ten")
    if not any(map(figures.get, names)):
        yield doc.Text("The selected protocol searches no gallery.", "absent")


def _closed(closed: dict[str, Any]) -> doc.Table:
    name = "correct person at rank {} or better"
    rows = [doc.figure_row(name.format(rank), closed, f"rank_{rank}") for rank in (1, 5)]
    caption = (
        f"Everybody enrolled with one photo: {closed['gallery_people']:,} people, "
        f"{closed['probes']:,} probes"
    )
    return doc.Table(doc.HEADER, rows, caption)


def _open_sets(sets: list[dict[str, Any]]) -> doc.Table:
    rows = []
    for one in sets:
        first = [f"{one['gallery_photos']}"]
        if "reason" in one:
            rows.append([*first, one["reason"], "", "", "", ""])
            continue
        right, wrong, strangers = (
            doc.with_interval(one, name) if name in one else "-"
            for name in ("dir", "misidentified", "fpir")
        )
        strangers += estimate_in_words(one)
        size = f"{one['known_people']:,} people, {one['gallery_faces']:,} faces"
        rows.append(
            [*first, size, right, wrong, strangers, doc.shown_share(one["dir_at_fpir_0.01"])]
        )
    header = ["photos each", "gallery", "known: correct name", "known: wrong name",
              "strangers named", "correct names where 1 % of strangers are named"]  # fmt: skip
    caption = (
        "Known people and strangers at the release's threshold and margin. The threshold of the "
        "last column is set on these same faces, to compare models."
    )
    return doc.Table(header, rows, caption)


def estimate_in_words(figures: dict[str, Any]) -> str:
    """Return what the albums of an open-set search estimate; "" of an earlier release."""
    if "estimate_covers" not in figures:
        return ""
    if figures["estimate_covers"] is None:
        return f"; too few people in the albums: threshold of {figures['fallback_population']}"
    ends = {"low": figures["estimate_low"], "high": figures["estimate_high"]}
    right = round(figures["estimate_covers"] * figures["estimated_albums"])
    return (
        f"; estimated {doc.shown_interval(ends)}, right in {right} of "
        f"{figures['estimated_albums']} draws"
    )


def _queries(figures: dict[str, Any]) -> doc.Table:
    rows = [
        doc.figure_row(title, figures, name)
        for name, title in (
            ("identification_rate", "known people: correct name"),
            ("true_positive_rate", "known people: any name"),
            ("false_positive_rate", "strangers: any name"),
            ("accuracy", "accuracy, known people and strangers weighted equally"),
            ("detection_auc", "area under TPR against FPR"),
        )
        if name in figures
    ]
    caption = (
        f"Gallery against queries: {figures['known_queries']:,} of known people, "
        f"{figures['unknown_queries']:,} of strangers"
    )
    return doc.Table(doc.HEADER, rows, caption)


def _ten(figures: dict[str, Any]) -> doc.Table | doc.Text:
    if "reason" in figures:
        return doc.Text(f"One against ten: {figures['reason']}", "absent")
    caption = (
        f"One photo of the person against {figures['negatives']} of others, exact expectation: "
        f"{figures['people']:,} people, {figures['trials']:,} pairs"
    )
    row = doc.figure_row("the genuine photo scores highest", figures, "accuracy")
    return doc.Table(doc.HEADER, [row], caption)


_VERDICTS = {
    "kept": "is kept",
    "undecided": "is exceeded, but not by more than chance explains",
    "broken": "is broken",
}
_UNCALIBRATED = "This embedder is not a release: it is not calibrated and states no budget."


def budget(facts: doc.Facts) -> Iterator[doc.Part]:
    """Yield the budget, a table of stated and measured rates, a picture, and the populations."""
    if facts.thresholds is None:
        yield doc.Text(_UNCALIBRATED, "absent")
        return
    yield doc.Text(budget_sentence(facts), "headline")
    if rows := facts.figures.get("promise"):
        yield from _promise(rows, facts.thresholds.normalisation is not None)
    else:
        why = "Not measured on held-out people: use the protocol all or promise."
        yield doc.Text(why, "absent")
    if populations := facts.figures.get("populations"):
        yield _populations(populations)


def _promise(rows: list[dict[str, Any]], adapts: bool) -> Iterator[doc.Part]:
    for row in rows:
        if row["verdict"] == "broken":
            yield doc.Text(
                f"Broken: in a gallery of {row['gallery_faces']:,} faces the budget was at most "
                f"{row['budget'] * 100:g} % of strangers named; measured: {_measured(row)}.",
                "warning",
            )
    stated, how = (
        ("estimated, 95 %", "Estimated: on these photos without any label; all of them are one "
         "album.")
        if adapts
        else ("95 % at calibration", "95 % at calibration: measured on the people that the release "
              "was calibrated on.")
    )  # fmt: skip
    header = ["faces in the gallery", "budget", "measured", "95 %", "the budget is", "threshold",
              stated]  # fmt: skip
    caption = (
        f"Share of strangers named: exact expectation over all galleries of that size drawn from "
        f"{rows[0]['strangers']:,} people, without the runner-up margin, which would refuse more. "
        f"Undecided: exceeded, but not by more than chance explains. {how}"
    )
    yield doc.Table(header, [_cells(row) for row in rows], caption)
    yield doc.Picture("promise.png", "Strangers named: budget and measured rate")


def _populations(populations: list[dict[str, Any]]) -> doc.Table:
    rows = []
    for one in populations:
        first = [one["name"], f"{one['people']:,}", f"{one['photos']:,}"]
        if "reason" in one:
            rows.append([*first, one["reason"], "", ""])
            continue
        named = doc.with_interval(one, "fpir") + (", the worst" if one["worst"] else "")
        promise = f"{one['budget'] * 100:g} %: {one['verdict']}"
        rows.append([*first, named, promise, doc.with_interval(one, "dir")])
    header = ["population", "people", "photos", "strangers named", "budget",
              "known: correct name"]  # fmt: skip
    return doc.Table(header, rows, "The promise by population, each an album of its own")


def budget_sentence(facts: doc.Facts) -> str:
    """Return the default budget and the rate measured in the largest measured gallery."""
    if facts.thresholds is None:
        return _UNCALIBRATED
    measured = facts.thresholds
    budget = measured.default_budget
    counted = f"{measured.people:,}"
    people = "" if counted in measured.data else f"{counted} people: "
    adapts = measured.normalisation is not None
    text = "Each album gets its own threshold, " if adapts else "Calibrated "
    text += (
        f"so that at most {doc.one_in(budget)} is given a name; measured on {people}{measured.data}"
    )
    rows = [row for row in facts.figures.get("promise", [])
            if row["budget"] == budget and row["seen"] is not None]  # fmt: skip
    if not rows:
        return f"{text}."
    row = max(rows, key=lambda row: (row["measured"], row["gallery_faces"]))
    return (
        f"{text}. On {_test_people(facts, row['strangers'])}, it was "
        f"{_measured(row, ' of strangers')} in galleries of {row['gallery_faces']:,} faces: the "
        f"budget {_VERDICTS[row['verdict']]}."
    )


def _test_people(facts: doc.Facts, people: int) -> str:
    """Return the test people in words, and whether the model has seen them."""
    data = facts.figures.get("data")
    if data is None:
        return f"{people:,} held-out people"
    if not data["seen"]["known"]:
        return f"{people:,} people who may have been in its training data (unknown)"
    seen = data["seen"]["trained_on"] + data["seen"]["calibrated_on"]
    if seen:
        used = f"{seen:,} of them used in training or calibration (not a fair test)"
        return f"{people:,} people, {used}"
    return f"{people:,} people used in neither training nor calibration"


def _cells(row: dict[str, Any]) -> list[str]:
    first = [f"{row['gallery_faces']:,}", f"{row['budget'] * 100:g} %"]
    if row["seen"] is None:
        needed = people_for_fpir(row["budget"])
        return [*first, "", "", "refused", "", f"needs {needed:,} validation people"]
    seen = doc.figure_row("", row, "seen")[1:]
    threshold = doc.shown_probability(row["threshold"])
    stated = doc.shown_interval(row["calibrated_interval"])
    stated = stated or doc.shown_interval(row["estimate_interval"])
    if row["fallback_population"]:
        stated = f"too few people in the album: threshold of {row['fallback_population']}"
    elif not row["measured"]:
        threshold += ", extrapolated"
    return [*first, *seen, row["verdict"], threshold, stated]


def _measured(row: dict[str, Any], of_what: str = "") -> str:
    ends = (row["seen_interval"][end] for end in ("low", "high"))  # in JSON keys are sorted
    seen, low, high = (f"{share * 100:.2g} %" for share in (row["seen"], *ends))
    return f"{seen}{of_what} (95 %: {low} to {high})"


GALLERIES = (10, 100, 1000, 10000)


def thresholds(facts: doc.Facts) -> Iterator[doc.Part]:
    """Yield the default threshold by gallery size, and both tables of the release."""
    measured = facts.thresholds
    if measured is None:
        yield doc.Text("The embedder has no thresholds: it is not calibrated.", "absent")
        return
    yield doc.Text(
        f"Measured on {measured.data}: {measured.photos:,} photos, {measured.genuine_pairs:,} "
        f"genuine pairs, {measured.impostor_pairs:,} impostor pairs."
    )
    if measured.normalisation is not None:
        yield doc.Text(
            "Names in an album: the threshold is found on the album itself, on normalised scores. "
            "An album with too few people has no estimate: the threshold is the highest of the "
            "calibration sets."
        )
        yield _fallback(measured, measured.normalisation)
        yield doc.Text(
            "The tables below are on scores as they are, for what needs no album: enrolment and "
            "the grouping of unknown people."
        )
    yield from (_in_words(measured), _search(measured), _pairs(measured))
    yield doc.Text(
        f"A name also needs a lead of at least {measured.runner_up_margin:g} in log odds over the "
        "runner-up. Probabilities assume equal priors; real albums differ."
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
    return doc.Table(header, rows, f"For an album with too few people ({sets})")


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
