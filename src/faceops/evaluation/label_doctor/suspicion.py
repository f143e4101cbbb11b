"""A suspicion: photos whose label is probably wrong, how, and what speaks for it."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What may be wrong. The words are stable: they stand in suspicions.csv."""

    MISLABELLED = "mislabelled_photo"  # unlike the person's other photos, or liker another person
    UNCLEAR = "one_of_these_photos"  # a person's few photos are all unlike each other
    SINGLE = "second_name_or_mislabelled"  # a person's only photo is like another person
    TWO_NAMES = "one_person_two_names"  # two people with several photos each look the same
    TWO_PEOPLE = "two_people_one_name"  # a person's photos fall into groups of two or more


@dataclass(frozen=True)
class Suspicion:
    """One suspicion.

    Attributes:
        kind: what may be wrong.
        score: its log odds, given the share of wrong labels that was assumed.
        photos: rows of the photos in doubt.
        person: whose label the first of them has.
        suggestion: the other person whom they are like, "" where there is none.
        evidence: in words.
        beside: rows of photos of `person` to compare with, the most typical first.
        alike: the same of `suggestion`.
    """

    kind: Kind
    score: float
    photos: tuple[int, ...]
    person: str
    suggestion: str
    evidence: str
    beside: tuple[int, ...] = ()
    alike: tuple[int, ...] = ()
