"""All embeddings in the order of their people, searched in tiles for the nearest strangers."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from faceops.embedding.mining.largest_columns import largest_columns
from faceops.embedding.mining.rank_keys import exists, rank_keys, rows_of_keys, same_value

_GROUP = 8  # faces whose products are first judged by their maximum
_TIED_AT_ONCE = 16


@dataclass(frozen=True)
class TileShape:
    """How much is computed at once; it changes the speed and the memory, not what is found.

    anchors, faces: of one matrix product; faces is a multiple of 8.
    tiles: products whose maxima are kept until the best of them are looked into.
    """

    anchors: int
    faces: int
    tiles: int


class TileSpace:
    """The memory that one thread works in; fresh memory each time would cost more than the work."""

    def __init__(self, shape: TileShape, device: torch.device) -> None:
        groups = shape.tiles * shape.faces // _GROUP
        self.products = torch.empty(shape.anchors, shape.faces, device=device)
        self.maxima = torch.empty(shape.anchors, groups, device=device)


class FacesByPerson:
    """A copy of a bank, sorted by person: the faces of a person are then one range of places.

    It is kept twice: row by row, and as the tiles that anchors are multiplied with. Eight faces
    that are neighbours make a group. In a tile the faces of a group lie far apart (first all first
    ones, then all second ones, ...), so that the maximum over a group runs along memory.
    """

    def __init__(self, bank: torch.Tensor, labels: torch.Tensor, shape: TileShape) -> None:
        self._bank, self._shape, self._count = bank, shape, len(bank)
        _, self._person = torch.unique(labels, return_inverse=True)  # int64 (N,)
        tiles = -(-self._count // shape.faces)
        padding = (0, tiles * shape.faces - self._count)
        persons, order = torch.sort(self._person, stable=True)
        photos = torch.bincount(persons)
        self._ends = photos.cumsum(dim=0)  # of each person's places
        self._starts = self._ends - photos
        self._rows = F.pad(order, padding)
        self._faces = bank.new_zeros(len(self._rows), bank.shape[1])
        torch.index_select(bank, 0, order, out=self._faces[: self._count])
        self._tiles = bank.new_empty(tiles, bank.shape[1], shape.faces)
        grouped = self._faces.view(tiles, -1, _GROUP, bank.shape[1])
        self._tiles.view(tiles, bank.shape[1], _GROUP, -1).copy_(grouped.permute(0, 3, 2, 1))
        persons = F.pad(persons, padding, value=-1)  # -1: a place without a face
        self._tile_persons = persons.view(tiles, -1, _GROUP).transpose(1, 2)

    def nearest(self, anchors: torch.Tensor, k: int, space: TileSpace) -> torch.Tensor:
        """Return int64 (A, k), the k nearest strangers of `anchors`, (A,) rows of the bank.

        Of equally near ones the lower row comes first; -1 stands where there are no more. Anchors
        of one person should stand together. There are at most `shape.anchors` of them.
        """
        query, who = self._bank[anchors], self._person[anchors]
        best = torch.empty(len(anchors), 0, dtype=torch.int64, device=query.device)
        # One more than asked for shows whether the last place is shared.
        for tiles in torch.arange(len(self._tiles)).split(self._shape.tiles):
            maxima = self._maxima(query, who, tiles.tolist(), space)
            groups = largest_columns(maxima, min(k + 1, maxima.shape[1]))
            groups += int(tiles[0]) * (self._shape.faces // _GROUP)
            best = _largest(torch.cat([best, self._look_into(groups, query, who, k + 1)], 1), k + 1)
        if best.shape[1] > k:
            shared = exists(best[:, k]) & same_value(best[:, k - 1], best[:, k])
            for tied in torch.nonzero(shared).flatten().split(_TIED_AT_ONCE):
                # Equal ones may lie in groups that were not looked into.
                best[tied, :k] = self._among_all(query[tied], who[tied], k)
        rows = rows_of_keys(best[:, :k])
        return F.pad(rows, (0, k - rows.shape[1]), value=-1)

    def _maxima(
        self, query: torch.Tensor, who: torch.Tensor, tiles: list[int], space: TileSpace
    ) -> torch.Tensor:
        """Return float32 (A, groups of `tiles`), the largest product with a stranger in each."""
        groups = self._shape.faces // _GROUP
        products = space.products[: len(query)]
        grouped = products.view(len(query), _GROUP, groups)
        maxima = space.maxima[: len(query), : len(tiles) * groups]
        low, high = self._range_of(who)
        first, last = int(low.min()) // _GROUP, int(high.max() - 1) // _GROUP  # groups
        for tile, part in zip(tiles, maxima.split(groups, dim=1), strict=True):
            torch.mm(query, self._tiles[tile], out=products)
            here = slice(max(first - tile * groups, 0), max(last + 1 - tile * groups, 0))
            if here.start < min(here.stop, groups):
                own = self._tile_persons[tile, :, here] == who[:, None, None]
                grouped[:, :, here].masked_fill_(own, -torch.inf)
            if tile == len(self._tiles) - 1:
                rest = slice(self._count // _GROUP - tile * groups, None)
                grouped[:, :, rest].masked_fill_(self._tile_persons[tile, :, rest] < 0, -torch.inf)
            torch.amax(grouped, dim=1, out=part)
        return maxima

    def _look_into(
        self, groups: torch.Tensor, query: torch.Tensor, who: torch.Tensor, k: int
    ) -> torch.Tensor:
        """Return int64 (A, up to k), the rank keys of the nearest faces of `groups` (A, G)."""
        # The faces of some anchors at a time: no more memory than four products.
        room = 4 * self._shape.anchors * self._shape.faces
        at_once = max(1, room // (groups.shape[1] * _GROUP * query.shape[1]))
        parts = zip(query.split(at_once), groups.split(at_once), strict=True)
        products = torch.cat([self._products_with(some, theirs) for some, theirs in parts])
        inside = torch.arange(_GROUP, device=groups.device)
        places = (groups[:, :, None] * _GROUP + inside).flatten(1)  # (A, 8 G)
        low, high = self._range_of(who)
        strangers = ((places < low) | (places >= high)) & (places < self._count)
        products.masked_fill_(~strangers, -torch.inf)
        found = torch.topk(products, min(k, products.shape[1]), dim=1, sorted=False)
        return rank_keys(found.values, self._rows[places.gather(1, found.indices)])

    def _products_with(self, query: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Return (A, 8 G), each anchor's products with the faces of its own `groups` (A, G)."""
        size = query.shape[1]
        faces = self._faces.view(-1, _GROUP * size).index_select(0, groups.flatten())
        return torch.bmm(query[:, None], faces.view(len(query), -1, size).transpose(1, 2))[:, 0]

    def _among_all(self, query: torch.Tensor, who: torch.Tensor, k: int) -> torch.Tensor:
        """Return the rank keys of the nearest, int64 (A, k), from whole rows of products."""
        products = query @ self._bank.T
        products.masked_fill_(self._person == who[:, None], -torch.inf)
        rows = torch.arange(self._count, device=query.device)
        return _largest(rank_keys(products, rows), k)

    def _range_of(self, who: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the places of the people `who`, (A,), begin and end, int64 (A, 1)."""
        return self._starts[who][:, None], self._ends[who][:, None]


def _largest(keys: torch.Tensor, k: int) -> torch.Tensor:
    """Return the k largest of each row, or all if there are fewer, in falling order."""
    return torch.topk(keys, min(k, keys.shape[1]), dim=1).values
