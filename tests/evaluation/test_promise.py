"""A promise is held against strangers whom nothing has seen."""

import numpy as np
import pytest

from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.promise import Promise, hold_promise
from tests.verification.test_thresholds import VERIFIER, measured, population


def faces(seed: int, people: int, hubs: float = 0.0) -> EmbeddedFaces:
    embeddings, persons = population(seed, people)
    if hubs:  # another population, in which everybody resembles everybody more
        embeddings = embeddings + np.float32(hubs) * np.eye(embeddings.shape[1])[0]
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return EmbeddedFaces(embeddings.astype(np.float32), persons, persons)


def test_promise_holds_for_people_of_the_same_population() -> None:
    promises = hold_promise(faces(2, 900), VERIFIER, measured(0, 400), [0.1, 0.01], [20, 100], 3)
    assert [(p.gallery_faces, p.budget) for p in promises] == [
        (20, 0.1), (20, 0.01), (100, 0.1), (100, 0.01),
    ]  # fmt: skip
    assert all(p.verdict in ("kept", "undecided") for p in promises)
    assert all(p.seen is not None and p.seen > 0 for p in promises)


def test_promise_breaks_for_people_who_look_more_alike() -> None:
    promises = hold_promise(faces(2, 900, 0.4), VERIFIER, measured(0, 400), [0.1], [20, 100], 3)
    assert all(p.verdict == "broken" for p in promises)


def test_refused_budget_stands_there_with_its_reason() -> None:
    (promise,) = hold_promise(faces(2, 100), VERIFIER, measured(0, 400), [0.001], [20], 3)
    assert promise.seen is None
    assert promise.verdict == "refused"
    assert "3,000 people" in promise.refusal
    assert promise.figures["threshold"] is None


def test_verdict_separates_kept_from_not_shown_to_be_broken() -> None:
    at = {"gallery_faces": 20, "budget": 0.01, "strangers": 500}
    assert Promise(**at, seen=0.01, interval=(0.004, 0.02)).verdict == "kept"
    assert Promise(**at, seen=0.011, interval=(0.01, 0.02)).verdict == "undecided"
    assert Promise(**at, seen=0.02, interval=(0.011, 0.03)).verdict == "broken"


def test_interval_that_the_release_states_for_its_threshold_stands_beside_the_seen_one() -> None:
    thresholds = measured(0, 400)
    row = next(r for r in thresholds.search if r.false_positive_rate)
    promises = hold_promise(
        faces(2, 900), VERIFIER, thresholds, [row.budget, 0.37], [row.gallery_faces], 3
    )
    of = {p.budget: p.figures["calibrated_interval"] for p in promises}
    assert row.false_positive_rate is not None
    assert of[row.budget] == row.false_positive_rate.model_dump()
    assert of[0.37] == {"low": None, "high": None}


@pytest.mark.parametrize("size", [100, 5000])
def test_gallery_that_the_people_cannot_fill_is_left_out(size: int) -> None:
    assert hold_promise(faces(2, 100), VERIFIER, measured(0, 400), [0.1], [size], 3) == []


def test_faces_of_other_lengths_do_not_fit_together() -> None:
    with pytest.raises(ValueError, match=r"rows"):
        EmbeddedFaces(np.zeros((3, 4), np.float32), np.array(["a"]), np.array(["a"]))
