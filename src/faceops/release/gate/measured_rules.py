"""What is measured for each rule: both models' figures, and the interval of their difference.

`weights` are float32 (R, people), how often each person was drawn; `people` counts them.
"""

from collections.abc import Callable

import numpy as np

from faceops.config.sections import Gate
from faceops.evaluation.pair_intervals import pair_intervals
from faceops.evaluation.pair_scan import scan_pairs
from faceops.release.contract import MODEL_FILES
from faceops.release.gate.face_table import FaceTable
from faceops.release.gate.frozen_photos import FrozenPhotos
from faceops.release.gate.latency import measure_latency
from faceops.release.gate.paired_bootstrap import Difference, ModelFigures, interval
from faceops.release.gate.rules import (
    at_most,
    groups_judged,
    keeps_promise,
    no_loss,
    still_offers_int8,
)
from faceops.release.gate.verdict import Rule
from faceops.release.measured_model import MeasuredModel


def dir_rule(figures: list[ModelFigures], weights: np.ndarray, settings: Gate, people: int) -> Rule:
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
) -> Rule:
    """What users get: names at each release's own thresholds, margin and default budget."""
    difference = _paired(figures, weights, settings, ModelFigures.named_rightly)
    budgets = [table.thresholds.default_budget for table in tables]
    at = f"budget {budgets[0]:g}"
    if budgets[0] != budgets[1]:
        at = f"budgets {budgets[0]:g} and {budgets[1]:g}"
    return no_loss(f"known people named, at own {at}", difference, settings.max_named_loss, people)


def tar_rule(tables: list[FaceTable], usable: np.ndarray, settings: Gate, people: int) -> Rule:
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
) -> Rule:
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
) -> list[Rule]:
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
) -> Rule:
    """Strangers who are given a name."""
    everybody = np.ones(weights.shape[1], np.float32)
    resampled = [figures[1].strangers_named(w) for w in weights]
    tail = (1 - settings.confidence) / 2
    low, high = (float(end) for end in np.quantile(resampled, [tail, 1 - tail]))
    before, after = (one.strangers_named(everybody) for one in figures)
    return keeps_promise(tables[1].thresholds.default_budget, before, after, low, high)


def latency_rule(
    champion: MeasuredModel, challenger: MeasuredModel, frozen: FrozenPhotos, settings: Gate
) -> Rule:
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


def size_rule(champion: MeasuredModel, challenger: MeasuredModel, settings: Gate) -> Rule:
    """Bytes of the model files."""
    sizes = []
    for model in (champion, challenger):
        assert model.bundle is not None
        files = [model.bundle.folder / name for name in MODEL_FILES]
        sizes.append(sum(file.stat().st_size for file in files) / 2**20)
    return at_most("size", "MiB", sizes[0], sizes[1], sizes[1] / sizes[0], settings.max_size_ratio)


def int8_rule(champion: MeasuredModel, challenger: MeasuredModel) -> Rule:
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
