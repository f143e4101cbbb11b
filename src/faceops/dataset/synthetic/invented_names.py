"""Names for people who do not exist."""

from functools import cache
from itertools import product

import numpy as np

# fmt: off
_GIVEN_STARTS = [
    "A", "Be", "Ca", "Do", "E", "Fi", "Ga", "He", "I", "Jo",
    "Ka", "Li", "Ma", "Ne", "O", "Pe", "Ri", "Sa", "Ti", "Vo",
]
_GIVEN_ENDS = ["bra", "dan", "lia", "mir", "na", "ren", "rik", "ssa", "tus", "va", "vin", "zel"]
_FAMILY_STARTS = [
    "Al", "Bar", "Cor", "Dal", "Es", "Fen", "Gar", "Hol", "Il",
    "Jar", "Kel", "Lor", "Mar", "Nor", "Ost", "Pel", "Quin", "Ros",
]
_FAMILY_MIDDLES = ["a", "e", "i", "o", "u"]
_FAMILY_ENDS = [
    "bek", "dorf", "ford", "gren", "holt", "kova", "lund", "mont",
    "nen", "ris", "sson", "strand", "tova", "vik", "wald", "zec",
]
# fmt: on

_ORDER_SEED = 20  # of the list itself, not of a data set: person 0 is always the same name


@cache
def _order() -> tuple[np.ndarray, list[str], list[str]]:
    given = ["".join(parts) for parts in product(_GIVEN_STARTS, _GIVEN_ENDS)]
    family = ["".join(p) for p in product(_FAMILY_STARTS, _FAMILY_MIDDLES, _FAMILY_ENDS)]
    generator = np.random.default_rng(_ORDER_SEED)
    return generator.permutation(len(given) * len(family)), given, family


GROUPS = 3


def most_people() -> int:
    """Return how many people of one group can have a name."""
    return len(_order()[0]) // GROUPS


def invented_name(group: int, person: int) -> str:
    """Return the name of one synthetic person as `Given_Family`; no two people share one."""
    order, given, family = _order()
    which = int(order[person * GROUPS + group])
    return f"{given[which % len(given)]}_{family[which // len(given)]}"
