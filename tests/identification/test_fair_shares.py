"""Pictures are shared out fairly among people."""

import random

from faceops.identification.report.report import fair_shares


def test_who_wants_little_gets_it_and_the_others_the_same() -> None:
    assert fair_shares([400, 2, 30], 50) == [24, 2, 24]
    assert fair_shares([3, 1], 100) == [3, 1]
    assert fair_shares([], 5) == []


def test_where_there_is_less_than_one_for_each_the_larger_get_it() -> None:
    assert fair_shares([2, 9, 3], 2) == [0, 1, 1]


def test_nothing_is_left_while_somebody_wants_more() -> None:
    draw = random.Random(3)
    for _ in range(200):
        wanted = [draw.randrange(20) for _ in range(draw.randrange(1, 12))]
        total = draw.randrange(120)
        shares = fair_shares(wanted, total)
        assert sum(shares) == min(total, sum(wanted))
        assert all(share <= want for share, want in zip(shares, wanted, strict=True))
