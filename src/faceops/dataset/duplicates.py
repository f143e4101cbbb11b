"""Photos that are there twice, under one person or under two."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.dataset.inspect_photos import Inspected
from faceops.dataset.names import name_key

_BITS = 64
_BLOCK = 256  # rows compared at once: a block takes a few MB for each 1000 photos


def find_duplicates(photos: Iterable[Inspected], near_bits: int) -> dict[str, Reason]:
    """Return path -> reason for the photos that must be set aside.

    The same bytes under one person: all but the first path are duplicates. The same bytes under
    two people: nobody knows who it is, so all of them go. Perceptual hashes of two people's
    photos at most `near_bits` apart: all of them go too (-1: do not look).

    Args:
        photos: usable ones only.
    """
    photos = sorted(photos, key=lambda photo: photo.path)
    reasons: dict[str, Reason] = {}
    same_bytes: dict[str, list[Inspected]] = defaultdict(list)
    for photo in photos:
        same_bytes[photo.photo_id].append(photo)
    for group in same_bytes.values():
        if len({name_key(photo.person) for photo in group}) > 1:
            reasons |= {photo.path: Reason.DUPLICATE_OTHER_PERSON for photo in group}
        else:
            reasons |= {photo.path: Reason.DUPLICATE for photo in group[1:]}
    if near_bits >= 0:
        rest = [photo for photo in photos if photo.path not in reasons]
        for path in near_duplicates(rest, near_bits):
            reasons[path] = Reason.NEAR_DUPLICATE_OTHER_PERSON
    return reasons


def near_duplicates(photos: list[Inspected], bits: int) -> set[str]:
    """Return the paths of photos whose perceptual hash is near that of another person's photo.

    Two hashes at most `bits` apart agree in at least one of `bits` + 1 pieces (the pigeonhole
    principle), so only photos that share a piece are compared.
    """
    hashes = np.array([int(photo.phash, 16) for photo in photos], dtype=np.uint64)
    keys = [name_key(photo.person) for photo in photos]
    people = np.unique(np.array(keys, dtype=str), return_inverse=True)[1]
    near = np.zeros(len(photos), dtype=bool)
    buckets: list[np.ndarray] = []
    for low, high in _pieces(bits + 1):
        mask = np.uint64((1 << (high - low)) - 1)
        pieces = (hashes >> np.uint64(low)) & mask
        order = np.argsort(pieces, kind="stable")
        edges = np.flatnonzero(np.diff(pieces[order])) + 1
        buckets += [bucket for bucket in np.split(order, edges) if len(bucket) > 1]
    for bucket in track(buckets, "look for near duplicates"):
        if (people[bucket] == people[bucket[0]]).all():
            continue
        for start in range(0, len(bucket), _BLOCK):
            rows = bucket[start : start + _BLOCK]
            others = people[rows, None] != people[None, bucket]
            apart = np.bitwise_count(hashes[rows, None] ^ hashes[None, bucket])
            near[rows] |= ((apart <= bits) & others).any(axis=1)
    return {photos[index].path for index in np.flatnonzero(near)}


def _pieces(count: int) -> list[tuple[int, int]]:
    edges = [_BITS * piece // count for piece in range(count + 1)]
    return list(pairwise(edges))
