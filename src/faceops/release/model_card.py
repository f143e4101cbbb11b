"""The model card of a release, written from its contract and its evaluation (Mitchell 2019)."""

import math
from typing import Any

from faceops.release.contract import EMBEDDER, Release
from faceops.weights.catalogue import Weight

GALLERIES = (10, 100, 1000, 10000)
SPLIT_USE = {
    "val": "Epoch and verifier chosen, probabilities calibrated and thresholds measured on",
    "test": "Not seen, used for the figures only",
}
_AS_PUBLISHED = "not trained further"  # words of the export stage, see stages/export.py


def model_card(release: Release, figures: dict[str, Any], catalogue: dict[str, Weight]) -> str:
    """Return the card as Markdown.

    `figures` are those of `faceops.evaluation.evaluate`; `catalogue` states the terms of each
    outside weight. The same arguments give the same text.
    """
    parts = [
        "# Model card: FaceOps release",
        f"Contract id `{release.contract_id}`. Whatever stores embeddings of this release pins it.",
        _use(release),
        _seen(release),
        _worth(figures),
        _thresholds(release),
        _limits(figures),
        _licences(release, catalogue),
    ]
    return "\n\n".join(parts) + "\n"


def _use(release: Release) -> str:
    return (
        "## What it is for\n\n"
        "Naming people in one's own photo folders, where those people have agreed to be enrolled. "
        f"A face detector, landmarks, an embedding of {release.embedding_size} numbers and a pair "
        f"verifier ({_kind(release)}), as ONNX files.\n\n"
        "Not for: surveillance, access control, judging who a stranger is, evidence, or any "
        "decision about a person that nobody checks."
    )


def _kind(release: Release) -> str:
    if release.verifier_kind == "linear":
        return "a fitted linear layer on squared differences"
    return "the plain distance, calibrated: a fitted layer did not beat it on validation people"


def _seen(release: Release) -> str:
    embedder = release.weights[EMBEDDER]
    lines = [f"- Embedder: {embedder.source}."]
    splits = release.data.get("splits", {})
    kept = embedder.source.endswith(_AS_PUBLISHED)
    uses = {"train": "Verifier fitted on" if kept else "Trained on"} | SPLIT_USE
    for name, use in uses.items():
        if name in splits:
            count = splits[name]
            lines.append(f"- {use}: {count['people']} people, {count['photos']} photos.")
    for name, source in sorted(release.data.get("sources", {}).items()):
        terms = source.get("terms", "") if isinstance(source, dict) else ""
        lines.append(f"- Photos from {name}{': ' if terms else '.'}{terms}")
    lines.append(
        "- Detector and landmarks are outside weights as published; "
        "nobody in the figures below was in training or validation of this pipeline. "
        "Whether an outside weight has seen them cannot be ruled out."
    )
    return "## What it has seen\n\n" + "\n".join(lines)


def _worth(figures: dict[str, Any]) -> str:
    pairs, closed, opened = figures["verification"], figures["closed_set"], figures["open_set"]
    rows = [("accuracy on balanced pairs at even odds", pairs["accuracy"], "accuracy_interval")]
    table = [_row(name, value, pairs.get(key)) for name, value, key in rows]
    table.append(_row("ROC AUC, all pairs", pairs["roc_auc"], None))
    for key in sorted(pairs):
        if key.startswith("tar_at_far_") and not key.endswith(
            ("_interval", "_supported", "_threshold")
        ):
            note = "" if pairs[f"{key}_supported"] else " (fewer than ten impostor pairs above it)"
            name = f"TAR at FAR {key.removeprefix('tar_at_far_')}{note}"
            table.append(_row(name, pairs[key], pairs[f"{key}_interval"]))
    name = f"rank-1 among {closed['gallery_people']} people with one photo each"
    table.append(_row(name, closed["rank_1"], closed["rank_1_interval"]))
    gallery = f"{opened['known_people']} people, {opened['gallery_faces']} faces enrolled"
    table.append(
        _row(f"known people named rightly ({gallery})", opened["dir"], opened["dir_interval"])
    )
    table.append(_row("known people named wrongly", opened["misidentified"], None))
    table.append(_row("strangers given a name", opened["fpir"], opened["fpir_interval"]))
    return (
        "## What it is worth\n\n"
        f"Measured on the exported files, on {figures['people']} test people with "
        f"{figures['photos']} photos; the 95 % intervals are over people, every threshold "
        "held fixed.\n\n"
        "| figure | value | 95 % |\n| --- | --- | --- |\n" + "\n".join(table)
    )


def _row(name: str, value: float | None, interval: dict[str, float | None] | None) -> str:
    shown = "-" if value is None else f"{value:.4f}"
    if not interval or interval["low"] is None or interval["high"] is None:
        return f"| {name} | {shown} | |"
    return f"| {name} | {shown} | {interval['low']:.4f} to {interval['high']:.4f} |"


def _thresholds(release: Release) -> str:
    measured = release.thresholds
    budget = measured.default_budget
    lines = [
        f"Measured on {measured.data}: {measured.photos} photos, "
        f"{measured.genuine_pairs:,} pairs of one person, {measured.impostor_pairs:,} of two.",
        "",
        "| faces in the gallery | threshold | in words |",
        "| --- | --- | --- |",
    ]
    for faces in GALLERIES:
        threshold = measured.for_search(budget, faces)
        how = "measured" if measured.search_is_measured(budget, faces) else "extrapolated"
        whom = f"({how} on {measured.people} people)"
        aim = f"aims at at most {_share(budget)} given a name {whom}"
        if threshold > 1:
            aim = f"no name possible: impostor pairs reach probability 1 {whom}"
        lines.append(f"| {faces:,} | {shown_probability(threshold)} | {aim} |")
    lines += [
        "",
        "| false accepts a pair | threshold | pairs of one person accepted, on the validation "
        "people it was tuned on |",
        "| --- | --- | --- |",
    ]
    for row in measured.pairs:
        if row.probability is None or row.true_accept_rate is None:
            lines.append(f"| {row.budget:g} | refused: needs {row.people_needed:,} people | |")
            continue
        lines.append(
            f"| {row.budget:g} | {shown_probability(row.probability)} | "
            f"{row.true_accept_rate:.4f} |"
        )
    lines += [
        "",
        f"A name also needs a lead of {measured.runner_up_margin:g} in log odds over the next "
        "person. A "
        "probability is calibrated for as many pairs of one person as of two; in a photo folder "
        "the odds are others.",
    ]
    return "## Where it cuts\n\n" + "\n".join(lines)


def shown_probability(value: float) -> str:
    """Return a threshold so that two digits of 1 - p are seen: 0.9120, 0.99964, 1-3.6e-06."""
    if value > 1:
        return "none"
    rest = 1 - value
    if rest >= 0.01:
        return f"{value:.4f}"
    if rest >= 1e-5:
        return f"{value:.{1 - math.floor(math.log10(rest))}f}"
    return f"1-{rest:.1e}" if rest > 0 else "1"


def _share(budget: float) -> str:
    return (
        f"one stranger in {round(1 / budget):,}" if budget <= 0.5 else f"{budget:.0%} of strangers"
    )


def _limits(figures: dict[str, Any]) -> str:
    return (
        "## Limits\n\n"
        "- Thresholds hold for strangers like the people they were measured on. Siblings, twins, "
        "children and people of groups that are rare in the photos above are confused more often; "
        "no figure by group exists here.\n"
        f"- {figures['people']} test people are {_few(figures['people'])}: read the intervals, "
        "not the values.\n"
        "- Extrapolated thresholds rest on the tail's shape; measure on more people before a "
        "large gallery relies on them.\n"
        "- Small, blurred, covered or strongly turned faces, old photos, and pictures of pictures "
        "are recognised worse than the figures say."
    )


def _few(people: int) -> str:
    return "few" if people < 200 else "a limited sample"


def _licences(release: Release, catalogue: dict[str, Weight]) -> str:
    lines = []
    for file, weight in sorted(release.weights.items()):
        lines.append(f"- `{file}`: {weight.licence}; {weight.source}.")
        entry = catalogue.get(weight.source.partition(":")[0])
        if entry:
            lines.append(f"  {entry.terms}")
    lines.append(
        "- None of these licences clears the rights in the photos that a weight was trained on, "
        "nor replaces the consent of the people who are enrolled."
    )
    return "## Licences\n\n" + "\n".join(lines)
