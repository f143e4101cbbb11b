"""The rules: what the challenger must show, each with the sentence that tells of its breach.

What is measured for each rule: both models' figures, and the interval of their difference.

`weights` are float32 (R, people), how often each person was drawn; `people` counts them.
"""

from collections.abc import Callable

import numpy as np

from faceops.config.sections import Gate
from faceops.evaluation.protocols.all_pairs import pair_intervals, scan_pairs
from faceops.gate.latency import measure_latency
from faceops.gate.paired_bootstrap import Difference, ModelFigures, interval
from faceops.gate.photos import FaceTable, FrozenPhotos
from faceops.gate.verdict import RuleResult
from faceops.release.contract import MODEL_FILES
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.verification.bootstrap import percentile_interval


def no_loss(name: str, difference: Difference, tolerance: float, people: int) -> RuleResult:
    """Non-inferiority: the interval of the difference must leave no loss above `tolerance`.

    Not to have shown a loss is not enough: on few people nothing can be shown.
    """
    holds = difference.low >= -tolerance - 1e-9
    reason = ""
    if not holds:
        told = (
            f"{name}: {difference.challenger:.4f} against {difference.champion:.4f}, "
            f"{difference.gain:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
        )
        if difference.high < 0:
            reason = f"{told}; worse, and not by chance, and {tolerance:g} may be lost."
        elif difference.gain < -tolerance:
            reason = f"{told}; more than the {tolerance:g} that may be lost."
        else:
            reason = (
                f"{told}; on {people} people a loss of more than {tolerance:g} cannot be ruled "
                "out: give the gate more people, or allow more."
            )
    return RuleResult(
        name,
        f"no loss above {tolerance:g}",
        holds,
        difference.champion,
        difference.challenger,
        difference.gain,
        difference.low,
        difference.high,
        reason,
    )


def keeps_promise(
    budget: float, champion: float, challenger: float, low: float, high: float
) -> RuleResult:
    """The share of strangers named at its own threshold must not be shown to exceed its budget.

    That the budget is kept was shown when the thresholds were measured, on more people than are
    left here; so here it takes proof that it is broken. `low` and `high` are the ends of the
    interval of the challenger's share.
    """
    holds = low <= budget
    reason = (
        f"it promises to name at most {budget:g} of strangers and named {challenger:.4f} of them "
        f"(at least {low:.4f}): its thresholds do not hold on these people; calibrate it on more."
    )
    return RuleResult(
        "strangers named, at its own thresholds",
        f"not shown to exceed its budget of {budget:g} ({low:.4f} to {high:.4f})",
        holds,
        champion,
        challenger,
        reason="" if holds else reason,
    )


def at_most(name: str, unit: str, champion: float, challenger: float, ratio: float,
            limit: float) -> RuleResult:  # fmt: skip
    """Return the rule that `ratio` (challenger over champion) stays below `limit`."""
    holds = ratio <= limit
    reason = (
        f"{name}: {challenger:.4g} {unit} against {champion:.4g}, {ratio:.2f} times, and "
        f"{limit:g} times are allowed."
    )
    return RuleResult(
        f"{name}, {unit}",
        f"at most {limit:g} times",
        holds,
        champion,
        challenger,
        challenger - champion,
        reason="" if holds else reason,
    )


def people_known(told: list[str]) -> RuleResult:
    """Return the rule that it is known of both whom they were made from; `told` says of whom not.

    Else a photo that one of them was trained on would speak for it.
    """
    return RuleResult(
        "unseen people",
        "known of both whom they were made from",
        not told,
        None,
        None,
        reason="; ".join(told) + (": no comparison can be fair." if told else ""),
    )


def groups_judged(stated: str, people: int) -> RuleResult:
    """Return the broken rule that no group of the CSV `stated` has `people` known people."""
    return RuleResult(
        "worst group's DIR",
        "a group to judge",
        False,
        None,
        None,
        reason=f"no group of gate.slices = {stated} has {people} known people among these photos; "
        "give the gate more people, lower gate.min_slice_people, or empty gate.slices.",
    )


def still_offers_int8(champion: bool, challenger: bool) -> RuleResult:
    """Return the rule that int8 is offered where the champion offers it: somebody may run on it."""
    holds = challenger or not champion
    return RuleResult(
        "int8",
        "offered where the champion offers it",
        holds,
        float(champion),
        float(challenger),
        reason=""
        if holds
        else "the champion offers an int8 embedder and this release none: whoever runs with "
        "--precision int8 could not use it; see its build/quantise/quantise.json.",
    )


def enough_people(people: int, least: int) -> RuleResult:
    """Return the rule that there are `least` people whom neither has seen."""
    holds = people >= least
    reason = (
        f"{people} people are left whom neither release was made from, and gate.min_people is "
        f"{least}; give the gate photos of more."
    )
    return RuleResult(
        "people", f"at least {least}", holds, None, None, reason="" if holds else reason
    )


def dir_rule(
    figures: list[ModelFigures], weights: np.ndarray, settings: Gate, people: int
) -> RuleResult:
    """DIR with the threshold set anew for each model, so that it is the embedder that is judged."""
    at = settings.fpir
    difference = _paired(figures, weights, settings, lambda one, w: one.dir(w, at))
    return no_loss(f"DIR at FPIR {at:g}", difference, settings.max_dir_loss, people)


def named_rule(
    tables: list[FaceTable],
    figures: list[ModelFigures],
    weights: np.ndarray,
    settings: Gate,
    people: int,
) -> RuleResult:
    """What users get: names at each release's own thresholds, margin and default budget."""
    difference = _paired(figures, weights, settings, ModelFigures.named_rightly)
    budgets = [table.thresholds.default_budget for table in tables]
    at = f"budget {budgets[0]:g}"
    if budgets[0] != budgets[1]:
        at = f"budgets {budgets[0]:g} and {budgets[1]:g}"
    return no_loss(f"known people named, at own {at}", difference, settings.max_named_loss, people)


def tar_rule(
    tables: list[FaceTable], usable: np.ndarray, settings: Gate, people: int
) -> RuleResult:
    """TAR of all pairs, at the threshold that keeps the false accept rate."""
    scans = [
        scan_pairs(t.faces.of(t.rows[usable]), t.model.verifier, [settings.far]) for t in tables
    ]
    # One seed: row by row the same people are drawn.
    drawn = [
        pair_intervals(scan, [settings.far], settings.seed, settings.resamples) for scan in scans
    ]
    before, after = (scan.roc.tar(settings.far) for scan in scans)
    difference = interval(
        before,
        after,
        drawn[1].resampled[:, 0] - drawn[0].resampled[:, 0],
        settings.confidence,
    )
    return no_loss(f"TAR at FAR {settings.far:g}", difference, settings.max_tar_loss, people)


def found_rule(
    tables: list[FaceTable], person: np.ndarray, weights: np.ndarray, settings: Gate, people: int
) -> RuleResult:
    """The share of photos in which a face is found."""
    photos = np.bincount(person).astype(np.float64)
    rates = []
    for table in tables:
        found = np.bincount(person, table.rows >= 0, minlength=len(photos))
        rates.append((found.sum() / photos.sum(), (weights @ found) / (weights @ photos)))
    difference = interval(rates[0][0], rates[1][0], rates[1][1] - rates[0][1], settings.confidence)
    return no_loss("photos with a face found", difference, settings.max_dir_loss, people)


def group_rules(
    figures: list[ModelFigures],
    weights: np.ndarray,
    settings: Gate,
    groups: dict[str, np.ndarray],
) -> list[RuleResult]:
    """The DIR of the group that each model names worst; none where no group can be judged."""
    if not groups:
        stated = settings.slices
        return [groups_judged(stated, settings.min_slice_people)] if stated else []
    everybody = np.ones(weights.shape[1], np.float32)
    at = settings.fpir
    worst = [one.worst(everybody, at, groups) for one in figures]
    difference = _paired(figures, weights, settings, lambda one, w: one.worst(w, at, groups)[1])
    name = f"worst group's DIR ({worst[0][0]})"
    if worst[0][0] != worst[1][0]:
        name = f"worst group's DIR ({worst[0][0]}; challenger: {worst[1][0]})"
    return [no_loss(name, difference, settings.max_slice_loss, weights.shape[1])]


def promise_rule(
    tables: list[FaceTable], figures: list[ModelFigures], weights: np.ndarray, settings: Gate
) -> RuleResult:
    """Strangers who are given a name."""
    everybody = np.ones(weights.shape[1], np.float32)
    resampled = [figures[1].strangers_named(w) for w in weights]
    low, high = percentile_interval(np.array(resampled), settings.confidence)
    before, after = (one.strangers_named(everybody) for one in figures)
    return keeps_promise(tables[1].thresholds.default_budget, before, after, low, high)


def latency_rule(
    champion: MeasuredModel, challenger: MeasuredModel, frozen: FrozenPhotos, settings: Gate
) -> RuleResult:
    """What one photo costs."""
    took = measure_latency(champion, challenger, frozen.photos)
    return at_most(
        "time a photo",
        "ms",
        took.champion_ms,
        took.challenger_ms,
        took.ratio,
        settings.max_latency_ratio,
    )


def size_rule(champion: MeasuredModel, challenger: MeasuredModel, settings: Gate) -> RuleResult:
    """Bytes of the model files."""
    sizes = []
    for model in (champion, challenger):
        assert model.bundle is not None
        files = [model.bundle.folder / name for name in MODEL_FILES]
        sizes.append(sum(file.stat().st_size for file in files) / 2**20)
    return at_most("size", "MiB", sizes[0], sizes[1], sizes[1] / sizes[0], settings.max_size_ratio)


def int8_rule(champion: MeasuredModel, challenger: MeasuredModel) -> RuleResult:
    """Whether int8 is lost."""
    return still_offers_int8(_offers_int8(champion), _offers_int8(challenger))


def _paired(
    figures: list[ModelFigures],
    weights: np.ndarray,
    settings: Gate,
    figure: Callable[[ModelFigures, np.ndarray], float],
) -> Difference:
    """Return both models' `figure` of everybody, and the interval of its difference."""
    everybody = np.ones(weights.shape[1], np.float32)
    resampled = np.array([figure(figures[1], w) - figure(figures[0], w) for w in weights])
    before, after = (figure(one, everybody) for one in figures)
    return interval(before, after, resampled, settings.confidence)


def _offers_int8(model: MeasuredModel) -> bool:
    return model.bundle is not None and model.bundle.release.int8 is not None
