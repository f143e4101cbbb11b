"""Photos that are unlike the other photos of their person."""

import numpy as np

from faceops.evaluation.label_doctor.compared import Compared
from faceops.evaluation.label_doctor.nearest_other import nearest_other
from faceops.evaluation.label_doctor.suspicion import Kind, Suspicion
from faceops.evaluation.label_doctor.wording import like, log_odds, photos


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
