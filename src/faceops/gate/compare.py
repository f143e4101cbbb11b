"""Score champion and challenger on the same photos and hold the difference against the rules."""

from pathlib import Path

import numpy as np

from faceops.config.sections import Gate
from faceops.gate import rules as measured_rules
from faceops.gate.groups import judged_groups
from faceops.gate.paired_bootstrap import ModelFigures, resampled_weights
from faceops.gate.photos import FrozenPhotos, draw_trials, embed_frozen, search
from faceops.gate.rules import enough_people, people_known
from faceops.gate.verdict import RuleResult, Verdict
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.verification.pairs import codes


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
    tables = [embed_frozen(model, frozen, work, threads) for model in (champion, challenger)]
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
        search(draws, person, t.rows, t.faces, t.model.verifier, t.thresholds) for t in tables
    ]
    figures = [ModelFigures(one, person[probes], known) for one in outcomes]
    people = int(person.max()) + 1
    kinds = np.stack(
        [np.bincount(person[probes][of], minlength=people) > 0 for of in (known, ~known)], axis=1
    )
    weights = resampled_weights(people, kinds, settings.resamples, settings.seed)
    groups = judged_groups(tables[0], frozen, settings, person, probes, known)
    rules = [
        *first,
        measured_rules.dir_rule(figures, weights, settings, people),
        measured_rules.named_rule(tables, figures, weights, settings, people),
        measured_rules.tar_rule(tables, usable, settings, people),
        measured_rules.found_rule(tables, person, weights, settings, people),
        *measured_rules.group_rules(figures, weights, settings, groups.judged),
        measured_rules.promise_rule(tables, figures, weights, settings),
        measured_rules.latency_rule(champion, challenger, frozen, settings),
        measured_rules.size_rule(champion, challenger, settings),
        measured_rules.int8_rule(champion, challenger),
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
            f"groups of fewer than {settings.min_slice_people} known people are not judged: "
            + ", ".join(groups.too_few),
        ]
    return _verdict(
        champion, challenger, frozen, settings, rules, seen,
        known=int(known.sum()), strangers=int((~known).sum()), groups=told,
    )  # fmt: skip


def _verdict(
    champion: MeasuredModel,
    challenger: MeasuredModel,
    frozen: FrozenPhotos,
    settings: Gate,
    rules: list[RuleResult],
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
