"""Score champion and challenger on the same photos and hold the difference against the rules."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.config.sections import Gate
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.pair_intervals import pair_intervals
from faceops.evaluation.pair_scan import scan_pairs
from faceops.release.contract import MODEL_FILES
from faceops.release.embed_data import EmbeddedData, embed_data
from faceops.release.gate.frozen_photos import FrozenPhotos
from faceops.release.gate.latency import measure_latency
from faceops.release.gate.paired_bootstrap import (
    ModelFigures,
    interval,
    resampled_people,
)
from faceops.release.gate.photo_groups import stated_groups, visible_groups
from faceops.release.gate.rules import (
    at_most,
    enough_people,
    groups_judged,
    keeps_promise,
    no_loss,
    people_known,
    still_offers_int8,
)
from faceops.release.gate.trials import draw_trials, search
from faceops.release.gate.verdict import Rule, Verdict
from faceops.release.measured_model import MeasuredModel
from faceops.verification.pairs import codes
from faceops.verification.thresholds import Thresholds


@dataclass(frozen=True)
class _Table:
    """One model's faces of the frozen photos; `rows` int (N,), -1 where it finds none."""

    model: MeasuredModel
    embedded: EmbeddedData
    rows: np.ndarray

    @property
    def faces(self) -> EmbeddedFaces:
        return self.embedded.faces


@dataclass(frozen=True)
class _Groups:
    """name -> mask bool (P,) of the probes, of groups with enough known people; and the others."""

    judged: dict[str, np.ndarray]
    too_few: list[str]


def compare(
    champion: MeasuredModel,
    challenger: MeasuredModel,
    frozen: FrozenPhotos,
    settings: Gate,
    work: Path,
    *,
    seen: list[str],
    unknown: list[str],
    threads: int = 1,
) -> Verdict:
    """Return the verdict on `challenger`.

    Args:
        champion, challenger: releases, opened with the same number of threads.
        frozen: the photos; both see all of them.
        settings: the rules.
        work: folder of faces and embeddings; what an earlier comparison left there is used.
        seen: in words, whom the two were made from.
        unknown: those of `seen` that say that it is not known.
        threads: photos looked at at once.

    Raises:
        FaceOpsError: too few people or photos to compare on at all, or a file is damaged.
    """
    first = [people_known(unknown), enough_people(frozen.people, settings.min_people)]
    if not all(rule.passed for rule in first):
        return _verdict(champion, challenger, frozen, settings, first, seen)
    tables = [_embed(model, frozen, work, threads) for model in (champion, challenger)]
    person = codes(np.array([photo.person for photo in frozen.photos]))
    usable = (tables[0].rows >= 0) & (tables[1].rows >= 0)
    draws = draw_trials(
        person,
        usable,
        gallery_photos=settings.gallery_photos,
        unknown_share=settings.unknown_share,
        seed=settings.seed,
    )
    probes = np.concatenate([draw.probes for draw in draws])
    known = np.concatenate([draw.known for draw in draws])
    outcomes = [
        search(draws, person, t.rows, t.faces, t.model.verifier, _thresholds(t)) for t in tables
    ]
    figures = [ModelFigures(one, person[probes], known) for one in outcomes]
    people = int(person.max()) + 1
    kinds = np.stack(
        [np.bincount(person[probes][of], minlength=people) > 0 for of in (known, ~known)], axis=1
    )
    weights = resampled_people(people, kinds, settings.repeats, settings.seed)
    groups = _groups(tables[0], frozen, settings, person, probes, known)
    rules = [
        *first,
        _dir_rule(figures, weights, settings, people),
        _named_rule(tables, figures, weights, settings, people),
        _tar_rule(tables, usable, settings, people),
        _found_rule(tables, person, weights, settings, people),
        *_group_rules(figures, weights, settings, groups.judged),
        _promise_rule(tables, figures, weights, settings),
        _latency_rule(champion, challenger, frozen, settings),
        _size_rule(champion, challenger, settings),
        still_offers_int8(_offers_int8(champion), _offers_int8(challenger)),
    ]
    everybody = np.ones(people, np.float32)
    told = [
        {
            "group": name,
            "people": len(np.unique(person[probes][rows & known])),
            "champion": figures[0].dir(everybody, settings.fpir, rows),
            "challenger": figures[1].dir(everybody, settings.fpir, rows),
        }
        for name, rows in groups.judged.items()
    ]
    if groups.too_few:
        seen = [
            *seen,
            f"groups of fewer than {settings.slice_people} known people are not judged: "
            + ", ".join(groups.too_few),
        ]
    return _verdict(
        champion, challenger, frozen, settings, rules, seen,
        known=int(known.sum()), strangers=int((~known).sum()), groups=told,
    )  # fmt: skip


def _embed(model: MeasuredModel, frozen: FrozenPhotos, work: Path, threads: int) -> _Table:
    # The photos are unlike already; copies would be set aside by each model's own faces.
    embedded = embed_data(model, frozen.photos, frozenset(), work, threads=threads, duplicates=True)
    found = np.array([not photo.reason for photo in embedded.photos])
    return _Table(model, embedded, np.where(found, np.cumsum(found) - 1, -1))


def _thresholds(table: _Table) -> Thresholds:
    assert table.model.thresholds is not None  # of a release
    return table.model.thresholds


def _dir_rule(
    figures: list[ModelFigures], weights: np.ndarray, settings: Gate, people: int
) -> Rule:
    everybody = np.ones(weights.shape[1], np.float32)
    at = settings.fpir
    resampled = np.array([figures[1].dir(w, at) - figures[0].dir(w, at) for w in weights])
    before, after = (one.dir(everybody, at) for one in figures)
    difference = interval(before, after, resampled, settings.confidence)
    return no_loss(f"DIR at FPIR {at:g}", difference, settings.dir_loss, people)


def _named_rule(
    tables: list[_Table],
    figures: list[ModelFigures],
    weights: np.ndarray,
    settings: Gate,
    people: int,
) -> Rule:
    """What users get: names at each release's own thresholds, margin and default budget."""
    everybody = np.ones(weights.shape[1], np.float32)
    resampled = np.array(
        [figures[1].named_rightly(w) - figures[0].named_rightly(w) for w in weights]
    )
    before, after = (one.named_rightly(everybody) for one in figures)
    difference = interval(before, after, resampled, settings.confidence)
    budgets = [_thresholds(table).default_budget for table in tables]
    at = f"budget {budgets[0]:g}"
    if budgets[0] != budgets[1]:
        at = f"budgets {budgets[0]:g} and {budgets[1]:g}"
    return no_loss(f"known people named, at own {at}", difference, settings.named_loss, people)


def _tar_rule(tables: list[_Table], usable: np.ndarray, settings: Gate, people: int) -> Rule:
    scans = [
        scan_pairs(t.faces.of(t.rows[usable]), t.model.verifier, [settings.far]) for t in tables
    ]
    # One seed: row by row the same people are drawn.
    drawn = [
        pair_intervals(scan, [settings.far], settings.seed, settings.repeats) for scan in scans
    ]
    before, after = (scan.roc.tar(settings.far) for scan in scans)
    difference = interval(
        before,
        after,
        drawn[1].resampled[:, 0] - drawn[0].resampled[:, 0],
        settings.confidence,
    )
    return no_loss(f"TAR at FAR {settings.far:g}", difference, settings.tar_loss, people)


def _found_rule(
    tables: list[_Table], person: np.ndarray, weights: np.ndarray, settings: Gate, people: int
) -> Rule:
    photos = np.bincount(person).astype(np.float64)
    rates = []
    for table in tables:
        found = np.bincount(person, table.rows >= 0, minlength=len(photos))
        rates.append((found.sum() / photos.sum(), (weights @ found) / (weights @ photos)))
    difference = interval(rates[0][0], rates[1][0], rates[1][1] - rates[0][1], settings.confidence)
    return no_loss("photos with a face found", difference, settings.dir_loss, people)


def _groups(
    table: _Table,
    frozen: FrozenPhotos,
    settings: Gate,
    person: np.ndarray,
    probes: np.ndarray,
    known: np.ndarray,
) -> _Groups:
    """Return the groups, as probes.

    Groups are formed by the champion's crops, so that both are judged on the same ones.
    """
    if settings.slices:
        of_faces = stated_groups(Path(settings.slices), table.faces, table.embedded.photo_ids)
    else:
        of_faces = visible_groups(table.embedded.crops)
    groups, too_few = {}, []
    for name, faces in of_faces.items():
        photos = np.zeros(len(frozen.photos), bool)
        photos[np.flatnonzero(table.rows >= 0)] = faces
        rows = photos[probes]
        if len(np.unique(person[probes][rows & known])) >= settings.slice_people:
            groups[name] = rows
        else:
            too_few.append(name)
    return _Groups(groups, too_few)


def _group_rules(
    figures: list[ModelFigures],
    weights: np.ndarray,
    settings: Gate,
    groups: dict[str, np.ndarray],
) -> list[Rule]:
    if not groups:
        stated = settings.slices
        return [groups_judged(stated, settings.slice_people)] if stated else []
    everybody = np.ones(weights.shape[1], np.float32)
    at = settings.fpir
    worst = [one.worst(everybody, at, groups) for one in figures]
    resampled = np.array(
        [figures[1].worst(w, at, groups)[1] - figures[0].worst(w, at, groups)[1] for w in weights]
    )
    difference = interval(worst[0][1], worst[1][1], resampled, settings.confidence)
    name = f"worst group's DIR ({worst[0][0]})"
    if worst[0][0] != worst[1][0]:
        name = f"worst group's DIR ({worst[0][0]}; challenger: {worst[1][0]})"
    return [no_loss(name, difference, settings.slice_loss, weights.shape[1])]


def _promise_rule(
    tables: list[_Table], figures: list[ModelFigures], weights: np.ndarray, settings: Gate
) -> Rule:
    everybody = np.ones(weights.shape[1], np.float32)
    resampled = [figures[1].strangers_named(w) for w in weights]
    tail = (1 - settings.confidence) / 2
    low, high = (float(end) for end in np.quantile(resampled, [tail, 1 - tail]))
    before, after = (one.strangers_named(everybody) for one in figures)
    return keeps_promise(_thresholds(tables[1]).default_budget, before, after, low, high)


def _latency_rule(
    champion: MeasuredModel, challenger: MeasuredModel, frozen: FrozenPhotos, settings: Gate
) -> Rule:
    took = measure_latency(champion, challenger, frozen.photos)
    return at_most(
        "time a photo",
        "ms",
        took.champion_ms,
        took.challenger_ms,
        took.ratio,
        settings.latency_ratio,
    )


def _size_rule(champion: MeasuredModel, challenger: MeasuredModel, settings: Gate) -> Rule:
    sizes = []
    for model in (champion, challenger):
        assert model.bundle is not None
        files = [model.bundle.folder / name for name in MODEL_FILES]
        sizes.append(sum(file.stat().st_size for file in files) / 2**20)
    return at_most("size", "MiB", sizes[0], sizes[1], sizes[1] / sizes[0], settings.size_ratio)


def _offers_int8(model: MeasuredModel) -> bool:
    return model.bundle is not None and model.bundle.release.int8 is not None


def _verdict(
    champion: MeasuredModel,
    challenger: MeasuredModel,
    frozen: FrozenPhotos,
    settings: Gate,
    rules: list[Rule],
    seen: list[str],
    *,
    known: int = 0,
    strangers: int = 0,
    groups: list[dict[str, object]] | None = None,
) -> Verdict:
    return Verdict(
        champion=champion.name,
        challenger=challenger.name,
        rules=rules,
        photos_sha256=frozen.sha256,
        data_sha256=frozen.data_sha256,
        photos=len(frozen.photos),
        people=frozen.people,
        people_left_out=frozen.left_out,
        known_probes=known,
        stranger_probes=strangers,
        groups=groups or [],
        seen=seen,
        params=settings.model_dump(mode="json"),
    )
