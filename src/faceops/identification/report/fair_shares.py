"""Max-min fair shares of something of which there is not enough for all."""

from collections.abc import Sequence


def fair_shares(wanted: Sequence[int], total: int) -> list[int]:
    """Return how much each gets of `total`: who wants little gets it, the others the same.

    Nobody gets more than they want; of shares that differ by rounding the larger go to those who
    want more.
    """
    shares, left = [0] * len(wanted), total
    waiting = sorted(range(len(wanted)), key=lambda place: wanted[place])
    for rank, place in enumerate(waiting):
        shares[place] = min(wanted[place], left // (len(waiting) - rank))
        left -= shares[place]
    return shares
