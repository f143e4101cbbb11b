"""The nearest strangers of some faces, from tiles of matrix products."""

import torch
import torch.nn.functional as F

from faceops.embedding.mining.faces_by_person import FacesByPerson
from faceops.embedding.mining.largest_of_columns import largest_of_columns, largest_of_rows
from faceops.embedding.mining.rank_keys import exists, rank_keys, rows_of_keys, same_value
from faceops.embedding.mining.tile_shape import GROUP, TileSpace

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
