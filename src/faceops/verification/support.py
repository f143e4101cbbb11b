"""How many people a budget of errors needs before data can speak for it.

Photos of one person are not independent, so people are counted, not photos.

Search: if none of P strangers were named, the share of strangers named could still be 3 / P with
95 % confidence (rule of three, Hanley & Lippman-Hand 1983). Fewer people than 3 / budget can
therefore never speak for the budget, whatever was seen on them.

Pairs: P people make P (P - 1) / 2 pairs of people. A false accept rate is supported when ten of
them are expected above its threshold (the rule of 30 of Doddington et al. 2000, relaxed: ten
errors give about +-60 % at 95 %).
"""

import math

SUPPORTING_PAIRS = 10
_RULE_OF_THREE = 3


def people_for_search(budget: float) -> int:
    """Return the people needed before a share `budget` of strangers named can be promised."""
    return math.ceil(_RULE_OF_THREE / budget - 1e-9)


def smallest_search_budget(people: int) -> float:
    """Return the smallest share of strangers that `people` people can speak for."""
    return min(_RULE_OF_THREE / people, 1.0) if people else 1.0


def people_for_pairs(far: float) -> int:
    """Return the people needed before a false accept rate `far` a pair is supported."""
    wanted = math.ceil(SUPPORTING_PAIRS / far - 1e-6)  # pairs of people
    people = (1 + math.isqrt(1 + 8 * wanted)) // 2
    while people_pairs(people) < wanted:
        people += 1
    return people


def people_pairs(people: int) -> int:
    """Return how many pairs of two people there are."""
    return people * (people - 1) // 2


def smallest_pair_rate(people: int) -> float:
    """Return the smallest false accept rate a pair that `people` people support, at most 1."""
    pairs = people_pairs(people)
    return min(SUPPORTING_PAIRS / pairs, 1.0) if pairs else 1.0
