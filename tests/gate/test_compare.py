"""Each rule refuses the challenger that breaks it, and that one alone: figures of made-up faces."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from faceops.config.sections import Gate
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.gate import compare as comparing
from faceops.gate import rules as measured_rules
from faceops.gate.photos import FaceTable, FrozenPhotos
from faceops.gate.rules import at_most
from faceops.gate.verdict import Verdict
from faceops.release.evaluate.embed_photos import LabelledPhoto
from faceops.verification.verifier import Verifier

PEOPLE, PHOTOS, SIZE = 60, 6, 48
RULES = Gate(fpir=0.1, far=0.01, resamples=200, min_slice_people=8)
VERIFIER = Verifier(np.full(SIZE, -6, np.float32), 6.0, "distance")
PERSON = np.repeat(np.arange(PEOPLE), PHOTOS)
FROZEN = FrozenPhotos(
    [LabelledPhoto(Path(), f"{one:03}/{at}", f"{one:03}") for at, one in enumerate(PERSON)],
    *(PEOPLE, 0, "photos", "folder"),
)


def faces(noise: np.ndarray | float, seed: int = 1) -> np.ndarray:
    """Return float32 (N, SIZE): each photo's person with `noise` of its own."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(PEOPLE, SIZE))
    raw = centres[PERSON] + noise * random.normal(size=(len(PERSON), SIZE))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def model(
    name: str, embeddings: np.ndarray, *, found: np.ndarray | None = None, threshold: float = 0.5,
    margin: float = 0.5, int8: bool = True,
) -> Any:  # fmt: skip
    """Return what stands for a measured model, and in `.table` its faces."""
    found = np.ones(len(PERSON), bool) if found is None else found
    thresholds = SimpleNamespace(
        default_budget=0.1, runner_up_margin=margin, for_search=lambda budget, size: threshold
    )
    one = SimpleNamespace(
        name=name, verifier=VERIFIER, thresholds=thresholds,
        bundle=SimpleNamespace(release=SimpleNamespace(int8=int8 or None)),
    )  # fmt: skip
    table = EmbeddedFaces(embeddings[found], PERSON[found].astype(str), np.full(found.sum(), ""))
    crops = np.zeros((found.sum(), 112, 112, 3), np.uint8)
    crops[:, :, :56] = np.arange(found.sum())[:, None, None, None] % 251  # dark to bright
    rows = np.where(found, np.cumsum(found) - 1, -1)
    one.table = FaceTable(one, SimpleNamespace(faces=table, crops=crops), rows)  # type: ignore[arg-type]
    return one


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compare two such models; what they cost in time and bytes is the same."""
    monkeypatch.setattr(comparing, "embed_frozen", lambda one, *_: one.table)
    monkeypatch.setattr(
        measured_rules, "latency_rule", lambda *_: at_most("time a photo", "ms", 9, 9, 1, 1.25)
    )
    monkeypatch.setattr(
        measured_rules, "size_rule", lambda *_: at_most("size", "MiB", 9, 9, 1, 1.5)
    )

    def judged(champion: Any, challenger: Any, rules: Gate = RULES) -> Verdict:
        return comparing.compare(champion, challenger, FROZEN, rules, Path(), seen=[], unknown=[])

    return judged


def broken(verdict: Verdict) -> set[str]:
    """Return the first words of the rules that do not hold."""
    return {rule.name.split(",")[0].partition(" at F")[0].split(" (")[0]
            for rule in verdict.rules if not rule.passed}  # fmt: skip


def test_a_release_passes_against_itself_and_a_better_one_against_a_worse(judge: Any) -> None:
    good, worse = faces(0.8), faces(1.2)
    assert judge(model("1", good), model("2", good)).passed
    gain = judge(model("1", worse), model("2", good))
    assert gain.passed, gain.reasons
    by_name = {rule.name: rule for rule in gain.rules}
    assert by_name["DIR at FPIR 0.1"].gain > 0.05


def test_a_worse_embedder_is_refused_by_what_it_identifies(judge: Any) -> None:
    verdict = judge(model("1", faces(0.8)), model("2", faces(1.2)))
    assert {"DIR", "TAR", "known people named", "worst group's DIR"} <= broken(verdict)
    assert "photos with a face found" not in broken(verdict)


def test_thresholds_that_name_nobody_are_refused_though_the_embedder_is_as_good(judge: Any) -> None:
    good = faces(0.8)
    for changed in ({"margin": 100.0}, {"threshold": 1.0}):
        verdict = judge(model("1", good), model("2", good, **changed))
        assert broken(verdict) == {"known people named"}, changed


def test_thresholds_that_name_strangers_are_refused(judge: Any) -> None:
    good = faces(0.8)
    verdict = judge(model("1", good), model("2", good, threshold=0.0, margin=0.0))
    assert broken(verdict) == {"strangers named"}


def test_a_detector_that_misses_faces_is_refused(judge: Any) -> None:
    good = faces(0.8)
    found = np.random.default_rng(5).random(len(PERSON)) > 0.1
    verdict = judge(model("1", good), model("2", good, found=found))
    assert "photos with a face found" in broken(verdict)


def test_a_loss_in_one_group_is_found_where_all_together_hide_it(judge: Any) -> None:
    good = faces(0.8)
    noise = np.where(np.arange(len(PERSON)) % 251 > 205, 1.8, 0.8)[:, None]  # the brightest
    rules = RULES.model_copy(
        update={"max_dir_loss": 0.5, "max_tar_loss": 0.5, "max_named_loss": 0.5}
    )
    verdict = judge(model("1", good), model("2", faces(noise)), rules)
    assert broken(verdict) == {"worst group's DIR"}


def test_int8_that_is_lost_is_refused(judge: Any) -> None:
    good = faces(0.8)
    assert broken(judge(model("1", good), model("2", good, int8=False))) == {"int8"}


def test_groups_that_are_too_small_are_named(judge: Any) -> None:
    good = faces(0.8)
    few = RULES.model_copy(update={"min_slice_people": 1000})
    verdict = judge(model("1", good), model("2", good), few)
    assert verdict.passed
    assert any("are not judged: dark" in told for told in verdict.seen)
