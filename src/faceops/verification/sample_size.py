"""How many people a false accept rate or a false positive identification rate (FPIR) needs.

Photos of one person are not independent, so people are counted, not photos.

FPIR: if none of P strangers are identified, the rate can still be 3 / P with 95 % confidence (rule
of three, Hanley & Lippman-Hand 1983). Fewer than 3 / FPIR people are therefore never enough.

FAR: P people make P (P - 1) / 2 pairs of people. A FAR is supported when ten of them are expected
above its threshold (the rule of 30 of Doddington et al. 2000, relaxed: ten errors give about
+-60 % at 95 %).
"""

import math

IMPOSTOR_PAIRS = 10
_RULE_OF_THREE = 3


def people_for_fpir(fpir: float) -> int:
    """Return the number of people that an FPIR needs."""
    return math.ceil(_RULE_OF_THREE / fpir - 1e-9)


def smallest_fpir(people: int) -> float:
    """Return the smallest FPIR that `people` people support, at most 1."""
    return min(_RULE_OF_THREE / people, 1.0) if people else 1.0


def people_for_far(far: float) -> int:
    """Return the number of people that a false accept rate needs."""
    wanted = math.ceil(IMPOSTOR_PAIRS / far - 1e-6)  # pairs of people
    people = (1 + math.isqrt(1 + 8 * wanted)) // 2
    while math.comb(people, 2) < wanted:
        people += 1
    return people


def smallest_far(people: int) -> float:
    """Return the smallest false accept rate that `people` people support, at most 1."""
    return min(IMPOSTOR_PAIRS / max(math.comb(people, 2), 1), 1.0)
