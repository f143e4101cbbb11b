"""Galleries drawn at random, and whom to look for in them."""

from dataclasses import dataclass

import numpy as np

DRAWS = 5


@dataclass(frozen=True)
class GalleryDraw:
    """Rows of a table of photos: who is enrolled by which photos, and who is searched for."""

    gallery: np.ndarray  # int (G,), rising
    probes: np.ndarray  # int (P,), rising: all the other rows
    known: np.ndarray  # bool (P,): the probe's person is enrolled


def draw_galleries(
    person: np.ndarray,
    able: np.ndarray,
    enrolled: int,
    *,
    gallery_photos: int,
    seed: int,
    draws: int = DRAWS,
    usable: np.ndarray | None = None,
) -> list[GalleryDraw]:
    """Return `draws` galleries of `enrolled` people, each with `gallery_photos` photos.

    Args:
        person: int (N,), whose each photo is.
        able: int (A,), the people to draw from, with more than so many (usable) photos each.
        enrolled: how many of them.
        gallery_photos: a person.
        seed: of the draws.
        draws: how many galleries.
        usable: bool (N,), the photos that can be enrolled; None: all.
    """
    random = np.random.default_rng(seed)
    can_be = np.ones(len(person), bool) if usable is None else usable
    result = []
    for _ in range(draws):
        known = np.sort(random.permutation(able)[:enrolled])
        photos = [
            random.permutation(np.flatnonzero((person == one) & can_be))[:gallery_photos]
            for one in known
        ]
        gallery = np.sort(np.concatenate(photos))
        probes = np.setdiff1d(np.arange(len(person)), gallery)
        result.append(GalleryDraw(gallery, probes, np.isin(person[probes], known)))
    return result
