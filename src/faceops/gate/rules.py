"""The rules of the gate. A rule is one function here, registered with `@gate_rule`.

Its docstring says what it demands; it gets a `Comparison` and returns what it measured, with a
sentence where it fails. The limits that it reads are fields of the section `gate` of params.yaml.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from faceops.evaluation.protocols.all_pairs import pair_intervals, scan_pairs
from faceops.faces.crop_photos import crop_photo
from faceops.gate.compare import Comparison, RuleResult, Verdict, measure_latency
from faceops.gate.trials import ModelFigures
from faceops.release.contract import MODEL_FILES
from faceops.release.evaluate.embed_photos import LabelledPhoto
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.verification.error_rates import percentile_interval

Measure = Callable[[Comparison], RuleResult | None]
# Of the champion and of the challenger, and the interval of challenger minus champion.
Figures = tuple[float, float, float, float]


@dataclass(frozen=True)
class GateRule:
    """A rule: `measure` returns None if it does not apply.

    `parameters` are the fields of the section `gate` that hold its limits. Where a `prerequisite`
    fails, no other rule is measured.
    """

    name: str
    parameters: tuple[str, ...]
    prerequisite: bool
    measure: Measure


RULES: dict[str, GateRule] = {}  # in the order of the verdict


def gate_rule(*parameters: str, prerequisite: bool = False) -> Callable[[Measure], Measure]:
    """Register a function as the rule of its name."""

    def add(measure: Measure) -> Measure:
        name = measure.__name__
        RULES[name] = GateRule(name, parameters, prerequisite, measure)
        return measure

    return add


def apply_rules(comparison: Comparison, *, prerequisites: bool) -> list[RuleResult]:
    """Return the results of the prerequisites, or of the other rules."""
    rules = [rule for rule in RULES.values() if rule.prerequisite == prerequisites]
    results = [rule.measure(comparison) for rule in rules]
    return [
        replace(result, reason="" if result.passed else result.reason)
        for result in results
        if result is not None
    ]


@gate_rule(prerequisite=True)
def known_training_people(comparison: Comparison) -> RuleResult:
    """The training and calibration people of both releases are known."""
    unknown = [seen.message for seen in comparison.seen if seen.split is None]
    reason = f"{'; '.join(unknown)}: no comparison can be fair."
    return RuleResult("unseen people", "known for both releases", not unknown, reason=reason)


@gate_rule("min_people", prerequisite=True)
def enough_people(comparison: Comparison) -> RuleResult:
    """The photos show enough people that neither release was trained or calibrated on."""
    least, people = comparison.settings.min_people, comparison.people
    reason = (
        f"{people} people are left that neither release was trained on, and gate.min_people is "
        f"{least}; give the gate photos of more people."
    )
    passed = people >= least
    return RuleResult("people", f"at least {least}", passed, reason=reason)


@gate_rule("max_dir_loss", "fpir")
def dir_at_fpir(comparison: Comparison) -> RuleResult:
    """DIR at FPIR, each model at its own threshold for that FPIR: measures the embedder."""
    gate = comparison.settings
    figures = _paired(comparison, lambda one, weight: one.dir(weight, gate.fpir))
    return no_loss(f"DIR at FPIR {gate.fpir:g}", figures, gate.max_dir_loss, comparison.people)


@gate_rule("max_named_loss")
def known_people_named(comparison: Comparison) -> RuleResult:
    """Known people named at the release's own thresholds and default budget, as for users."""
    figures = _paired(comparison, ModelFigures.correctly_identified_share)
    before, after = (table.thresholds.default_budget for table in comparison.tables)
    at = f"budget {before:g}" if before == after else f"budgets {before:g} and {after:g}"
    name = f"known people named, at own {at}"
    return no_loss(name, figures, comparison.settings.max_named_loss, comparison.people)


@gate_rule("max_tar_loss", "far")
def tar_at_far(comparison: Comparison) -> RuleResult:
    """TAR at FAR over all pairs of photos."""
    gate, usable = comparison.settings, comparison.usable
    scans = [
        scan_pairs(table.faces.of(table.rows[usable]), table.model.verifier, [gate.far])
        for table in comparison.tables
    ]
    # With one seed both draw the same people.
    drawn = [pair_intervals(scan, [gate.far], gate.seed, gate.resamples) for scan in scans]
    before, after = (scan.roc.tar(gate.far) for scan in scans)
    differences = drawn[1].resampled[:, 0] - drawn[0].resampled[:, 0]
    figures = before, after, *percentile_interval(differences, gate.confidence)
    return no_loss(f"TAR at FAR {gate.far:g}", figures, gate.max_tar_loss, comparison.people)


@gate_rule("max_dir_loss")
def photos_with_a_face(comparison: Comparison) -> RuleResult:
    """The share of photos in which a face is found."""
    gate, weights = comparison.settings, comparison.weights
    photos = np.bincount(comparison.person).astype(np.float64)
    found = [np.bincount(comparison.person, table.rows >= 0) for table in comparison.tables]
    before, after = (float(one.sum() / photos.sum()) for one in found)
    resampled = weights @ (found[1] - found[0]) / (weights @ photos)
    figures = before, after, *percentile_interval(resampled, gate.confidence)
    return no_loss("photos with a face found", figures, gate.max_dir_loss, comparison.people)


@gate_rule("max_slice_loss", "min_slice_people", "fpir")
def worst_group(comparison: Comparison) -> RuleResult | None:
    """DIR of the group of people or photos that each model identifies worst."""
    gate, groups = comparison.settings, comparison.groups.probes
    if not groups and not gate.slices:
        return None
    if not groups:
        reason = (
            f"no group of gate.slices = {gate.slices} has {gate.min_slice_people} known people "
            "among these photos; give the gate more people, lower gate.min_slice_people, or empty "
            "gate.slices."
        )
        demand = f"a group of {gate.min_slice_people} known people"
        return RuleResult("worst group's DIR", demand, passed=False, reason=reason)
    names = [one.worst(comparison.unit_weights, gate.fpir, groups)[0] for one in comparison.figures]
    figures = _paired(comparison, lambda one, weight: one.worst(weight, gate.fpir, groups)[1])
    which = names[0] if names[0] == names[1] else f"{names[0]}; challenger: {names[1]}"
    return no_loss(f"worst group's DIR ({which})", figures, gate.max_slice_loss, comparison.people)


@gate_rule("max_slice_loss", "min_slice_people")
def worst_population(comparison: Comparison) -> RuleResult | None:
    """Known people named as for users, in the source of photos that each model names worst."""
    gate, populations = comparison.settings, comparison.populations
    if not populations:
        return None
    named = ModelFigures.correctly_identified_share
    figures, which, _ = _worst(populations, named, min, gate.confidence)
    name = f"known people named in the worst population ({which})"
    return no_loss(name, figures, gate.max_slice_loss, comparison.people)


@gate_rule()
def strangers_named(comparison: Comparison) -> RuleResult:
    """Strangers named at the release's own thresholds are not shown to exceed its budget.

    Above the budget they must not be shown to be more than the champion names either. Both are
    measured in the worst population, if there are several. The thresholds were calibrated on more
    people than there are here, so it takes evidence that they do not keep the budget to fail.
    """
    confidence = comparison.settings.confidence
    budget = comparison.tables[1].thresholds.default_budget
    albums = comparison.populations or {"": comparison}
    figures, which, resampled = _worst(albums, ModelFigures.strangers_named, max, confidence)
    before, after, more, _ = figures
    low, high = percentile_interval(resampled[1], confidence)
    where = f" (worst in {which})" if which else ""
    reason = (
        f"its budget is to name at most {budget:g} of strangers, and it named {after:.4f} of them "
        f"(at least {low:.4f}){where}: its thresholds do not hold on these people; calibrate it on "
        "more."
    )
    if low <= budget:
        reason = (
            f"its budget is to name at most {budget:g} of strangers; it named {after:.4f} of them"
            f"{where} and the champion {before:.4f}: at least {more:.4f} more."
        )
    passed = low <= budget and (more <= 0 or after <= budget)
    name = f"strangers named, at its own thresholds{where}"
    demand = (
        f"not shown to exceed its budget of {budget:g} ({low:.4f} to {high:.4f}) nor, above the "
        "budget, the champion"
    )
    return RuleResult(name, demand, passed, before, after, reason=reason)


TIME = "time per photo"


@gate_rule("max_latency_ratio")
def time_per_photo(comparison: Comparison) -> RuleResult:
    """Time per photo is not shown to exceed the limit; an inconclusive measurement passes."""
    limit = comparison.settings.max_latency_ratio
    champion, challenger = (partial(_process, model) for model in comparison.models)
    took = measure_latency(champion, challenger, comparison.frozen.photos, limit)
    passed = took.low <= limit
    measured = f"{took.ratio:.2f} times ({took.low:.2f} to {took.high:.2f})"
    if passed and took.high > limit:
        measured += ", inconclusive"
    return _ratio(f"{TIME}, ms", took.champion_ms, took.challenger_ms, limit, measured, passed)


@gate_rule("max_size_ratio")
def size(comparison: Comparison) -> RuleResult:
    """Bytes of the model files."""
    limit = comparison.settings.max_size_ratio
    before, after = (_megabytes(model) for model in comparison.models)
    measured = f"{after / before:.2f} times"
    return _ratio("size, MiB", before, after, limit, measured, passed=after <= limit * before)


@gate_rule()
def int8(comparison: Comparison) -> RuleResult:
    """An int8 embedder is offered if the champion offers one."""
    before, after = (
        model.bundle is not None and model.bundle.release.int8 is not None
        for model in comparison.models
    )
    reason = (
        "the champion offers an int8 embedder and this release does not, so it cannot be used with "
        "--precision int8; see its build/quantise/quantise.json."
    )
    passed, figures = after or not before, (float(before), float(after))
    return RuleResult("int8", "offered if the champion offers it", passed, *figures, reason=reason)


def _ratio(
    name: str, before: float, after: float, limit: float, measured: str, passed: bool
) -> RuleResult:
    """Return the result of a rule on a ratio; `name` ends with the unit."""
    what, unit = name.split(", ")
    reason = (
        f"{what}: {after:.4g} {unit} against {before:.4g}, {measured}, and {limit:g} times are "
        "allowed."
    )
    demand = f"at most {limit:g} times, measured {measured}"
    return RuleResult(name, demand, passed, before, after, after - before, reason=reason)


def no_loss(name: str, figures: Figures, tolerance: float, people: int) -> RuleResult:
    """Return the result of a non-inferiority test.

    The interval of the difference must exclude a loss above `tolerance`: an inconclusive result
    does not pass.
    """
    before, after, low, high = figures
    gain = after - before
    measured = f"{name}: {after:.4f} against {before:.4f}, {gain:+.4f} ({low:+.4f} to {high:+.4f})"
    if high < 0:
        reason = f"{measured}; significantly worse, and {tolerance:g} may be lost."
    elif gain < -tolerance:
        reason = f"{measured}; more than the {tolerance:g} that may be lost."
    else:
        reason = (
            f"{measured}; on {people} people a loss of more than {tolerance:g} cannot be ruled "
            "out: give the gate more people, or allow more."
        )
    demand, passed = f"no loss above {tolerance:g}", low >= -tolerance - 1e-9
    return RuleResult(name, demand, passed, before, after, gain, low, high, reason)


def _paired(comparison: Comparison, figure: Callable[[ModelFigures, np.ndarray], float]) -> Figures:
    """Return both models' `figure` of all people and the interval of its difference."""
    champion, challenger = comparison.figures
    resampled = [figure(challenger, w) - figure(champion, w) for w in comparison.weights]
    before, after = (figure(one, comparison.unit_weights) for one in (champion, challenger))
    return before, after, *percentile_interval(np.array(resampled), comparison.settings.confidence)


def _worst(
    albums: Mapping[str, Comparison],
    figure: Callable[[ModelFigures, np.ndarray], float],
    worse: Callable[[Iterable[tuple[float, str]]], tuple[float, str]],
    confidence: float,
) -> tuple[Figures, str, np.ndarray]:
    """Return both models' `figure` in the album where it is worst, and the names of these albums.

    `worse` is min or max. The third value is `figure` of the worst album in each resample of the
    people, float64 (2, R), the champion's first.
    """
    found = [
        worse((figure(one.figures[model], one.unit_weights), name) for name, one in albums.items())
        for model in (0, 1)
    ]
    resampled = np.array([
        [[figure(one.figures[model], weight) for weight in one.weights] for one in albums.values()]
        for model in (0, 1)
    ])  # fmt: skip
    of_worst = resampled.min(axis=1) if worse is min else resampled.max(axis=1)
    (before, first), (after, second) = found
    ends = percentile_interval(of_worst[1] - of_worst[0], confidence)
    which = first if first == second else f"{first}; challenger: {second}"
    return (before, after, *ends), which, of_worst


def _process(model: MeasuredModel, photo: LabelledPhoto) -> None:
    cropped = crop_photo(photo.file, model.finder, model.crops)
    if cropped.crop is not None:
        model.embed(cropped.crop[None])


def _megabytes(model: MeasuredModel) -> float:
    assert model.bundle is not None
    return sum((model.bundle.folder / name).stat().st_size for name in MODEL_FILES) / 2**20


def _group(name: str, comparison: Comparison, rows: np.ndarray | None = None) -> dict[str, Any]:
    """Return both models' DIR of the probes `rows` bool (P,), None for all of them."""
    fpir, weights = comparison.settings.fpir, comparison.unit_weights
    champion, challenger = (one.dir(weights, fpir, rows) for one in comparison.figures)
    people = comparison.known_people(rows)
    return {"group": name, "people": people, "champion": champion, "challenger": challenger}


def verdict_on(comparison: Comparison) -> Verdict:
    """Apply the rules and return the verdict on the challenger.

    Raises FaceOpsError: too few people have enough photos to compare on, or a file is damaged.
    """
    results = apply_rules(comparison, prerequisites=True)
    seen = [people.message for people in comparison.seen]
    groups: list[dict[str, Any]] = []
    known = strangers = 0
    if all(result.passed for result in results):
        results += apply_rules(comparison, prerequisites=False)
        known, strangers = int(comparison.known.sum()), int((~comparison.known).sum())
        groups = [_group(name, comparison, rows) for name, rows in comparison.groups.probes.items()]
        groups += [_group(f"source {name}", part) for name, part in comparison.populations.items()]
        if too_small := comparison.groups.too_small:
            least, names = comparison.settings.min_slice_people, ", ".join(too_small)
            seen.append(f"groups of fewer than {least} known people are not compared: {names}")
    frozen = comparison.frozen
    return Verdict(
        champion=comparison.models[0].name,
        challenger=comparison.models[1].name,
        rules=results,
        photos_sha256=frozen.sha256,
        data_sha256=frozen.data_sha256,
        photos=len(frozen.photos),
        people=frozen.people,
        people_left_out=frozen.left_out,
        known_probes=known,
        stranger_probes=strangers,
        groups=groups,
        seen=seen,
        params=comparison.settings.model_dump(mode="json"),
    )
