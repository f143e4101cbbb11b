"""For each anchor the nearest faces of other people, among all training faces (global mining)."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch
import torch.nn.functional as F

from faceops.base.progress import track
from faceops.embedding.miners import Triplets

GROUP = 8  # neighbouring faces whose products are first judged by their maximum


@dataclass(frozen=True)
class TileShape:
    """How much is computed at once; it changes the speed and the memory, not what is found.

    faces, anchors: of one matrix product; faces is a multiple of 8.
    tiles: products whose maxima are kept until the best of them are looked into.
    """

    faces: int
    anchors: int
    tiles: int

    @property
    def groups(self) -> int:
        """Groups of faces in a product."""
        return self.faces // GROUP


# A CPU wants products that stay in its cache (2 MB), a GPU few and large ones.
ON_CPU = TileShape(faces=1024, anchors=512, tiles=256)
ON_GPU = TileShape(faces=16384, anchors=2048, tiles=16)


class TileSpace:
    """The memory that one thread works in; fresh memory each time would cost more than the work."""

    def __init__(self, shape: TileShape, tiles: int, device: torch.device) -> None:
        """Make room for the products and maxima of `tiles` tiles, or of `shape.tiles` if fewer."""
        kept = min(tiles, shape.tiles)
        self._shape = shape
        self._products = torch.empty(shape.faces * shape.anchors, device=device)
        self._maxima = torch.empty(kept * shape.groups * shape.anchors, device=device)

    def products(self, anchors: int) -> torch.Tensor:
        """Return room for a product, (shape.faces, anchors)."""
        return self._products[: self._shape.faces * anchors].view(-1, anchors)

    def maxima(self, tiles: int, anchors: int) -> torch.Tensor:
        """Return room for the maxima of `tiles` products, (tiles, shape.groups, anchors)."""
        groups = self._shape.groups
        return self._maxima[: tiles * groups * anchors].view(tiles, groups, anchors)


class FacesByPerson:
    """A bank sorted by person, so that the faces of a person are one range of places.

    bank, person: float32 (N, D) as given, and int64 (N,), people numbered from 0.
    faces: float32 (tiles, shape.faces, D), the embeddings in their new places, then zeros.
    rows, persons: int64 (places,), the row of `bank` and the person of each place; behind the last
        face 0 and -1.
    """

    def __init__(self, bank: torch.Tensor, labels: torch.Tensor, shape: TileShape) -> None:
        self.bank, self.shape, self.count = bank, shape, len(bank)
        _, self.person = torch.unique(labels, return_inverse=True)
        persons, order = torch.sort(self.person, stable=True)
        photos = torch.bincount(persons)
        self._ends = photos.cumsum(dim=0)  # of each person's places
        self._starts = self._ends - photos
        tiles = -(-self.count // shape.faces)
        padding = (0, tiles * shape.faces - self.count)
        self.rows, self.persons = F.pad(order, padding), F.pad(persons, padding, value=-1)
        faces = bank.new_zeros(len(self.rows), bank.shape[1])
        torch.index_select(bank, 0, order, out=faces[: self.count])
        self.faces = faces.view(tiles, shape.faces, bank.shape[1])

    def range_of(self, who: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the places of the people `who`, (A,), begin and end, int64 (A, 1)."""
        return self._starts[who][:, None], self._ends[who][:, None]


_GROUP = 4  # neighbouring rows that are first judged by their maximum


def largest_of_columns(values: torch.Tensor, k: int) -> torch.Tensor:
    """Return int64 (C, k), the rows of the `k` largest of each column of `values`, float32 (R, C).

    Which of equal values come is open, and so is the order.

    Rows are put into groups, and only the k groups with a column's largest maxima are looked into:
    the k-th largest maximum is a bound that k values reach, one in each of these groups, so no
    other group is needed. The groups are found in the same way. A maximum over groups is one pass
    at the speed of memory, much faster than `torch.topk` on all values.
    """
    rows, columns = values.shape
    # Looking into k groups must be less work than looking at all rows.
    if rows % _GROUP or rows < 4 * _GROUP * k:
        return largest_of_rows(values.T.contiguous(), k)
    best = largest_of_columns(values.view(-1, _GROUP, columns).amax(dim=1), k)  # (C, k)
    inside = torch.arange(_GROUP, device=values.device)
    candidates = (best[:, :, None] * _GROUP + inside).flatten(1)  # (C, 4 k)
    places = candidates * columns + torch.arange(columns, device=values.device)[:, None]
    return candidates.gather(1, largest_of_rows(values.take(places), k))


def largest_of_rows(values: torch.Tensor, k: int) -> torch.Tensor:
    """Return int64 (R, k), the columns of the `k` largest of each row of a few hundred."""
    rows, columns = values.shape
    if values.device.type == "cpu":
        # For short rows NumPy's vectorised partition is more than twice as fast as topk.
        plain = values.numpy()
        bound = np.partition(plain, columns - k, axis=1)[:, columns - k, None]
        places = np.flatnonzero(plain >= bound)
        if len(places) == rows * k:  # else a row has its bound more than once
            return torch.from_numpy(places.reshape(rows, k) % columns)
    return torch.topk(values, k, dim=1, sorted=False).indices


_ROW_BITS = 32
_LAST_ROW = (1 << _ROW_BITS) - 1


def rank_keys(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return int64 keys: the larger the value, and of equal values the lower the row, the larger.

    Args:
        values: float32, no NaN; -inf says that there is no such row.
        rows: int64 of the same shape, 0 to 2^32 - 1.
    """
    bits = (values + 0.0).view(torch.int32)  # the sum turns -0 into 0: they are equal
    # As integers, floats rise with their values, but negative ones fall: turn these round.
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (rising << _ROW_BITS) | (_LAST_ROW - rows)


def rows_of_keys(keys: torch.Tensor) -> torch.Tensor:
    """Return the rows, int64; -1 where the value was -inf."""
    return torch.where(exists(keys), _LAST_ROW - (keys & _LAST_ROW), -1)


def same_value(keys: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return bool: whether two keys were made of equal values."""
    return keys >> _ROW_BITS == others >> _ROW_BITS


def exists(keys: torch.Tensor) -> torch.Tensor:
    """Return bool: whether a key's value was above -inf."""
    return keys >> _ROW_BITS > _NOTHING


_NOTHING = int(rank_keys(torch.tensor(-torch.inf), torch.tensor(0))) >> _ROW_BITS


_TIED_AT_ONCE = 16


def nearest_strangers(
    of: FacesByPerson, anchors: torch.Tensor, k: int, space: TileSpace
) -> torch.Tensor:
    """Return int64 (A, k), the k nearest strangers of `anchors`, (A,) rows of the bank.

    Of equally near ones the lower row comes first; -1 stands where there are no more. Anchors
    of one person should stand together. There are at most `shape.anchors` of them.
    """
    query, who = of.bank[anchors], of.person[anchors]
    best = torch.empty(len(anchors), 0, dtype=torch.int64, device=query.device)
    # One more than asked for shows whether the last place is shared.
    for tiles in torch.arange(len(of.faces)).split(of.shape.tiles):
        maxima = _maxima(of, query, who, tiles.tolist(), space)
        groups = largest_of_columns(maxima, min(k + 1, len(maxima)))
        groups += int(tiles[0]) * of.shape.groups
        best = _largest(torch.cat([best, _look_into(of, groups, query, who, k + 1)], 1), k + 1)
    if best.shape[1] > k:
        shared = exists(best[:, k]) & same_value(best[:, k - 1], best[:, k])
        for tied in torch.nonzero(shared).flatten().split(_TIED_AT_ONCE):
            # Equal ones may lie in groups that were not looked into.
            best[tied, :k] = _among_all(of, query[tied], who[tied], k)
    rows = rows_of_keys(best[:, :k])
    return F.pad(rows, (0, k - rows.shape[1]), value=-1)


def _maxima(
    of: FacesByPerson, query: torch.Tensor, who: torch.Tensor, tiles: list[int], space: TileSpace
) -> torch.Tensor:
    """Return float32 (groups of `tiles`, A), the largest product with a stranger in each."""
    size, anchors = of.shape.faces, len(query)
    columns = query.T.contiguous()
    products, maxima = space.products(anchors), space.maxima(len(tiles), anchors)
    low, high = of.range_of(who)
    first, last = int(low.min()), int(high.max())
    for tile, part in zip(tiles, maxima, strict=True):
        torch.mm(of.faces[tile], columns, out=products)
        start, end = max(first - tile * size, 0), min(last - tile * size, size)
        if start < end:
            own = of.persons[tile * size + start : tile * size + end, None] == who
            products[start:end].masked_fill_(own, -torch.inf)
        products[max(of.count - tile * size, 0) :] = -torch.inf  # behind the last face
        torch.amax(products.view(-1, GROUP, anchors), dim=1, out=part)
    return maxima.flatten(0, 1)


def _look_into(
    of: FacesByPerson, groups: torch.Tensor, query: torch.Tensor, who: torch.Tensor, k: int
) -> torch.Tensor:
    """Return int64 (A, up to k), the rank keys of the nearest faces of `groups` (A, G)."""
    # The faces of some anchors at a time: no more memory than a product.
    room = of.shape.anchors * of.shape.faces
    at_once = max(1, room // (groups.shape[1] * GROUP * query.shape[1]))
    parts = zip(query.split(at_once), groups.split(at_once), strict=True)
    products = torch.cat([_products_with(of, some, theirs) for some, theirs in parts])
    inside = torch.arange(GROUP, device=groups.device)
    places = (groups[:, :, None] * GROUP + inside).flatten(1)  # (A, 8 G)
    low, high = of.range_of(who)
    strangers = ((places < low) | (places >= high)) & (places < of.count)
    products.masked_fill_(~strangers, -torch.inf)
    found = largest_of_rows(products, min(k, products.shape[1]))
    return rank_keys(products.gather(1, found), of.rows[places.gather(1, found)])


def _products_with(of: FacesByPerson, query: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Return (A, 8 G), each anchor's products with the faces of its own `groups` (A, G)."""
    size = query.shape[1]
    faces = of.faces.view(-1, GROUP * size).index_select(0, groups.flatten())
    return torch.bmm(query[:, None], faces.view(len(query), -1, size).transpose(1, 2))[:, 0]


def _among_all(of: FacesByPerson, query: torch.Tensor, who: torch.Tensor, k: int) -> torch.Tensor:
    """Return the rank keys of the nearest, int64 (A, k), from whole rows of products."""
    products = query @ of.bank.T
    products.masked_fill_(of.person == who[:, None], -torch.inf)
    rows = torch.arange(of.count, device=query.device)
    return _largest(rank_keys(products, rows), k)


def _largest(keys: torch.Tensor, k: int) -> torch.Tensor:
    """Return the k largest of each row, or all if there are fewer, in falling order."""
    return torch.topk(keys, min(k, keys.shape[1]), dim=1).values


@torch.no_grad()
def nearest_negatives(
    bank: torch.Tensor,
    labels: torch.Tensor,
    anchors: torch.Tensor,
    nearest: int,
    skip: int = 0,
    shape: TileShape | None = None,
) -> torch.Tensor:
    """Return for each anchor the `nearest` nearest faces of other people after the first `skip`.

    The very nearest stranger is often a twin, or the same person under another name: a negative
    that teaches the wrong thing. Nearest is by squared L2 distance; of equally near faces the lower
    row comes first. Distances are float32, so two that differ by less than 1e-6 may change places.

    The work is one matrix product of anchors and bank in tiles. Of a tile only the maxima of its
    groups of 8 faces are kept; the best groups are then computed again, face by face: in those
    are all faces sought (see `largest_of_columns`). Memory is that of a second copy of the bank
    and, for each thread, of some tiles. On a CPU each of torch's threads has anchors of its own:
    none waits for another, also where other work shares the cores.

    Args:
        bank: float32 (N, D), L2-normalised.
        labels: int64 (N,), the person of each row.
        anchors: int64 (A,), rows of `bank`.
        nearest, skip: at least 0.
        shape: of the tiles; by default what suits the device of `bank`.

    Returns:
        int64 (A, nearest) rows of `bank`, the nearest first; -1 where there are no more.
    """
    shape = shape or (ON_CPU if bank.device.type == "cpu" else ON_GPU)
    found = torch.full((len(anchors), nearest), -1, device=bank.device)
    if found.numel() == 0:
        return found
    labels, anchors = labels.to(bank.device), anchors.to(bank.device)
    faces = FacesByPerson(bank, labels, shape)
    blocks = torch.argsort(labels[anchors], stable=True).split(shape.anchors)
    threads = torch.get_num_threads()
    workers = min(threads if bank.device.type == "cpu" else 1, len(blocks))
    spaces: SimpleQueue[TileSpace] = SimpleQueue()
    for _ in range(workers):
        spaces.put(TileSpace(shape, len(faces.faces), bank.device))

    def mine(block: torch.Tensor) -> None:
        space = spaces.get()
        try:
            with torch.no_grad():  # the setting is a thread's own
                best = nearest_strangers(faces, anchors[block], skip + nearest, space)
        finally:
            spaces.put(space)
        found[block] = best[:, skip:]

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in track(pool.map(mine, blocks), "mining negatives", len(blocks)):
                pass
    finally:
        torch.set_num_threads(threads)
    return found


def global_batches(
    batches: Iterable[np.ndarray],
    labels: np.ndarray,
    negative_only: np.ndarray,
    mined: np.ndarray,
    negatives: int,
    draw: np.random.Generator,
) -> list[tuple[np.ndarray, Triplets]]:
    """Return an epoch's batches, each with its triplets.

    Every batch gets some of the mined negatives of its faces. Its triplets are all (a, p, n) of
    two photos of a person that were in the batch before, and a mined negative of a that is in it
    now, whichever face it was added for.

    Args:
        batches: int64 (B,) each, P people x K photos, positions of training faces.
        labels: int64 (N,), the person of each training face.
        negative_only: bool (N,), faces that are never anchors or positives.
        mined: int64 (N, m), the negatives of each face, -1 for none (see `negatives_of_faces`).
        negatives: how many are added to a batch, at most.
        draw: chooses which.

    Returns:
        Positions, int64 (B + up to negatives,), which begin with the batch's own; and the
        triplets, three int64 (T,) of places in these positions.
    """
    return [
        _with_negatives(batch, labels, negative_only, mined, negatives, draw) for batch in batches
    ]


def _with_negatives(
    batch: np.ndarray,
    labels: np.ndarray,
    negative_only: np.ndarray,
    mined: np.ndarray,
    negatives: int,
    draw: np.random.Generator,
) -> tuple[np.ndarray, Triplets]:
    anchors = np.flatnonzero(~negative_only[batch])  # places in the batch
    candidates = mined[batch[anchors]]  # (A, m)
    positions = np.concatenate([batch, _evenly(candidates, batch, negatives, draw)])

    order = np.argsort(positions)
    place = np.searchsorted(positions, candidates, sorter=order).clip(max=len(positions) - 1)
    place = order[place]  # where each candidate is, if it is there at all
    there = positions[place] == candidates
    negative = np.zeros((len(anchors), len(positions)), dtype=bool)
    negative[np.nonzero(there)[0], place[there]] = True

    who = labels[batch[anchors]]
    first, second = np.nonzero((who[:, None] == who) & ~np.eye(len(who), dtype=bool))
    pairs, found = np.nonzero(negative[first])
    triplets = (anchors[first[pairs]], anchors[second[pairs]], found)
    a, p, n = (torch.from_numpy(part) for part in triplets)
    return positions, (a, p, n)


def _evenly(
    candidates: np.ndarray, batch: np.ndarray, count: int, draw: np.random.Generator
) -> np.ndarray:
    """Return up to `count` of the `candidates` (A, m), none twice and none that is in `batch`.

    One of each anchor comes first, then a second one of each, and so on.
    """
    shuffled = draw.permuted(candidates, axis=1)[draw.permutation(len(candidates))]
    turns = shuffled.T.ravel()
    turns = turns[(turns >= 0) & ~np.isin(turns, batch)]
    _, first = np.unique(turns, return_index=True)
    return turns[np.sort(first)[:count]]


class MemoryBank:
    """float32 (N, D) on one device: a row for each training face, in the order of the split.

    A step renews the rows of the faces that it embedded; the others grow stale with the epoch.
    """

    def __init__(self, faces: int, embedding_size: int, device: torch.device | str) -> None:
        self.embeddings = torch.zeros(faces, embedding_size, device=device)
        self._fresh = torch.zeros(faces, dtype=torch.bool, device=device)

    def stale(self) -> np.ndarray:
        """Return the positions, int64, of the rows that were not renewed since `begin_epoch`."""
        return torch.nonzero(~self._fresh).flatten().cpu().numpy()

    def begin_epoch(self) -> None:
        """Let all rows count as not renewed."""
        self._fresh.fill_(False)

    @torch.no_grad()
    def update(self, positions: torch.Tensor, embeddings: torch.Tensor) -> None:
        """Take the `embeddings`, (B, D), L2-normalised, of the faces at `positions`, int64 (B,).

        No position may come twice: which of its embeddings stayed would be left to the device.
        """
        positions = positions.to(self.embeddings.device)
        self.embeddings[positions] = embeddings.to(self.embeddings)
        self._fresh[positions] = True

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the state for a checkpoint."""
        return {"embeddings": self.embeddings, "fresh": self._fresh}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take the state that `tensors` returned."""
        self.embeddings.copy_(tensors["embeddings"])
        self._fresh.copy_(tensors["fresh"])


def random_negatives(
    labels: np.ndarray, anchors: np.ndarray, count: int, draw: np.random.Generator
) -> np.ndarray:
    """Return int64 (A, count): for each anchor, rows drawn uniformly from those of other people.

    A row may come twice. Where there is no other person, -1 stands.

    Args:
        labels: int64 (N,), the person of each row.
        anchors: int64 (A,), rows.
    """
    by_person = np.argsort(labels, kind="stable")
    ordered = labels[by_person]
    who = labels[anchors][:, None]
    start = np.searchsorted(ordered, who)
    own = np.searchsorted(ordered, who, side="right") - start
    others = len(labels) - own  # (A, 1)
    place = draw.integers(0, np.maximum(others, 1), size=(len(anchors), count))
    place += np.where(place >= start, own, 0)  # pass over the anchor's own person
    return np.where(others > 0, by_person[place % max(len(labels), 1)], -1)


def negatives_of_faces(
    bank: torch.Tensor,
    labels: np.ndarray,
    negative_only: np.ndarray,
    skip: int,
    nearest: int,
    random: int,
    draw: np.random.Generator,
) -> np.ndarray:
    """Return int64 (N, nearest + random), faces of other people for each face; -1 stands for none.

    The first `nearest` are the nearest strangers after the `skip` nearest, the others are drawn
    from all strangers, people with one photo among them. A face that is negative only has none.

    Args:
        bank: float32 (N, D), the latest embedding of each training face, L2-normalised.
        labels: int64 (N,), a person each.
        negative_only: bool (N,), faces of people with one photo.
    """
    anchors = np.flatnonzero(~negative_only)
    found = np.full((len(labels), nearest + random), -1, dtype=np.int64)
    near = nearest_negatives(
        bank, torch.from_numpy(labels), torch.from_numpy(anchors), nearest, skip
    )
    found[anchors, :nearest] = near.cpu().numpy()
    found[anchors, nearest:] = random_negatives(labels, anchors, random, draw)
    return found
