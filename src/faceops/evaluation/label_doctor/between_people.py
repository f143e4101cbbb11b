"""People who look the same: one person under two names, or a mislabelled only photo."""

import numpy as np

from faceops.evaluation.label_doctor.compared import Compared
from faceops.evaluation.label_doctor.suspicion import Kind, Suspicion
from faceops.evaluation.label_doctor.wording import log_odds, photos


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
