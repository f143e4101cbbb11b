"""Budgets ask for enough people."""

import pytest

from faceops.verification.false_accept_rate import (
    people_for_pairs,
    people_for_search,
    people_pairs,
    smallest_pair_rate,
    smallest_search_budget,
)


@pytest.mark.parametrize(("budget", "people"), [(0.1, 30), (0.01, 300), (0.001, 3000)])
def test_search_budget_needs_three_over_it(budget: float, people: int) -> None:
    assert people_for_search(budget) == people
    assert smallest_search_budget(people) == pytest.approx(budget)


def test_nobody_seen_named_leaves_a_larger_share_possible() -> None:
    # 95 % of the time at least one of 299 strangers is named when 1 % are.
    assert 1 - (1 - 0.01) ** people_for_search(0.01) == pytest.approx(0.95, abs=0.002)


@pytest.mark.parametrize("far", [0.3, 0.01, 0.001, 1e-4, 1e-6])
def test_pair_rate_needs_ten_pairs_of_people_and_no_more(far: float) -> None:
    people = people_for_pairs(far)
    assert people_pairs(people) * far >= 10 - 1e-6
    assert people_pairs(people - 1) * far < 10
    assert smallest_pair_rate(people) <= far * (1 + 1e-9)


@pytest.mark.parametrize("people", [0, 1])
def test_too_few_people_support_nothing(people: int) -> None:
    assert smallest_pair_rate(people) == 1.0
