"""All photos compared: within each person, and with the people whom they are likest.

The model. The verifier's log odds L hold for a pair that is as likely one person as two, so they
are the logarithm of a likelihood ratio. A share s of the labels is assumed to be wrong. Then the
log odds that a photo is not of the person it is labelled with are

    ln(s / (1 - s)) - L(own) + ln(1 + exp(L(other) - ln M)),

where `own` is the person's other photos, `other` the likest of the M other people: the wrong
label hides one of them, each as likely as another, or a stranger. The same prior odds, spread
over the M others, must be overcome before two names are taken for one person. With thousands of
people chance look-alikes are certain, and ln M is what keeps them off the list.

A group of photos is compared by its template, the normalised mean of its embeddings, which the
verifier was not calibrated on: measured on LFW, it parts one person from two better than the
mean or the best of the single scores, and the scores of impostors rise by little. Scores far
beyond those that the calibration has seen are an order, not a probability.
"""

import math
from dataclasses import dataclass

import numpy as np

from faceops.evaluation.label_doctor.nearest_other import nearest_other
from faceops.evaluation.label_doctor.photo_groups import PhotoGroups, group_photos, normalised
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class Compared:
    """What the suspicions are drawn from.

    Attributes:
        embeddings: float32 (N, D), L2-normalised.
        people: str (P,), sorted.
        person: int64 (N,), rows of `people`.
        verifier: gives log odds.
        groups: of each person's photos.
        nearest: int64 (G,), another person's group that a group is likest; -1: there is none.
        likeness: float32 (G,), the log odds of the two.
        prior: ln(s / (1 - s)).
        chance: ln M, 0 where there are no others.
    """

    embeddings: np.ndarray
    people: np.ndarray
    person: np.ndarray
    verifier: Verifier
    groups: PhotoGroups
    nearest: np.ndarray
    likeness: np.ndarray
    prior: float
    chance: float

    def mislabelled(self, own: float, other: float) -> float:
        """Return the log odds of a wrong label by the module's formula."""
        return float(self.prior - own + np.logaddexp(0, other - self.chance))

    def two_names(self, other: float) -> float:
        """Return the log odds that two people, so alike, are one."""
        return float(self.prior + other - self.chance)

    def between(self, first: int, second: int) -> float:
        """Return the log odds of two groups."""
        template = self.groups.template
        return float(self.verifier.logit(template[first], template[second]))

    def name(self, group: int) -> str:
        """Return whose label a group has."""
        return str(self.people[self.groups.person[group]])

    def suggested(self, group: int) -> str:
        """Return whom the group is like by more than chance, "" for nobody."""
        return self.name(int(self.nearest[group])) if self._is_like_another(group) else ""

    def alike(self, group: int) -> tuple[int, ...]:
        """Return the rows of typical photos of whom it is like."""
        return self.typical(int(self.nearest[group])) if self._is_like_another(group) else ()

    def is_core(self, group: int) -> bool:
        """Whether the group is its person's largest, of two photos or more."""
        core = self.groups.core[self.groups.person[group]] == group
        return bool(core and self.groups.size[group] > 1)

    def typical(self, group: int, most: int = 4) -> tuple[int, ...]:
        """Return the rows of the group's photos nearest to its template, the nearest first."""
        rows = self.groups.photos(group)
        near = self.embeddings[rows] @ self.groups.template[group]
        return tuple(int(row) for row in rows[np.argsort(-near, kind="stable")][:most])

    def without(self, photo: int) -> np.ndarray:
        """Return the template of the photo's group without it, float32 (D,)."""
        rows = self.groups.photos(int(self.groups.group[photo]))
        return normalised(self.embeddings[rows[rows != photo]].sum(0))

    def _is_like_another(self, group: int) -> bool:
        return bool(self.likeness[group] > self.chance)


def compare(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, share: float
) -> Compared:
    """Group each person's photos and find the people whom the groups are likest.

    Args:
        embeddings: float32 (N, D), L2-normalised.
        persons: str (N,).
        verifier: calibrated.
        share: of the labels, assumed to be wrong, between 0 and 1.
    """
    people, person = np.unique(np.asarray(persons).astype(str), return_inverse=True)
    prior = math.log(share / (1 - share))
    groups = group_photos(embeddings, person, verifier, apart=prior)
    nearest, likeness = nearest_other(
        groups.template, groups.person, groups.template, groups.person, verifier
    )
    chance = math.log(max(len(people) - 1, 1))
    return Compared(embeddings, people, person, verifier, groups, nearest, likeness, prior, chance)
