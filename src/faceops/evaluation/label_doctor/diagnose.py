"""The list: all suspicions that are more likely than not, the strongest first."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from faceops.base.errors import UsageError
from faceops.evaluation.label_doctor.compare import Compared, compare, nearest_other
from faceops.verification.verifier import Verifier


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


def log_odds(value: float) -> str:
    """Return "log odds -4.2"."""
    return f"log odds {value:+.1f}"


def photos(count: int) -> str:
    """Return "the only photo", "the 2 photos", ..."""
    return "the only photo" if count == 1 else f"the {count} photos"


def like(compared: Compared, group: int) -> str:
    """Return "; like ..." where the group is like another person, "" else."""
    if not compared.suggested(group):
        return ""
    near = int(compared.nearest[group])
    count = int(compared.groups.size[near])
    return f"; like {photos(count)} of {compared.name(near)} ({log_odds(compared.likeness[group])})"


def two_names(compared: Compared) -> tuple[list[Suspicion], set[tuple[int, int]]]:
    """Return suspicions on two people with several photos each, and their pairs of codes.

    In doubt are the photos of the one who has fewer. Twins, and a person and an impersonator,
    are found too: nothing in a face tells them apart.
    """
    found, pairs = [], set()
    for first, second, score in _pairs(compared):
        if not (compared.is_core(first) and compared.is_core(second)):
            continue
        groups = compared.groups
        pairs.add((int(groups.person[first]), int(groups.person[second])))
        few, many = sorted((first, second), key=lambda group: groups.size[group])
        found.append(
            Suspicion(
                Kind.TWO_NAMES,
                score,
                tuple(int(row) for row in groups.photos(few)),
                compared.name(few),
                compared.name(many),
                f"{photos(int(groups.size[few]))} are like {photos(int(groups.size[many]))} of "
                f"{compared.name(many)} ({log_odds(compared.between(few, many))})",
                alike=compared.typical(many),
            )
        )
    return found, pairs


def only_photos(compared: Compared) -> list[Suspicion]:
    """Return suspicions on photos that no other photo of their person vouches for.

    It is like another person: either that is a second name of theirs, or its label is wrong.
    Where nothing vouches for the other photo either, both are in doubt.
    """
    found = []
    groups = compared.groups
    for first, second, score in _pairs(compared):
        if compared.is_core(first):
            first, second = second, first
        if not _is_only(compared, first) or compared.is_core(first):
            continue
        both = not compared.is_core(second)
        if both and not _is_only(compared, second):
            continue  # that photo stands apart from others of its person: it is in doubt itself
        if not both and compared.groups.core[groups.person[first]] < 0:
            continue  # told among its person's photos, which are unlike it
        row = int(groups.photos(first)[0])
        rows = (row, int(groups.photos(second)[0])) if both else (row,)
        found.append(
            Suspicion(
                Kind.SINGLE,
                score,
                rows,
                compared.name(first),
                compared.name(second),
                f"like {photos(int(groups.size[second]))} of {compared.name(second)} "
                f"({log_odds(compared.between(first, second))}), and no other photo vouches for "
                f"{'either' if both else 'it'}: one person under two names, or mislabelled",
                alike=() if both else compared.typical(second),
            )
        )
    return found


def _pairs(compared: Compared) -> list[tuple[int, int, float]]:
    """Return pairs of groups, low first, of which one is likest the other, with log odds > 0."""
    score = compared.prior + compared.likeness - compared.chance
    groups = np.flatnonzero((score > 0) & (compared.nearest >= 0))
    pairs = {tuple(sorted((int(g), int(compared.nearest[g])))) for g in groups}
    return [(a, b, compared.two_names(compared.between(a, b))) for a, b in sorted(pairs)]


def _is_only(compared: Compared, group: int) -> bool:
    """Whether it is one photo, and the person has no others that agree with each other."""
    core = compared.groups.core[compared.groups.person[group]]
    return bool(compared.groups.size[group] == 1 and core in (-1, group))


def apart_from_core(compared: Compared) -> list[Suspicion]:
    """Return a suspicion for each group that stands apart from its person's largest group."""
    found = []
    groups = compared.groups
    outside = groups.core[groups.person] != np.arange(len(groups.person))
    for group in np.flatnonzero(outside).tolist():
        core = int(groups.core[groups.person[group]])
        if core < 0:
            continue
        own, other = compared.between(group, core), float(compared.likeness[group])
        size, rest = int(groups.size[group]), int(groups.size[core])
        words = "" if size == 1 else f"{photos(size)} are like each other; "
        found.append(
            Suspicion(
                Kind.MISLABELLED if size == 1 else Kind.TWO_PEOPLE,
                compared.mislabelled(own, other),
                tuple(int(row) for row in groups.photos(group)),
                compared.name(group),
                compared.suggested(group),
                f"{words}unlike {photos(rest)} of this name ({log_odds(own)})"
                + like(compared, group),
                compared.typical(core),
                compared.alike(group),
            )
        )
    return found


def liker_another(compared: Compared, one_person: set[tuple[int, int]]) -> list[Suspicion]:
    """Return a suspicion for each photo among its person's that is liker another person's.

    Args:
        compared: all photos.
        one_person: pairs of people, rows of `people`, low first, suspected to be one: which of
            the two names a photo is likest says nothing then.
    """
    groups = compared.groups
    core = np.array([compared.is_core(group) for group in range(len(groups.person))])
    rows = np.flatnonzero(core[groups.group])
    cores = np.flatnonzero(core)
    nearest, likeness = nearest_other(
        compared.embeddings[rows],
        compared.person[rows],
        groups.template[cores],
        groups.person[cores],
        compared.verifier,
    )
    found = []
    for row, near, other in zip(rows.tolist(), nearest, likeness.tolist(), strict=True):
        if near < 0 or other <= compared.chance:
            continue
        group, alike = int(groups.group[row]), int(cores[near])
        if tuple(sorted((groups.person[group], groups.person[alike]))) in one_person:
            continue
        rest = compared.without(row)
        own = float(compared.verifier.logit(compared.embeddings[row], rest))
        count = int(groups.size[group]) - 1
        found.append(
            Suspicion(
                Kind.MISLABELLED,
                compared.mislabelled(own, other),
                (row,),
                compared.name(group),
                compared.name(alike),
                f"less like {photos(count)} of this name ({log_odds(own)}) than like "
                f"{photos(int(groups.size[alike]))} of {compared.name(alike)} ({log_odds(other)})",
                tuple(beside for beside in compared.typical(group, 5) if beside != row)[:4],
                compared.typical(alike),
            )
        )
    return found


def all_apart(compared: Compared) -> list[Suspicion]:
    """Return suspicions on people whose few photos are all unlike each other.

    A photo that is like two or more photos of another person is mislabelled itself; of the
    others, at least one is.
    """
    found = []
    groups = compared.groups
    for person in np.flatnonzero(groups.core < 0).tolist():
        own = np.flatnonzero(groups.person == person)
        scores = compared.verifier.logit_matrix(groups.template[own], groups.template[own])
        np.fill_diagonal(scores, -np.inf)
        told = np.array([_is_told(compared, group) for group in own.tolist()])
        for index in np.flatnonzero(told):
            group, closest = int(own[index]), float(scores[index].max())
            found.append(
                Suspicion(
                    Kind.MISLABELLED,
                    compared.mislabelled(closest, float(compared.likeness[group])),
                    (int(groups.photos(group)[0]),),
                    compared.name(group),
                    compared.suggested(group),
                    f"unlike {photos(len(own) - 1)} of this name "
                    f"({log_odds(closest)}){like(compared, group)}",
                    tuple(int(groups.photos(g)[0]) for g in own.tolist() if g != group)[:4],
                    compared.alike(group),
                )
            )
        rest = own[~told]
        if len(rest) > 1:
            closest = float(scores[~told][:, ~told].max())
            found.append(
                Suspicion(
                    Kind.UNCLEAR,
                    compared.prior - closest,
                    tuple(int(groups.photos(group)[0]) for group in rest.tolist()),
                    compared.name(int(rest[0])),
                    "",
                    f"{photos(len(rest))} of this name are unlike each other "
                    f"(at best {log_odds(closest)}): one or more is mislabelled",
                )
            )
    return found


def _is_told(compared: Compared, group: int) -> bool:
    """Whether two or more photos of another person say whose photo it is."""
    near = compared.nearest[group]
    return bool(compared.likeness[group] > compared.chance and compared.groups.size[near] > 1)


SHARE = 0.01  # of labels wrong: assumed, not fitted to any data


def diagnose(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, share: float = SHARE
) -> list[Suspicion]:
    """Return the suspicions with log odds above 0, given a share of wrong labels, in their order.

    Time N x G (photos, people), memory bounded by the inputs, 16 MB a block and 72 MB for a
    person of thousands of photos.

    Args:
        embeddings: float32 (N, D), L2-normalised.
        persons: str (N,).
        verifier: calibrated, best on these photos (`.noise_tolerant_calibration`).
        share: see `.compared`.

    Raises:
        UsageError: `share` is not between 0 and 0.5.
    """
    check_share(share)
    if not len(persons):
        return []
    compared = compare(np.asarray(embeddings, np.float32), persons, verifier, share)
    names, one_person = two_names(compared)
    found = [
        *names,
        *only_photos(compared),
        *apart_from_core(compared),
        *all_apart(compared),
        *liker_another(compared, one_person),
    ]
    likely = [suspicion for suspicion in found if suspicion.score > 0]
    return sorted(likely, key=lambda s: (-s.score, s.kind, s.photos))


def check_share(share: float) -> None:
    """Raise UsageError unless `share` lies between 0 and 0.5."""
    if not 0 < share < 0.5:
        raise UsageError(f"share {share:g} is wrong: a share of wrong labels, between 0 and 0.5.")
