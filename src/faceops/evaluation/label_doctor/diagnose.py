"""List labels that are more likely wrong than right, most suspicious first."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from faceops.base.errors import UsageError
from faceops.evaluation.label_doctor.compare import Comparison, compare, nearest_other
from faceops.verification.verifier import Verifier


class Kind(StrEnum):
    """The kinds of suspicions; the values appear in suspicions.csv."""

    MISLABELLED = "mislabelled_photo"  # unlike the person's other photos, or more like another
    UNCLEAR = "one_of_these_photos"  # a person's few photos are all unlike each other
    SINGLE = "second_name_or_mislabelled"  # a person's only photo is like another person
    TWO_NAMES = "one_person_two_names"  # two people with several photos each look the same
    TWO_PEOPLE = "two_people_one_name"  # a person's photos fall into groups of two or more


@dataclass(frozen=True)
class Suspicion:
    kind: Kind  # what may be wrong
    score: float  # log odds, given the assumed share of wrong labels
    photos: tuple[int, ...]  # rows of the suspect photos
    person: str  # label of the first of them
    suggestion: str  # the person they resemble, "" if there is none
    evidence: str  # in words
    beside: tuple[int, ...] = ()  # rows of other photos of `person`, most typical first
    alike: tuple[int, ...] = ()  # rows of photos of `suggestion`, most typical first


def log_odds(value: float) -> str:
    """Return "log odds -4.2"."""
    return f"log odds {value:+.1f}"


def like(comparison: Comparison, group: int) -> str:
    """Return "; like ..." if the group resembles another person, else ""."""
    if not comparison.is_like_another(group):
        return ""
    near = comparison.nearest[group]
    count, score = comparison.groups.count(near), log_odds(comparison.similarity[group])
    return f"; like {count} of {comparison.name(near)} ({score})"


def unlike_own(
    comparison: Comparison, group: int, own: float, others: str, beside: tuple[int, ...],
    kind: Kind = Kind.MISLABELLED,
) -> Suspicion:  # fmt: skip
    """Return a suspicion on a group that is unlike `others` of its name, by log odds `own`."""
    several = comparison.groups.size[group] > 1
    words = f"{comparison.groups.count(group)} are like each other; " if several else ""
    return Suspicion(
        kind,
        comparison.mislabelled(own, float(comparison.similarity[group])),
        comparison.groups.photos(group),
        comparison.name(group),
        comparison.suggested(group),
        f"{words}unlike {others} of this name ({log_odds(own)})" + like(comparison, group),
        beside,
        comparison.alike(group),
    )


def two_names(comparison: Comparison) -> Iterator[Suspicion]:
    """Yield suspicions on two people with several photos each.

    The suspect photos are those of the person with fewer. Twins are listed too.
    """
    groups, name = comparison.groups, comparison.name
    for first, second, score in _pairs(comparison):
        if not (comparison.is_core(first) and comparison.is_core(second)):
            continue
        few, many = sorted((first, second), key=lambda group: groups.size[group])
        evidence = (
            f"{groups.count(few)} are like {groups.count(many)} of {name(many)} "
            f"({log_odds(comparison.between(few, many))})"
        )
        yield Suspicion(
            Kind.TWO_NAMES, score, groups.photos(few), name(few), name(many), evidence,
            alike=comparison.typical(many),
        )  # fmt: skip


def only_photos(comparison: Comparison) -> Iterator[Suspicion]:
    """Yield suspicions on photos without a matching photo of the same name.

    The photo resembles another person: it is a second name of theirs, or mislabelled. If the other
    photo has no match either, both are suspect.
    """
    groups, name = comparison.groups, comparison.name
    for first, second, score in _pairs(comparison):
        if comparison.is_core(first):
            first, second = second, first
        if not _is_only(comparison, first) or comparison.is_core(first):
            continue
        both = not comparison.is_core(second)
        if both and not _is_only(comparison, second):
            continue  # that photo differs from others of its name and is suspect itself
        if not both and groups.core[groups.person[first]] < 0:
            continue  # reported by `mutually_dissimilar`
        rows = groups.photos(first) + (groups.photos(second) if both else ())
        evidence = (
            f"like {groups.count(second)} of {name(second)} "
            f"({log_odds(comparison.between(first, second))}), and no other photo matches "
            f"{'either' if both else 'it'}: one person under two names, or mislabelled"
        )
        alike = () if both else comparison.typical(second)
        yield Suspicion(Kind.SINGLE, score, rows, name(first), name(second), evidence, alike=alike)


def _pairs(comparison: Comparison) -> list[tuple[int, int, float]]:
    """Return (low, high, log odds > 0) of groups of which one is most similar to the other."""
    score = comparison.prior + comparison.similarity - comparison.chance
    groups = np.flatnonzero((score > 0) & (comparison.nearest >= 0))
    pairs = np.sort(np.stack([groups, comparison.nearest[groups]], axis=1), axis=1)
    unique = np.unique(pairs, axis=0).tolist()
    return [(a, b, comparison.two_names(comparison.between(a, b))) for a, b in unique]


def _is_only(comparison: Comparison, group: int) -> bool:
    """Return whether it is a single photo of a person without two agreeing photos."""
    core = comparison.groups.core[comparison.groups.person[group]]
    return bool(comparison.groups.size[group] == 1 and core in (-1, group))


def outside_core_group(comparison: Comparison) -> Iterator[Suspicion]:
    """Yield a suspicion for each group outside its person's largest group."""
    groups = comparison.groups
    cores = groups.core[groups.person]
    for group in np.flatnonzero((cores != np.arange(len(cores))) & (cores >= 0)).tolist():
        core = int(cores[group])
        own, single = comparison.between(group, core), groups.size[group] == 1
        kind = Kind.MISLABELLED if single else Kind.TWO_PEOPLE
        beside = comparison.typical(core)
        yield unlike_own(comparison, group, own, groups.count(core), beside, kind)


def closer_to_another(comparison: Comparison) -> Iterator[Suspicion]:
    """Yield a suspicion for each photo in a core group that is closer to another person.

    People who are suspected to be one person, see `two_names`, are skipped.
    """
    groups, embeddings = comparison.groups, comparison.embeddings
    one_person = {
        (groups.person[first], groups.person[second])
        for first, second, _ in _pairs(comparison)
        if comparison.is_core(first) and comparison.is_core(second)
    }
    core = np.array([comparison.is_core(group) for group in range(len(groups.person))])
    rows, cores = np.flatnonzero(core[groups.group]), np.flatnonzero(core)
    nearest, similarity = nearest_other(
        embeddings[rows], comparison.person[rows], groups.template[cores], groups.person[cores],
        comparison.verifier,
    )  # fmt: skip
    for row, near, other in zip(rows.tolist(), nearest, similarity.tolist(), strict=True):
        if near < 0 or other <= comparison.chance:
            continue
        group, alike = int(groups.group[row]), int(cores[near])
        if tuple(sorted((groups.person[group], groups.person[alike]))) in one_person:
            continue
        own = float(comparison.verifier.logit(embeddings[row], comparison.without(row)))
        name = comparison.name(alike)
        yield Suspicion(
            Kind.MISLABELLED,
            comparison.mislabelled(own, other),
            (row,),
            comparison.name(group),
            name,
            f"less like {groups.count(group, 1)} of this name ({log_odds(own)}) than like "
            f"{groups.count(alike)} of {name} ({log_odds(other)})",
            tuple(beside for beside in comparison.typical(group, 5) if beside != row)[:4],
            comparison.typical(alike),
        )


def mutually_dissimilar(comparison: Comparison) -> Iterator[Suspicion]:
    """Yield suspicions on people whose photos are all unlike each other.

    A photo that matches two or more photos of another person is mislabelled; of the others at
    least one is.
    """
    groups = comparison.groups
    photo = np.array([groups.photos(group)[0] for group in range(len(groups.size))])
    matches = (comparison.similarity > comparison.chance) & (groups.size[comparison.nearest] > 1)
    for person in np.flatnonzero(groups.core < 0).tolist():
        own = np.flatnonzero(groups.person == person)
        scores = comparison.verifier.logit_matrix(groups.template[own], groups.template[own])
        np.fill_diagonal(scores, -np.inf)
        elsewhere = matches[own]
        others = "the only photo" if len(own) == 2 else f"the {len(own) - 1} photos"
        for index in np.flatnonzero(elsewhere):
            group, closest = int(own[index]), float(scores[index].max())
            beside = tuple(photo[own[own != group]].tolist()[:4])
            yield unlike_own(comparison, group, closest, others, beside)
        rest = own[~elsewhere]
        if len(rest) > 1:
            closest = float(scores[~elsewhere][:, ~elsewhere].max())
            evidence = (
                f"the {len(rest)} photos of this name are unlike each other "
                f"(at best {log_odds(closest)}): one or more is mislabelled"
            )
            rows, name = tuple(photo[rest].tolist()), comparison.name(rest[0])
            score = comparison.prior - closest
            yield Suspicion(Kind.UNCLEAR, score, rows, name, "", evidence)


SHARE = 0.01  # assumed share of wrong labels


def diagnose(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, share: float = SHARE
) -> list[Suspicion]:
    """Return the suspicions with log odds above 0, highest first.

    `embeddings` float32 (N, D), L2-normalised, of `persons` str (N,); `verifier` is calibrated,
    preferably on these photos; for the assumed `share` of wrong labels see `label_doctor.compare`.
    Time N x G (photos, groups); memory: the inputs, and 100 MB.

    Raises UsageError: `share` is not between 0 and 0.5.
    """
    check_share(share)
    if not len(persons):
        return []
    comparison = compare(np.asarray(embeddings, np.float32), persons, verifier, share)
    found = [
        *two_names(comparison),
        *only_photos(comparison),
        *outside_core_group(comparison),
        *mutually_dissimilar(comparison),
        *closer_to_another(comparison),
    ]
    likely = [suspicion for suspicion in found if suspicion.score > 0]
    return sorted(likely, key=lambda s: (-s.score, s.kind, s.photos))


def check_share(share: float) -> None:
    """Raise UsageError unless `share` lies between 0 and 0.5."""
    if not 0 < share < 0.5:
        raise UsageError(f"share {share:g} is wrong: a share of wrong labels, between 0 and 0.5.")
