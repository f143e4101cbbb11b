"""Group the faces of unknown people: which of them are one person, across photos.

Faces that the verifier takes for one person are linked, see `linked_pairs`. The two linked groups
with the highest mean cosine join, as long as it is high enough, and unless they share a photo:
average linkage over the links. Pairs of groups that are each other's best join at the same time;
as a mean of means never exceeds the larger one, that gives the groups of one join after the other.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from faceops.base import arrow
from faceops.base.nearest import Index, nearest
from faceops.gallery.decisions import Decisions
from faceops.verification.verifier import Verify, reaches

MEAN_SHARE = 0.9  # two groups join from this share of the lowest cosine of a link, on average
MAX_LINKS = 32  # nearest faces that each face is linked to
LINKS_OF_INDEX = 16  # where an index finds them: memory
EXACT_PAIRS = 1 << 30  # cosines of an exact search: that of 32,768 faces
HUB = 8  # times as large a group is, to take others in at the same time, up to this part of it
BOX = ("x", "y", "width", "height")  # columns of the records
NEW, ALONE = -2, -1  # of a face: never compared; compared, and without a group
_PLANES = 64
_BLOCK = 1 << 14  # faces or pairs at a time: 8 MB of embeddings


class Constraints(NamedTuple):
    """What people decided about N faces."""

    # int64 (N,), 0 and up; faces of one group are one person, those of two groups are two; -1 for a
    # face that nobody put into one
    group: np.ndarray
    apart: np.ndarray  # int64 (2, K), faces and groups to which they do not belong


def constraints_of(
    decisions: Decisions | None, faces: pa.Table, photo_ids: pa.Array, photos: np.ndarray
) -> Constraints | None:
    """Return what people decided about N unknown faces; journal persons without a name are groups.

    `photos`, int64 (N,), are places in `photo_ids`.
    """
    if not decisions:
        return None
    decided = decisions.photos()
    wanted = [at for at, one in enumerate(photo_ids.to_pylist()) if one in decided]
    rows = np.flatnonzero(np.isin(photos, wanted))
    if not len(rows):
        return None
    codes: dict[str, int] = {}
    group, apart = np.full(len(photos), -1, np.int64), []
    table = arrow.take_rows(faces, rows)
    boxes = list(zip(*(table[name].to_pylist() for name in BOX), strict=True))
    order = np.argsort(photos[rows], kind="stable")
    for some in np.split(order, np.flatnonzero(np.diff(photos[rows][order])) + 1):
        photo_id = photo_ids[int(photos[rows[some[0]]])].as_py()
        places = decisions.match(photo_id, [boxes[at] for at in some.tolist()])
        for row, place in zip(rows[some].tolist(), places, strict=True):
            if place is not None:
                people = {decisions.current(one) for one in (place.person, *place.refused) if one}
                code = {one: codes.setdefault(one, len(codes)) for one in sorted(people)}
                if place.person:
                    group[row] = code[decisions.current(place.person)]
                apart += [(row, code[decisions.current(one)]) for one in sorted(place.refused)]
    return Constraints(group, np.array(apart, np.int64).reshape(-1, 2).T)


def group_faces(
    embeddings: np.ndarray,
    photos: np.ndarray,
    verify: Verify,
    threshold: float,
    before: np.ndarray | None = None,
    constraints: Constraints | None = None,
) -> np.ndarray:
    """Return the group of each face, int64 (N,), `ALONE` for a face without a group.

    Groups are numbered from 0 by their first face, and have two faces or more.

    Args:
        embeddings: float32 (N, D), L2-normalised.
        photos: int (N,), the photo of each face; two faces of one photo are two people.
        verify: probability that rows of two (N, D) are one person.
        threshold: the probability from which two faces are linked.
        before: int (N,), the group that each face has had, `ALONE` or `NEW`; None: all are new.
            Groups stay together and only new faces are linked, with any face: they join the groups
            that there are first, and then others. A new face may join two groups to one.
        constraints: all groups respect them, whatever group a face had before.
    """
    count = len(embeddings)
    before = np.full(count, NEW) if before is None else before.copy()
    if constraints is None:
        constraints = Constraints(np.full(count, -1), np.zeros((2, 0), np.int64))
    decided = np.flatnonzero(constraints.group >= 0)
    before[decided] = before[constraints.apart[0]] = NEW
    first = np.arange(count)  # the first face of the group of each face
    old = np.flatnonzero(before >= 0)
    _, firsts, place = np.unique(before[old], return_index=True, return_inverse=True)
    first[old] = old[firsts][place]
    _, firsts, place = np.unique(constraints.group[decided], return_index=True, return_inverse=True)
    first[decided] = decided[firsts][place]
    if count > 1 and threshold <= 1:
        lowest = lowest_cosine(verify, threshold, embeddings.shape[1])
        pairs = linked_pairs(embeddings, np.flatnonzero(before == NEW), lowest)
        pairs = _confirmed(embeddings, pairs, lowest, verify, threshold)
        is_linked = np.zeros(count, bool)
        is_linked[first[pairs]] = True
        nodes = np.flatnonzero(is_linked)
        pairs = (np.cumsum(is_linked, dtype=np.int32) - 1)[first][pairs]  # of places in `nodes`
        groups = _Groups(embeddings, photos, first, nodes)
        groups.keep_apart(first, constraints)
        is_old = before[nodes] >= 0
        if is_old.any():
            groups.join(pairs[:, is_old[pairs[0]] ^ is_old[pairs[1]]], MEAN_SHARE * lowest)
        groups.join(pairs, MEAN_SHARE * lowest)
        becomes = np.arange(count)
        becomes[nodes] = nodes[groups.roots()]
        first = becomes[first]
    sizes = np.bincount(first, minlength=count)
    group = np.full(count, ALONE, np.int64)
    kept = np.flatnonzero(sizes[first] > 1)
    _, places, numbers = np.unique(first[kept], return_index=True, return_inverse=True)
    group[kept] = np.argsort(np.argsort(places))[numbers]
    return group


def lowest_cosine(verify: Verify, threshold: float, size: int) -> float:
    """Return the lowest cosine at which two faces reach the threshold; 1 if none does.

    Exact for a verifier of the distance alone; for others, over some random directions.
    """
    draw = np.random.default_rng(0)
    planes = np.linalg.qr(draw.normal(size=(_PLANES, size, 2)))[0].astype(np.float32)
    one, other = planes[:, :, 0], planes[:, :, 1]
    low, high = np.full(_PLANES, -1.0), np.ones(_PLANES)
    for _ in range(30):
        middle = (low + high) / 2
        across = np.sqrt(1 - middle**2)[:, None]
        turned = (middle[:, None] * one + across * other).astype(np.float32)
        reached = reaches(verify(one, turned), threshold)
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return float(high.min())


def linked_pairs(
    embeddings: np.ndarray, queries: np.ndarray, lowest: float, exact_pairs: int = EXACT_PAIRS
) -> np.ndarray:
    """Return pairs of near faces, int32 (2, P), each once, the smaller row first.

    They are the rows `queries`, int (Q,), with their nearest rows, if the cosine is at least
    `lowest`. Exact up to `exact_pairs` cosines; above, by an index with short codes, which misses
    some pairs, and finds the same ones again for the same rows.
    """
    count, links, index, parts = len(embeddings), MAX_LINKS, None, []
    if len(queries) * count > exact_pairs:
        links, index = LINKS_OF_INDEX, Index(embeddings, "faces", exact_rows=0, lists=True)
    for start in range(0, len(queries), _BLOCK):
        some = queries[start : start + _BLOCK]
        rows = embeddings[some]
        found, cosines = index.search(rows, links + 1) if index else (
            nearest(rows, embeddings, links + 1)
        )  # fmt: skip
        parts.append(_keys(some, found, cosines >= lowest, count))
    return _pairs(np.concatenate([np.zeros(0, np.int64), *parts]), count)


def _keys(queries: np.ndarray, found: np.ndarray, near: np.ndarray, count: int) -> np.ndarray:
    """Return int64 (P,), the smaller row of each pair times `count`, plus the larger one."""
    faces = np.broadcast_to(queries[:, None], found.shape)
    linked = near & (found >= 0) & (found != faces)
    return (np.minimum(faces, found) * count + np.maximum(faces, found))[linked]


def _pairs(keys: np.ndarray, count: int) -> np.ndarray:
    """Return the pairs of such keys, int32 (2, P), in their order, each once; `keys` is sorted."""
    keys.sort()
    keys = keys[np.diff(keys, prepend=-1) > 0]
    pairs = np.empty((2, len(keys)), np.int32)
    pairs[0], pairs[1] = keys // count, keys % count
    return pairs


def _confirmed(
    embeddings: np.ndarray, pairs: np.ndarray, lowest: float, verify: Verify, threshold: float
) -> np.ndarray:
    """Return those of the pairs, int32 (2, P), that reach the lowest cosine and the threshold."""
    confirmed = np.zeros(pairs.shape[1], bool)
    for start in range(0, pairs.shape[1], _BLOCK):
        one, other = embeddings[pairs[:, start : start + _BLOCK]]
        near = np.flatnonzero(np.einsum("ij,ij->i", one, other) >= lowest)
        reached = reaches(verify(one[near], other[near]), threshold)
        confirmed[start + near[reached]] = True
    return pairs[:, confirmed]


class _Groups:
    """Groups of faces that join.

    Args:
        embeddings: float32 (N, D).
        photos: int (N,).
        first: int (N,), the first face of the group of each face.
        nodes: int (G,), ascending, the first faces of the groups that may join: places in `nodes`
            are meant wherever groups are named.
    """

    def __init__(
        self, embeddings: np.ndarray, photos: np.ndarray, first: np.ndarray, nodes: np.ndarray
    ) -> None:
        self._embeddings, self._nodes = embeddings, nodes
        self._into = np.arange(len(nodes))
        self._photos = photos[nodes]
        # Few groups share photos with others: those whose photos have several faces.
        shared = np.bincount(photos, minlength=1)[photos] > 1
        self._is_shared = shared[nodes]
        self._photos_of: dict[int, set[int]] = {}
        # The sum of the embeddings, of groups of two faces or more.
        self._sum_of, self._sums_used = np.full(len(nodes), -1), 0
        member = np.flatnonzero(np.isin(first, nodes))
        place = np.searchsorted(nodes, first[member])
        self._size = np.bincount(place, minlength=len(nodes))
        large = np.flatnonzero(self._size[place] > 1)
        large = large[np.argsort(place[large], kind="stable")]
        member, place = member[large], place[large]
        grown = np.unique(place)
        most = len(grown) + (len(nodes) - len(grown) + 1) // 2
        self._sums = np.empty((most, embeddings.shape[1]), np.float32)  # in memory where written
        self._sums[: len(grown)] = 0
        self._new_sums(grown)
        for start in range(0, len(member), _BLOCK):
            some = place[start : start + _BLOCK]
            starts = np.flatnonzero(np.diff(some, prepend=-1))
            parts = np.add.reduceat(embeddings[member[start : start + _BLOCK]], starts)
            self._sums[self._sum_of[some[starts]]] += parts
        for at in np.flatnonzero(shared[member]).tolist():
            group = int(place[at])
            self._photos_of.setdefault(group, set()).add(int(photos[member[at]]))
            self._is_shared[group] = True

    def roots(self) -> np.ndarray:
        """Return the group that each one has become a part of, int64 (G,)."""
        while not np.array_equal(self._into, further := self._into[self._into]):
            self._into = further
        return self._into

    def keep_apart(self, first: np.ndarray, constraints: Constraints) -> None:
        """Let groups that people keep apart share a photo that does not exist, below 0.

        `first`: as of the constructor.
        """
        decided = np.flatnonzero(constraints.group >= 0)
        group_of = dict(
            zip(constraints.group[decided].tolist(), first[decided].tolist(), strict=True)
        )
        pairs = [(group, -1) for group in set(group_of.values())]
        for number, (face, code) in enumerate(constraints.apart.T.tolist()):
            if code in group_of:
                pairs += [(int(first[face]), -2 - number), (group_of[code], -2 - number)]
        place_of = {node: place for place, node in enumerate(self._nodes.tolist())} if pairs else {}
        for node, photo in pairs:
            if (place := place_of.get(node)) is not None:
                self._photos_of.setdefault(place, {int(self._photos[place])}).add(photo)
                self._is_shared[place] = True

    def join(self, pairs: np.ndarray, lowest: float) -> None:
        """Join linked groups, int32 (2, P), whose mean cosine is at least `lowest`."""
        self.roots()
        pairs = self._current(pairs)
        means = self._means(pairs)
        draw = np.random.default_rng(0)  # of equal means
        while True:
            chosen = self._best(pairs, means, lowest, draw)
            if not len(chosen):
                return
            gone, kept = self._by_size(pairs[:, chosen])
            apart = self._join_photos(kept, gone)
            self._join(kept[~apart], gone[~apart])
            is_left = np.ones(len(means), bool)
            is_left[chosen[apart]] = False
            is_changed = np.zeros(len(self._nodes), bool)
            is_changed[kept[~apart]] = is_changed[gone[~apart]] = True
            changed = is_changed[pairs].any(axis=0)
            again = self._current(pairs[:, is_left & changed])
            pairs = np.concatenate([pairs[:, is_left & ~changed], again], axis=1)
            means = np.concatenate([means[is_left & ~changed], self._means(again)])

    def _best(
        self, pairs: np.ndarray, means: np.ndarray, lowest: float, draw: np.random.Generator
    ) -> np.ndarray:
        """Return places of pairs to join now; a group is in one of them, or the largest of many."""
        best = np.full(len(self._nodes), -np.inf, np.float32)
        near = np.flatnonzero(means >= lowest)
        for end in pairs[:, near]:
            np.maximum.at(best, end, means[near])
        is_best = means[near] == best[pairs[:, near]]
        chosen = _disjoint(pairs, draw.permutation(near[is_best.all(axis=0)]), len(best))
        smaller, larger = self._by_size(pairs[:, chosen])
        hubs = larger[self._size[larger] >= HUB * self._size[smaller]]
        if not len(hubs):
            return chosen
        # To each large group whose best is small, several join: their mean hardly changes.
        room = np.zeros(len(best))
        room[hubs] = self._size[hubs] / HUB
        best[pairs[:, chosen]] = np.inf  # these join already
        near = near[(room[pairs[:, near]] > 0).any(axis=0)]
        smaller, larger = self._by_size(pairs[:, near])
        fits = np.flatnonzero((means[near] == best[smaller]) & (room[larger] > 0))
        fits = fits[np.lexsort((-means[near[fits]], larger[fits]))]
        fits = fits[np.sort(np.unique(smaller[fits], return_index=True)[1])]
        near, larger, sizes = near[fits], larger[fits], self._size[smaller[fits]]
        starts = np.flatnonzero(np.diff(larger, prepend=-1))
        total = np.cumsum(sizes)
        before = np.repeat((total - sizes)[starts], np.diff(starts, append=len(sizes)))
        return np.concatenate([chosen, near[total - before <= room[larger]]])

    def _by_size(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        one, other = pairs
        swap = self._size[one] >= self._size[other]
        return np.where(swap, other, one), np.where(swap, one, other)

    def _current(self, pairs: np.ndarray) -> np.ndarray:
        """Return the pairs of the groups that these have become by the latest joins, each once."""
        count = max(1, len(self._nodes))
        one, other = self._into[pairs]
        keys = np.minimum(one, other) * count + np.maximum(one, other)
        return _pairs(keys[one != other], count)

    def _means(self, pairs: np.ndarray) -> np.ndarray:
        means = np.empty(pairs.shape[1], np.float32)
        for start in range(0, len(means), _BLOCK):
            one, other = pairs[:, start : start + _BLOCK]
            products = np.einsum("ij,ij->i", self._vectors(one), self._vectors(other))
            means[start : start + _BLOCK] = products / (self._size[one] * self._size[other])
        return means

    def _vectors(self, groups: np.ndarray) -> np.ndarray:
        vectors = self._embeddings[self._nodes[groups]]
        sums = self._sum_of[groups]
        large = np.flatnonzero(sums >= 0)
        vectors[large] = self._sums[sums[large]]
        return vectors

    def _new_sums(self, groups: np.ndarray) -> None:
        end = self._sums_used + len(groups)
        self._sum_of[groups] = np.arange(self._sums_used, end)
        self._sums_used = end

    def _join_photos(self, kept: np.ndarray, gone: np.ndarray) -> np.ndarray:
        """Join the photos of groups that share none; return which do, bool (P,)."""
        apart = np.zeros(len(kept), bool)
        for place in np.flatnonzero(self._is_shared[gone]).tolist():
            one, other = int(kept[place]), int(gone[place])
            photos, more = self._photos_in(one), self._photos_in(other)
            apart[place] = not photos.isdisjoint(more)
            if not apart[place]:
                photos |= more
                self._photos_of[one] = photos
                self._photos_of.pop(other, None)
                self._is_shared[one] = True
        return apart

    def _photos_in(self, group: int) -> set[int]:
        return self._photos_of.get(group) or {int(self._photos[group])}

    def _join(self, kept: np.ndarray, gone: np.ndarray) -> None:
        single = np.unique(kept[self._sum_of[kept] < 0])
        for start in range(0, len(single), _BLOCK):
            some = single[start : start + _BLOCK]
            vectors = self._vectors(some)
            self._new_sums(some)
            self._sums[self._sum_of[some]] = vectors
        for start in range(0, len(kept), _BLOCK):
            vectors = self._vectors(gone[start : start + _BLOCK])
            np.add.at(self._sums, self._sum_of[kept[start : start + _BLOCK]], vectors)
        np.add.at(self._size, kept, self._size[gone])
        self._into[gone] = kept


def _disjoint(pairs: np.ndarray, places: np.ndarray, groups: int) -> np.ndarray:
    """Return those of the `places` in `pairs` whose groups are in no earlier place."""
    rank = np.arange(len(places))
    first = np.full(groups, len(places))
    for end in pairs[:, places]:
        np.minimum.at(first, end, rank)
    return places[(first[pairs[:, places]] == rank).all(axis=0)]
