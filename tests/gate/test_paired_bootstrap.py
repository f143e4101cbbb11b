"""Figures of two models on the same probes, against the obvious loops."""

import numpy as np
import pytest

from faceops.gate.paired_bootstrap import ModelFigures, interval, resampled_weights
from faceops.gate.trials import NO_FACE, Outcomes

PEOPLE, PROBES = 12, 400


@pytest.fixture
def probes() -> tuple[Outcomes, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    person = random.integers(0, PEOPLE, PROBES)
    known = person < 7
    score = random.random(PROBES).round(2).astype(np.float32)  # with ties
    score[::17] = NO_FACE
    right = (random.random(PROBES) < 0.9) & (score >= 0)
    return Outcomes(score, right, (score > 0.8)), person, known


@pytest.mark.parametrize("fpir", [0.01, 0.1, 0.5])
def test_dir_under_weights_is_that_of_probes_written_out_as_often(
    probes: tuple[Outcomes, np.ndarray, np.ndarray], fpir: float
) -> None:
    outcomes, person, known = probes
    weight = np.random.default_rng(4).integers(0, 4, PEOPLE).astype(np.float32)
    rows = np.repeat(np.arange(PROBES), weight[person].astype(int))
    strangers = sorted((outcomes.score[r] for r in rows if not known[r]), reverse=True)
    refused = strangers[int(fpir * len(strangers) + 1e-9)]
    named = [outcomes.right[r] and outcomes.score[r] > refused for r in rows if known[r]]
    figures = ModelFigures(outcomes, person, known)
    assert figures.dir(weight, fpir) == pytest.approx(np.mean(named))


def test_the_worst_group_is_the_one_with_the_lowest_dir(
    probes: tuple[Outcomes, np.ndarray, np.ndarray],
) -> None:
    outcomes, person, known = probes
    figures, once = ModelFigures(outcomes, person, known), np.ones(PEOPLE, np.float32)
    groups = {str(third): np.arange(PROBES) % 3 == third for third in range(3)}
    rates = {name: figures.dir(once, 0.1, rows) for name, rows in groups.items()}
    assert figures.worst(once, 0.1, groups)[1] == pytest.approx(min(rates.values()))


def test_one_model_against_itself_differs_by_nothing(
    probes: tuple[Outcomes, np.ndarray, np.ndarray],
) -> None:
    figures = ModelFigures(*probes)
    kinds = np.stack([np.arange(PEOPLE) < 7, np.arange(PEOPLE) >= 7], axis=1)
    weights = resampled_weights(PEOPLE, kinds, 100, 1)
    rates = np.array([figures.dir(w, 0.1) for w in weights])
    difference = interval(0.5, 0.5, rates - rates, 0.95)
    assert (difference.low, difference.gain, difference.high) == (0, 0, 0)
    assert np.ptp(rates) > 0


def test_a_photo_without_a_face_is_never_named() -> None:
    person = np.array([0, 0, 1, 1])
    known = np.array([True, True, False, False])
    none = np.full(4, NO_FACE, np.float32)
    figures = ModelFigures(Outcomes(none, np.zeros(4, bool), np.zeros(4, bool)), person, known)
    assert figures.dir(np.ones(2, np.float32), 0.9) == 0


def test_every_resample_has_known_people_and_strangers() -> None:
    kinds = np.array([[True, False], [False, True], [False, False]])
    weights = resampled_weights(3, kinds, 200, 2)
    assert (weights[:, 0] > 0).all()
    assert (weights[:, 1] > 0).all()
    assert (weights.sum(1) == 3).all()
