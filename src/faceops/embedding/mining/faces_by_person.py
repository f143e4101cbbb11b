"""All embeddings in the order of their people, laid out for a search in tiles."""

import torch
import torch.nn.functional as F

from faceops.embedding.mining.tile_shape import GROUP, TileShape


class FacesByPerson:
    """A bank sorted by person, so that the faces of a person are one range of places.

    It is kept twice: row by row, and as the tiles that anchors are multiplied with. Eight faces
    that are neighbours make a group. In a tile the faces of a group lie far apart (first all first
    ones, then all second ones, ...), so that the maximum over a group runs along memory.

    bank, person: float32 (N, D) as given, and int64 (N,), people numbered from 0.
    faces, rows: the embeddings in their new places, and the row of `bank` of each. After the last
        face come zeros up to a full tile.
    tiles, tile_persons: (tiles, D, shape.faces), and (tiles, 8, groups) with -1 for no face.
    """

    def __init__(self, bank: torch.Tensor, labels: torch.Tensor, shape: TileShape) -> None:
        self.bank, self.shape, self.count = bank, shape, len(bank)
        _, self.person = torch.unique(labels, return_inverse=True)  # int64 (N,)
        tiles = -(-self.count // shape.faces)
        padding = (0, tiles * shape.faces - self.count)
        persons, order = torch.sort(self.person, stable=True)
        photos = torch.bincount(persons)
        self._ends = photos.cumsum(dim=0)  # of each person's places
        self._starts = self._ends - photos
        self.rows = F.pad(order, padding)
        self.faces = bank.new_zeros(len(self.rows), bank.shape[1])
        torch.index_select(bank, 0, order, out=self.faces[: self.count])
        self.tiles = bank.new_empty(tiles, bank.shape[1], shape.faces)
        grouped = self.faces.view(tiles, -1, GROUP, bank.shape[1])
        self.tiles.view(tiles, bank.shape[1], GROUP, -1).copy_(grouped.permute(0, 3, 2, 1))
        persons = F.pad(persons, padding, value=-1)  # -1: a place without a face
        self.tile_persons = persons.view(tiles, -1, GROUP).transpose(1, 2)

    def range_of(self, who: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the places of the people `who`, (A,), begin and end, int64 (A, 1)."""
        return self._starts[who][:, None], self._ends[who][:, None]
