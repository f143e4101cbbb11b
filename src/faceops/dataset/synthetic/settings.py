"""How large a synthetic data set is."""

from dataclasses import asdict, dataclass
from typing import Any

from faceops.base.errors import UsageError
from faceops.dataset.synthetic.invented_names import most_people
from faceops.dataset.synthetic.latents import NOISE

# Raised when the same settings give other bytes than before.
VERSION = 1

# Below this many photos the set has no broken ones: they would be too large a share of it.
_BROKEN_FROM = 120


@dataclass(frozen=True)
class SyntheticSettings:
    """Counts and seed; people of one set are the first people of a larger one with that seed.

    Attributes:
        people, photos: to train on, and photos of each.
        gallery, enrol_photos: people to enrol, in no training, and photos of each.
        strangers: people in neither.
        scenes: photos of the album, of gallery people and strangers.
    """

    people: int = 520
    photos: int = 5
    seed: int = 7
    gallery: int = 20
    enrol_photos: int = 3
    strangers: int = 30
    scenes: int = 60

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
        """Whether some photos to train on are broken or doubled, for validation to find."""
        return self.people * self.photos >= _BROKEN_FROM and self.people >= 5

    def as_dict(self) -> dict[str, Any]:
        """Return what decides the bytes of the set."""
        return asdict(self) | {"noise": NOISE, "version": VERSION}
