"""How likely it is, in one album, that a face shows the enrolled person whom it is most like.

The probability of a pair says how alike two faces are, not how likely a name is: among a thousand
strangers a few are as like somebody as .9. The album tells how many. Of each face the share of
strangers who score as high is known; for strangers these shares are uniform between 0 and 1, for
enrolled people they are near 0. The chance is one minus the local false discovery rate (Efron,
2004), with Grenander's estimate of a falling density (1956, as in Strimmer, 2008) and the share of
strangers by Storey (2002).
"""

import numpy as np

FEWEST = 100  # faces that give an estimate
MOST = 4000  # faces of the estimate
_UPPER = 0.5  # from this share on, the faces are strangers'
# Without an estimate: a share of .01 is very likely, one of .1 possible.
_PRIOR = 5.0
_LEAST, _HIGHEST = 0.001, 0.999
WORDS = ("unlikely", "possible", "likely", "very likely", "almost certain")
SURE = WORDS[3:]
_LIMITS = (0.2, 0.5, 0.9, 0.99)


class Chances:
    """The chances in an album.

    Args:
        shares: float (N,), of its faces that are compared with the enrolled people, 0 to 1.
    """

    def __init__(self, shares: np.ndarray) -> None:
        known = np.sort(shares[np.isfinite(shares)])
        self._ends: np.ndarray | None = None
        if len(known) < FEWEST:
            return
        # One more than there are: an estimate of none would make everybody certain.
        strangers = min(1.0, (np.count_nonzero(known > _UPPER) + 1) / len(known) / (1 - _UPPER))
        at = np.arange(1, len(known) + 1) / len(known)
        if len(known) > MOST:  # near 0 all of them count
            some = np.unique(np.geomspace(1, len(known), MOST).astype(int)) - 1
            known, at = known[some], at[some]
        ends, density = _falling_density(np.append(known, 1.0), np.append(at, 1.0))
        self._ends, self._chances = ends, 1 - strangers / np.maximum(density, strangers)

    def of(self, shares: np.ndarray) -> np.ndarray:
        """Return the chance, float (N,), of faces with these shares; NaN for NaN."""
        if self._ends is None:
            found = 1 - _PRIOR * shares
        else:
            at = np.searchsorted(self._ends, np.nan_to_num(shares, nan=1.0))
            found = self._chances[np.minimum(at, len(self._ends) - 1)]
        return np.where(np.isnan(shares), np.nan, np.clip(found, _LEAST, _HIGHEST))


def in_words(chance: float) -> str:
    """Return a chance, 0 to 1, in words."""
    return WORDS[int(np.searchsorted(_LIMITS, chance, side="right"))]


_Point = tuple[float, float]


def _falling_density(values: np.ndarray, cumulated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes of the least concave majorant of a distribution, and where each ends."""
    hull = [(0.0, 0.0)]
    for x, y in zip(values.tolist(), cumulated.tolist(), strict=True):
        while len(hull) > 1 and _is_below(hull[-2], hull[-1], (x, y)):
            hull.pop()
        if x > hull[-1][0]:
            hull.append((x, y))
        else:  # equal values: the last one counts
            hull[-1] = x, max(y, hull[-1][1])
    xs, ys = np.array(hull).T
    return xs[1:], np.diff(ys) / np.diff(xs)


def _is_below(one: _Point, middle: _Point, other: _Point) -> bool:
    """Return whether `middle` lies on or below the line through the others."""
    return (middle[1] - one[1]) * (other[0] - one[0]) <= (other[1] - one[1]) * (middle[0] - one[0])
