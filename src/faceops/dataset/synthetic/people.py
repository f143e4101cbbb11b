"""The people of a synthetic data set: their numbers and their invented names."""

from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.dataset.synthetic.generator import NOISE

_GIVEN_STARTS = "A Be Ca Do E Fi Ga He I Jo Ka Li Ma Ne O Pe Ri Sa Ti Vo"
_GIVEN_ENDS = "bra dan lia mir na ren rik ssa tus va vin zel"
_FAMILY_STARTS = "Al Bar Cor Dal Es Fen Gar Hol Il Jar Kel Lor Mar Nor Ost Pel Quin Ros"
_FAMILY_MIDDLES = "aeiou"
_FAMILY_ENDS = "bek dorf ford gren holt kova lund mont nen ris sson strand tova vik wald zec"

_ORDER_SEED = 20  # of the list itself, not of a data set: person 0 is always the same name


@cache
def _order() -> tuple[np.ndarray, list[str], list[str]]:
    given = ["".join(parts) for parts in product(_GIVEN_STARTS.split(), _GIVEN_ENDS.split())]
    starts, ends = _FAMILY_STARTS.split(), _FAMILY_ENDS.split()
    family = ["".join(parts) for parts in product(starts, _FAMILY_MIDDLES, ends)]
    count = len(given) * len(family)
    return np.random.default_rng(_ORDER_SEED).permutation(count), given, family


GROUPS = 3


def most_people() -> int:
    """Return how many people of one group can have a name."""
    return len(_order()[0]) // GROUPS


def invented_name(group: int, person: int) -> str:
    """Return the name of one synthetic person as `Given_Family`; no two people share one."""
    order, given, family = _order()
    which = int(order[person * GROUPS + group])
    return f"{given[which % len(given)]}_{family[which // len(given)]}"


# Increase it when the same settings give other bytes.
VERSION = 2

# Smaller sets have no broken photos: their share would be too large.
_BROKEN_FROM = 120


@dataclass(frozen=True)
class SyntheticSettings:
    """Counts and seed; people of one set are the first people of a larger one with that seed."""

    people: int = 520  # to train and test on
    photos: int = 5  # of each of these people
    seed: int = 7  # of everything that is drawn
    gallery: int = 20  # other people, to enrol
    enrol_photos: int = 3  # of each person to enrol
    strangers: int = 30  # people in neither group
    scenes: int = 60  # photos in the album, of gallery people and strangers

    def __post_init__(self) -> None:
        for name, low, high in (
            ("people", 1, most_people()),
            ("photos", 1, 1000),
            ("seed", 0, 2**63),
            ("gallery", 1, most_people()),
            ("strangers", 0, most_people()),
            ("scenes", 0, 900),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"--{name} {value} is out of range; give {low} to {high}.")

    @property
    def has_broken_photos(self) -> bool:
        """Whether some training photos are broken or duplicates, for validation to find."""
        return self.people * self.photos >= _BROKEN_FROM and self.people >= 5

    def as_dict(self) -> dict[str, Any]:
        """Return the settings that determine the bytes of the set."""
        return asdict(self) | {"noise": NOISE, "version": VERSION}
