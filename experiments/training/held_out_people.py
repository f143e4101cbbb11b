"""Who is it, among 120 people whom the model has not seen? Drawn many times."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track
from faceops.evaluation.closed_set import closed_set
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.open_set import open_set
from faceops.verification.pairs import codes
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier

PEOPLE, DRAWS = 120, 20
UNKNOWN = 0.5  # share of the people who are not enrolled, open set


@dataclass(frozen=True)
class HeldOut:
    """Rates of each draw, float64 (R,)."""

    rank_1: np.ndarray  # closed set: all enrolled with their first photo, all others probe
    identified: np.ndarray  # open set: enrolled people's probes given the right name
    strangers_named: np.ndarray  # open set, at the same threshold
    identified_at_fpir: np.ndarray  # at a threshold set on these very strangers
    gallery_photos: int

    def means(self) -> dict[str, Any]:
        """Return mean and standard deviation over draws, by name."""
        names = ("rank_1", "identified", "strangers_named", "identified_at_fpir")
        return {
            name: {"mean": float(rates.mean()), "spread": float(rates.std(ddof=1))}
            for name, rates in ((name, getattr(self, name)) for name in names)
        }


def held_out_people(
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds,
    *,
    gallery_photos: int,
    seed: int,
    people: int = PEOPLE,
    draws: int = DRAWS,
) -> HeldOut:
    """Draw `people` of those with more than `gallery_photos` photos and identify them.

    Open set: half of them are enrolled with `gallery_photos` photos each, the photos of the
    others are strangers'. The threshold is the release's, found on validation people for its
    default budget, and a name must lead the next one by the release's margin.

    Raises:
        FaceOpsError: there are not so many people.
    """
    person = codes(faces.persons)
    able = np.flatnonzero(np.bincount(person) > gallery_photos)
    if len(able) < people:
        raise FaceOpsError(
            f"{len(able)} people have more than {gallery_photos} photos, and {people} are to be"
            " drawn; give more test people."
        )
    draw = np.random.default_rng(seed)
    rates = []
    for number in track(range(draws), f"draws of {people} people"):
        part = faces.of(np.isin(person, draw.permutation(able)[:people]))
        search = open_set(
            part, verifier, thresholds, gallery_photos=gallery_photos, unknown_share=UNKNOWN,
            seed=seed + number, draws=1,
        )  # fmt: skip
        rates.append(
            (
                closed_set(part, verifier).rate(1),
                search.identified[search.known].mean(),
                search.named[~search.known].mean(),
                search.rate_at(thresholds.default_budget),
            )
        )
    return HeldOut(*np.array(rates).T, gallery_photos)
