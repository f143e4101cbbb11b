"""All embeddings in the order of their people, laid out for a search in tiles."""

import torch
import torch.nn.functional as F

from faceops.embedding.mining.tile_shape import TileShape


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
