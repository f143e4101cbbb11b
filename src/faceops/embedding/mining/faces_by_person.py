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
    """A copy of a bank, sorted by person: the faces of a person are then one range of columns."""

    def __init__(self, bank: torch.Tensor, labels: torch.Tensor, shape: TileShape) -> None:
        self._bank, self._labels, self._shape = bank, labels, shape
        self._count = len(bank)
        self._tiles = -(-self._count // shape.faces)
        padded = self._tiles * shape.faces
        self._persons, order = torch.sort(labels, stable=True)
        self._faces = bank.new_zeros(padded, bank.shape[1])
        torch.index_select(bank, 0, order, out=self._faces[: self._count])
        self._rows = F.pad(order, (0, padded - self._count))

    def nearest(self, anchors: torch.Tensor, k: int, space: TileSpace) -> torch.Tensor:
        """Return int64 (A, k), the k nearest strangers of `anchors`, (A,) rows of the bank.

        Of equally near ones the lower row comes first; -1 stands where there are no more. Anchors
        of one person should stand together. There are at most `shape.anchors` of them.
        """
        query = self._bank[anchors]
        who = self._labels[anchors]
        own = (
            torch.searchsorted(self._persons, who)[:, None],
            torch.searchsorted(self._persons, who, right=True)[:, None],
        )
        # One more than asked for shows whether the last place is shared.
        best = torch.empty(len(anchors), 0, dtype=torch.int64, device=query.device)
        for first in range(0, self._tiles, self._shape.tiles):
            tiles = range(first, min(first + self._shape.tiles, self._tiles))
            maxima = self._maxima(query, own, who, tiles, space)
            groups = largest_columns(maxima, min(k + 1, maxima.shape[1]))
            groups += first * (self._shape.faces // _GROUP)
            best = _largest(torch.cat([best, self._look_into(groups, query, own, k + 1)], 1), k + 1)
        if best.shape[1] > k:
            shared = exists(best[:, k]) & same_value(best[:, k - 1], best[:, k])
            for tied in torch.nonzero(shared).flatten().split(_TIED_AT_ONCE):
                # Equal ones may lie in groups that were not looked into.
                best[tied, :k] = self._among_all(query[tied], who[tied], k)
        rows = rows_of_keys(best[:, :k])
        return F.pad(rows, (0, k - rows.shape[1]), value=-1)

    def _maxima(
        self,
        query: torch.Tensor,
        own: tuple[torch.Tensor, torch.Tensor],
        who: torch.Tensor,
        tiles: range,
        space: TileSpace,
    ) -> torch.Tensor:
        """Return (A, groups), the largest product of a stranger in each group of `tiles`.

        The faces of a group lie groups apart, so that the maximum runs along contiguous memory.
        """
        size, anchors = self._shape.faces, len(query)
        groups = size // _GROUP
        products = space.products[:anchors]
        maxima = space.maxima[:anchors, : len(tiles) * groups]
        low, high = int(own[0].min()), int(own[1].max())
        for number, tile in enumerate(tiles):
            start, end = tile * size, (tile + 1) * size
            torch.mm(query, self._faces[start:end].T, out=products)
            left, right = max(low, start), min(high, end)
            if left < right:
                products[:, left - start : right - start].masked_fill_(
                    self._persons[left:right] == who[:, None], -torch.inf
                )
            if end > self._count:
                products[:, self._count - start :] = -torch.inf
            torch.amax(
                products.view(anchors, _GROUP, groups),
                dim=1,
                out=maxima[:, number * groups : (number + 1) * groups],
            )
        return maxima

    def _look_into(
        self,
        groups: torch.Tensor,
        query: torch.Tensor,
        own: tuple[torch.Tensor, torch.Tensor],
        k: int,
    ) -> torch.Tensor:
        """Return int64 (A, up to k), the rank keys of the nearest faces of `groups` (A, G)."""
        size = self._shape.faces
        step = size // _GROUP
        offsets = torch.arange(0, size, step, device=groups.device)
        first = groups // step * size + groups % step
        places = (first[:, None, :] + offsets[None, :, None]).flatten(1)  # (A, 8 G)
        # The faces of some anchors at a time: no more memory than four products.
        room = 4 * self._shape.anchors * size
        at_once = max(1, room // (places.shape[1] * query.shape[1]))
        products = torch.cat(
            [
                self._products(*some)
                for some in zip(query.split(at_once), places.split(at_once), strict=True)
            ]
        )
        strangers = ((places < own[0]) | (places >= own[1])) & (places < self._count)
        products.masked_fill_(~strangers, -torch.inf)
        found = torch.topk(products, min(k, products.shape[1]), dim=1, sorted=False)
        return rank_keys(found.values, self._rows[places.gather(1, found.indices)])

    def _products(self, query: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return (A, F), each anchor's products with its own faces at `places` (A, F)."""
        faces = self._faces.index_select(0, places.flatten()).view(*places.shape, -1)
        return torch.bmm(query[:, None, :], faces.transpose(1, 2))[:, 0]

    def _among_all(self, query: torch.Tensor, who: torch.Tensor, k: int) -> torch.Tensor:
        """Return the rank keys of the nearest, int64 (A, k), from whole rows of products."""
        products = query @ self._bank.T
        products.masked_fill_(self._labels == who[:, None], -torch.inf)
        rows = torch.arange(self._count, device=query.device)
        return _largest(rank_keys(products, rows), k)


def _largest(keys: torch.Tensor, k: int) -> torch.Tensor:
    """Return the k largest of each row, or all if there are fewer, in falling order."""
    return torch.topk(keys, min(k, keys.shape[1]), dim=1).values
