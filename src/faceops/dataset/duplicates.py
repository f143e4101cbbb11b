"""Duplicate photos: equal bytes, and perceptual hashes of two people that are nearly equal."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from faceops.base.nearest import near_codes
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.dataset.names import name_key

_BLOCK = 256  # photos that are compared with all others at once


@dataclass(frozen=True)
class HashedPhoto:
    """A labelled photo and its hashes.

    Attributes:
        path: POSIX, relative to the data folder.
        person: the name of its folder below photos/.
        photo_id: sha256 of the bytes; "" if they could not be read.
        phash: 64-bit perceptual hash, hexadecimal; "" if it is not known.
    """

    path: str
    person: str
    photo_id: str
    phash: str = ""


def find_duplicates(photos: Iterable[HashedPhoto], max_bits: int = -1) -> dict[str, Reason]:
    """Return path -> reason for the photos to reject.

    Of the same bytes under one person, the first path is kept. The same bytes under two people
    are all rejected, because one of the labels is wrong; so are photos of two people whose
    perceptual hashes differ in at most `max_bits` bits.

    Args:
        photos: with a photo_id, and with a phash unless `max_bits` is -1.
        max_bits: largest Hamming distance of near duplicates; -1 disables the comparison.
    """
    photos = sorted(photos, key=lambda photo: photo.path)
    reasons: dict[str, Reason] = {}
    same_bytes: dict[str, list[HashedPhoto]] = defaultdict(list)
    for photo in photos:
        same_bytes[photo.photo_id].append(photo)
    for group in same_bytes.values():
        if len({name_key(photo.person) for photo in group}) > 1:
            reasons |= {photo.path: Reason.DUPLICATE_OTHER_PERSON for photo in group}
        else:
            reasons |= {photo.path: Reason.DUPLICATE for photo in group[1:]}
    if max_bits >= 0:
        rest = [photo for photo in photos if photo.path not in reasons]
        for path in near_duplicates(rest, max_bits):
            reasons[path] = Reason.NEAR_DUPLICATE_OTHER_PERSON
    return reasons


def near_duplicates(photos: list[HashedPhoto], max_bits: int) -> set[str]:
    """Return the paths of photos that have a near duplicate under another person."""
    codes = np.frombuffer(bytes.fromhex("".join(p.phash for p in photos)), np.uint8).reshape(-1, 8)
    people = np.unique([name_key(photo.person) for photo in photos], return_inverse=True)[1]
    near = np.zeros(len(photos), dtype=bool)
    blocks = -(-len(photos) // _BLOCK)
    for rows, found in track(near_codes(codes, max_bits, _BLOCK), "near duplicates", blocks):
        near[rows[people[rows] != people[found]]] = True
    return {photos[row].path for row in np.flatnonzero(near)}
