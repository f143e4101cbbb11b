"""FPIR at the release's thresholds is measured again on held-out people."""

import numpy as np
import pytest

from faceops.evaluation.protocols.album_scores import measure_fpir_at_thresholds, verdict
from faceops.verification.embedded_faces import EmbeddedFaces
from tests.evaluation.simulated import adapting, album_of
from tests.verification.population import VERIFIER as ALBUM_VERIFIER
from tests.verification.test_thresholds import VERIFIER, measured, population


def faces(seed: int, people: int, hubs: float = 0.0) -> EmbeddedFaces:
    embeddings, persons = population(seed, people)
    if hubs:  # another population, in which all people are more similar
        embeddings = embeddings + np.float32(hubs) * np.eye(embeddings.shape[1])[0]
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return EmbeddedFaces(embeddings.astype(np.float32), persons, persons)


def measure(
    people: EmbeddedFaces, budgets: list[float], sizes: list[int]
) -> list[dict[str, object]]:
    earlier = measured(400).model_copy(update={"normalisation": None})
    return measure_fpir_at_thresholds(
        people, VERIFIER, earlier, 3, budgets=budgets, gallery_sizes=sizes
    )


def test_budgets_are_kept_on_people_of_the_same_population():
    rows = measure(faces(2, 900), [0.1, 0.01], [20, 100])
    assert [(row["gallery_faces"], row["budget"]) for row in rows] == [
        (20, 0.1), (20, 0.01), (100, 0.1), (100, 0.01),
    ]  # fmt: skip
    assert {row["verdict"] for row in rows} <= {"kept", "undecided"}
    assert all(row["seen"] for row in rows)


def test_budgets_are_broken_on_more_similar_people():
    rows = measure(faces(2, 900, 0.4), [0.1], [20, 100])
    assert [row["verdict"] for row in rows] == ["broken", "broken"]


def test_an_album_of_similar_people_keeps_the_budget_that_it_states_itself():
    album = album_of(250, 4, 0.4)
    rows = measure_fpir_at_thresholds(album, ALBUM_VERIFIER, adapting(), 3)
    assert {row["gallery_faces"] for row in rows} == {20, 100, 200}
    for row in rows:
        assert row["budget"] / 2 < row["seen"] < row["budget"] * 2
        assert row["verdict"] in ("kept", "undecided")
        low, high = row["estimate_interval"].values()
        assert low <= row["seen"] <= high
        assert row["measured"] and row["calibrated_interval"]["low"] is None
    earlier = adapting().model_copy(update={"normalisation": None})
    raw = measure_fpir_at_thresholds(album, ALBUM_VERIFIER, earlier, 3)
    assert max(row["seen"] / row["budget"] for row in raw) > 2


def test_an_album_of_few_people_takes_the_threshold_of_the_worst_calibration_set():
    rows = measure_fpir_at_thresholds(album_of(30), ALBUM_VERIFIER, adapting(), 3)
    assert {row["fallback_population"] for row in rows} == {"alike 0.4"}
    assert not any(row["measured"] for row in rows)
    assert all(row["estimate_interval"] == {"low": None, "high": None} for row in rows)


def test_a_refused_budget_has_its_reason_and_a_gallery_that_people_cannot_fill_no_row():
    (row,) = measure(faces(2, 100), [0.001], [20, 100, 5000])  # others cannot be filled
    assert (row["seen"], row["threshold"], row["verdict"]) == (None, None, "refused")
    assert "3,000 people" in str(row["refusal"])


@pytest.mark.parametrize(
    ("rate", "low", "expected"),
    [(0.01, 0.004, "kept"), (0.011, 0.01, "undecided"), (0.02, 0.011, "broken")],
)
def test_a_rate_above_the_budget_is_broken_only_beyond_chance(rate, low, expected):
    assert verdict(rate, low, 0.01) == expected


def test_the_interval_that_the_release_states_is_given_beside_the_measured_one():
    stated = next(row for row in measured(400).search if row.false_positive_rate)
    assert stated.false_positive_rate is not None
    rows = measure(faces(2, 900), [stated.budget, 0.37], [stated.gallery_faces])
    of = {row["budget"]: row["calibrated_interval"] for row in rows}
    assert of[stated.budget] == stated.false_positive_rate.model_dump()
    assert of[0.37] == {"low": None, "high": None}
