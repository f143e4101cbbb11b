"""Photos that are there twice, under one person or under two."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from faceops.dataset.inspect_photos import Inspected
from faceops.dataset.names import name_key
from faceops.reasons import Reason

_BITS = 64


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
    hashes = [int(photo.phash, 16) for photo in photos]
    keys = [name_key(photo.person) for photo in photos]
    found: set[str] = set()
    for low, high in _pieces(bits + 1):
        buckets: dict[int, list[int]] = defaultdict(list)
        for index, value in enumerate(hashes):
            buckets[(value >> low) & ((1 << (high - low)) - 1)].append(index)
        for bucket in buckets.values():
            for position, one in enumerate(bucket):
                for other in bucket[position + 1 :]:
                    if (hashes[one] ^ hashes[other]).bit_count() > bits:
                        continue
                    if keys[one] != keys[other]:
                        found |= {photos[one].path, photos[other].path}
    return found


def _pieces(count: int) -> list[tuple[int, int]]:
    edges = [_BITS * piece // count for piece in range(count + 1)]
    return list(pairwise(edges))
