"""How many people an error rate needs."""

from math import comb

import pytest

from faceops.verification.thresholds import (
    people_for_far,
    people_for_fpir,
    smallest_far,
    smallest_fpir,
)


@pytest.mark.parametrize(("fpir", "people"), [(0.1, 30), (0.01, 300), (0.001, 3000)])
def test_fpir_needs_three_over_it(fpir: float, people: int) -> None:
    assert people_for_fpir(fpir) == people
    assert smallest_fpir(people) == pytest.approx(fpir)
    # 95 % of the time at least one of that many strangers is named when a share `fpir` is.
    assert 1 - (1 - fpir) ** people == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("far", [0.3, 0.01, 0.001, 1e-4, 1e-6])
def test_far_needs_ten_pairs_of_people_and_no_more(far: float) -> None:
    people = people_for_far(far)
    assert comb(people, 2) * far >= 10 - 1e-6
    assert comb(people - 1, 2) * far < 10
    assert smallest_far(people) <= far * (1 + 1e-9)


@pytest.mark.parametrize("people", [0, 1])
def test_too_few_people_support_nothing(people: int) -> None:
    assert smallest_far(people) == smallest_fpir(people) == 1.0
