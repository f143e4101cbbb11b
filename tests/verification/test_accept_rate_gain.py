"""True accept rates of two scores on the same people."""

import numpy as np
import pytest

from faceops.verification.false_accept_rate import threshold_at
from faceops.verification.fit import accept_rate_gain
from faceops.verification.pairs import PairScores, codes, genuine_pairs

PERSONS = np.repeat([f"p{i:02}" for i in range(40)], np.arange(40) % 5 + 1)


def scores(seed: int, shift: float, decimals: int = 7) -> PairScores:
    draw = np.random.default_rng(seed)
    one = len(genuine_pairs(PERSONS))
    two = len(PERSONS) * (len(PERSONS) - 1) // 2 - one
    genuine, impostor = draw.normal(shift, 1, one), draw.normal(0, 1, two)
    parts = (part.round(decimals).astype(np.float32) for part in (genuine, impostor))
    return PairScores(*parts, sampled=False)


@pytest.mark.parametrize("decimals", [7, 0])
@pytest.mark.parametrize("far", [0.0, 0.001, 0.01, 0.3])
def test_rates_are_those_at_the_threshold_rule(far: float, decimals: int) -> None:
    new, old = scores(0, 2, decimals), scores(1, 1.5, decimals)
    found = accept_rate_gain(new, old, PERSONS, far, repeats=2)
    for rate, part in zip(found.rates, (new, old), strict=True):
        cut = threshold_at(np.sort(part.impostor)[::-1], far)
        assert rate == (part.genuine >= np.float32(cut)).mean()


def test_resample_is_that_of_copied_people() -> None:
    part = scores(2, 1.5)
    draw = np.random.default_rng(0)
    times = np.bincount(draw.integers(0, 40, 40), minlength=40)
    person = codes(PERSONS)
    genuine = np.repeat(part.genuine, times[person[genuine_pairs(PERSONS)[:, 0]]])
    first, second = np.triu_indices(len(person), 1)
    two = person[first] != person[second]
    copies = times[person[first[two]]] * times[person[second[two]]]
    impostor = np.repeat(part.impostor, copies)
    cut = threshold_at(np.sort(impostor)[::-1], 0.02)
    found = accept_rate_gain(part, part, PERSONS, 0.02, seed=0, repeats=1)
    assert found.resampled[0, 0] == pytest.approx((genuine >= np.float32(cut)).mean())


def test_better_score_gains_surely_and_an_equal_one_does_not() -> None:
    good, poor = scores(3, 3.5), scores(3, 1.5)
    found = accept_rate_gain(good, poor, PERSONS, 0.01)
    assert found.gain > 0.3
    low, high = found.interval().values()
    assert 0 < low < found.low < found.gain < high
    same = accept_rate_gain(good, good, PERSONS, 0.01)
    assert (same.gain, same.low) == (0, 0)
    assert found.resampled[:, 0].tolist() == same.resampled[:, 1].tolist()
