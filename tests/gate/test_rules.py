"""Each rule refuses the challenger that breaks it; the embeddings are synthetic."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from faceops.config.sections import Gate
from faceops.gate import rules, trials
from faceops.gate.compare import Comparison, Latency, Verdict
from faceops.gate.rules import RULES, RuleResult, gate_rule, no_loss
from faceops.gate.trials import FaceTable, FrozenPhotos
from faceops.release.evaluate.embed_photos import LabelledPhoto
from faceops.release.evaluate.measured_model import PeopleSeen
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.verifier import Verifier

PEOPLE, PHOTOS, SIZE = 60, 6, 48
GATE = Gate(fpir=0.1, far=0.01, resamples=100, min_slice_people=8)
VERIFIER = Verifier(np.full(SIZE, -6, np.float32), 6.0, "distance")
PERSON = np.repeat(np.arange(PEOPLE), PHOTOS)
FROZEN = FrozenPhotos(
    [LabelledPhoto(Path(), f"{one:03}/{at}", f"{one:03}") for at, one in enumerate(PERSON)],
    *(PEOPLE, 0, "photos", "folder"),
)
SEEN = PeopleSeen({}, "seen")
BRIGHTEST = np.arange(len(PERSON)) % 251 > 205


def faces(noise: np.ndarray | float) -> np.ndarray:
    """Return float32 (N, SIZE): each photo's person with its own `noise`."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(PEOPLE, SIZE))
    raw = centres[PERSON] + noise * random.normal(size=(len(PERSON), SIZE))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


GOOD, WORSE = faces(0.8), faces(1.2)


def model(
    embeddings: np.ndarray = GOOD, *, found: np.ndarray | None = None, threshold: float = 0.5,
    margin: float = 0.5, int8: bool = True, ms: float = 9, mib: float = 9,
) -> Any:  # fmt: skip
    """Return a stand-in for a measured model, and in `.table` its faces."""
    found = np.ones(len(PERSON), bool) if found is None else found
    thresholds = SimpleNamespace(
        default_budget=0.1,
        normalisation=None,
        runner_up_margin=margin,
        for_search=lambda budget, size: threshold,
    )
    bundle = SimpleNamespace(release=SimpleNamespace(int8=int8 or None))
    one = SimpleNamespace(
        name="1", verifier=VERIFIER, thresholds=thresholds, bundle=bundle, ms=ms, mib=mib
    )
    table = EmbeddedFaces(embeddings[found], PERSON[found].astype(str), np.full(found.sum(), ""))
    crops = np.zeros((found.sum(), 112, 112, 3), np.uint8)
    crops[:, :, :56] = np.arange(found.sum())[:, None, None, None] % 251  # dark to bright
    rows = np.where(found, np.cumsum(found) - 1, -1)
    one.table = FaceTable(one, SimpleNamespace(faces=table, crops=crops, photo_ids=None), rows)  # type: ignore[arg-type]
    return one


VerdictOn = Callable[..., Verdict]


@pytest.fixture
def verdict_on(monkeypatch: pytest.MonkeyPatch) -> VerdictOn:
    """Compare such a challenger with a good champion."""

    def measured(champion: Any, challenger: Any, *_: object) -> Latency:
        before, after = champion.args[0].ms, challenger.args[0].ms
        return Latency(before, after, *[after / before] * 3)

    monkeypatch.setattr(trials, "embed_frozen", lambda one, *_: one.table)
    monkeypatch.setattr(rules, "measure_latency", measured)
    monkeypatch.setattr(rules, "_megabytes", lambda one: one.mib)

    def compared(
        challenger: Any, *, champion: Any = None, seen: PeopleSeen = SEEN,
        sources: tuple[str, ...] = (), **settings: Any,
    ) -> Verdict:  # fmt: skip
        models, gate = (champion or model(), challenger), GATE.model_copy(update=settings)
        frozen = replace(FROZEN, sources=sources)
        return rules.verdict_on(Comparison(models, frozen, gate, (SEEN, seen), Path()))

    return compared


def broken(verdict: Verdict) -> set[str]:
    """Return the first words of the rules that fail."""
    return {rule.name.split(",")[0].partition(" at F")[0].split(" (")[0]
            for rule in verdict.rules if not rule.passed}  # fmt: skip


def test_a_release_passes_against_itself_and_against_a_worse_one(verdict_on):
    assert verdict_on(model()).passed
    verdict = verdict_on(model(), champion=model(WORSE))
    assert verdict.passed, verdict.reasons
    gain = {rule.name: rule.gain for rule in verdict.rules}["DIR at FPIR 0.1"]
    assert gain is not None
    assert gain > 0.05
    assert len(verdict.groups) == 6


LOOSE = dict.fromkeys(("max_dir_loss", "max_tar_loss", "max_named_loss", "max_slice_loss"), 1)
MISSED = np.random.default_rng(5).random(len(PERSON)) > 0.1
HALVES = tuple(np.where(PERSON % 2, "odd", "even").tolist())
NOISY_HALF = faces(np.where(PERSON % 2, 1.3, 0.8)[:, None])
NOISY_GROUP = faces(np.where(BRIGHTEST, 1.8, 0.8)[:, None])
# Rule -> a challenger that breaks it, settings, and the names of the rules that fail.
BREAKS: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "known_training_people": (
        {}, {"seen": PeopleSeen(None, "version 2 was made elsewhere")}, {"unseen people"}
    ),
    "enough_people": ({}, {"min_people": 61}, {"people"}),
    "dir_at_fpir": ({"embeddings": WORSE}, LOOSE | {"max_dir_loss": 0.01}, {"DIR"}),
    "known_people_named": ({"margin": 100.0}, {}, {"known people named"}),
    "tar_at_far": ({"embeddings": WORSE}, LOOSE | {"max_tar_loss": 0.01}, {"TAR"}),
    "photos_with_a_face": (
        {"found": MISSED}, LOOSE | {"max_dir_loss": 0.01}, {"DIR", "photos with a face found"}
    ),
    "worst_group": (
        {"embeddings": NOISY_GROUP}, LOOSE | {"max_slice_loss": 0.03}, {"worst group's DIR"}
    ),
    "worst_population": (
        {"embeddings": NOISY_HALF}, LOOSE | {"max_slice_loss": 0.05, "sources": HALVES},
        {"known people named in the worst population", "worst group's DIR"},
    ),
    "strangers_named": ({"threshold": 0.0, "margin": 0.0}, {}, {"strangers named"}),
    "time_per_photo": ({"ms": 12}, {}, {"time per photo"}),
    "size": ({"mib": 18}, {}, {"size"}),
    "int8": ({"int8": False}, {}, {"int8"}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_challenger_is_refused_by_the_rule_that_it_breaks(name, verdict_on):
    challenger, settings, rules = BREAKS[name]
    verdict = verdict_on(model(**challenger), **settings)
    assert broken(verdict) == rules
    assert len(verdict.reasons) == len(rules)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_is_documented_and_its_parameters_exist(rule, repository):
    assert rule.measure.__doc__
    assert set(rule.parameters) <= Gate.model_fields.keys()
    page = (repository / "docs/releases.md").read_text("utf-8")
    assert all(f"`gate.{name}`" in page for name in rule.parameters)


def test_a_new_rule_is_one_function(verdict_on, monkeypatch):
    monkeypatch.setattr(rules, "RULES", dict(RULES))

    @gate_rule("seed")
    def seventh_seed(comparison: Comparison) -> RuleResult:
        """The seed is seven."""
        seed = comparison.settings.seed
        return RuleResult("seed", "is 7", seed == 7, reason="" if seed == 7 else "seed: not 7.")

    assert verdict_on(model()).passed
    verdict = verdict_on(model(), seed=8)
    assert verdict.reasons == ["seed: not 7."]
    assert "| seed: is 7 |  |  |  | **no** |" in verdict.markdown()


def test_groups_that_are_too_small_are_named_and_a_csv_without_a_large_one_is_refused(
    verdict_on, tmp_path
):
    verdict = verdict_on(model(), min_slice_people=1000)
    assert verdict.passed
    assert any("are not compared: dark" in note for note in verdict.seen)
    (tmp_path / "teams.csv").write_text("person,team\n0,a\n1,a\n")
    verdict = verdict_on(model(), slices=str(tmp_path / "teams.csv"))
    assert "teams.csv has 8 known people among these photos" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("low", "high", "reason"),
    [
        (0.01, 0.09, ""),
        (-0.004, 0.002, ""),
        (-0.15, -0.05, "significantly worse, and 0.01 may be lost"),
        (-0.1, 0.02, "more than the 0.01 that may be lost"),
        (-0.05, 0.05, "on 8 people a loss of more than 0.01 cannot be ruled out"),
    ],
)
def test_an_inconclusive_result_does_not_pass(low, high, reason):
    result = no_loss("TAR", (0.9, 0.9 + (low + high) / 2, low, high), 0.01, 8)
    assert result.passed == (not reason)
    assert result.passed or reason in result.reason


def test_strangers_are_judged_in_the_source_in_which_most_are_named(verdict_on):
    similar = faces(0.8)
    similar[PERSON % 2 == 1] += 0.35 * np.eye(SIZE, dtype=np.float32)[0]
    similar /= np.linalg.norm(similar, axis=1, keepdims=True)
    settings = LOOSE | {"min_slice_people": 5}
    verdict = verdict_on(model(similar, margin=0), sources=HALVES, **settings)
    worst = next(rule for rule in verdict.rules if rule.name.startswith("strangers named"))
    assert "odd" in worst.name
    whole = verdict_on(model(similar, margin=0), **settings)
    alone = next(rule for rule in whole.rules if rule.name.startswith("strangers named"))
    assert worst.challenger is not None and alone.challenger is not None
    assert worst.challenger > alone.challenger
    assert {group["group"] for group in verdict.groups} > {"source odd", "source even"}
    assert verdict_on(model(), sources=HALVES).passed


@pytest.mark.parametrize(
    ("threshold", "reason"), [(0.36, ""), (0.22, "at least 0.0... more"), (0.1, "do not hold")]
)
def test_more_strangers_than_the_champion_names_pass_within_the_budget(
    threshold, reason, verdict_on
):
    strict, other = model(threshold=0.9), model(threshold=threshold, margin=0.0)
    verdict = verdict_on(other, champion=strict)
    rule = next(rule for rule in verdict.rules if rule.name.startswith("strangers named"))
    assert rule.passed == (not reason)
    assert re.search(reason, rule.reason)


def test_a_source_of_few_people_is_not_compared(verdict_on):
    sources = tuple(np.where(PERSON < 4, "few", "many").tolist())
    names = [rule.name for rule in verdict_on(model(), sources=sources).rules]
    assert not [name for name in names if "population" in name or "few" in name]


def test_inconclusive_time_passes_and_says_so(verdict_on, monkeypatch):
    monkeypatch.setattr(rules, "measure_latency", lambda *_: Latency(9, 12, 1.3, 0.9, 1.7))
    verdict = verdict_on(model())
    assert verdict.passed
    assert "measured 1.30 times (0.90 to 1.70), inconclusive" in verdict.markdown()
