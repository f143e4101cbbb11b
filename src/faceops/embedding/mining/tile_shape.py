"""How large the matrix products of global mining are, and the memory that they go to."""

from dataclasses import dataclass

import torch

GROUP = 8  # faces whose products are first judged by their maximum


@dataclass(frozen=True)
class TileShape:
    """How much is computed at once; it changes the speed and the memory, not what is found.

    anchors, faces: of one matrix product; faces is a multiple of 8.
    tiles: products whose maxima are kept until the best of them are looked into.
    """

    anchors: int
    faces: int
    tiles: int

    @property
    def groups(self) -> int:
        """Groups of faces in a product."""
        return self.faces // GROUP


# A CPU wants products that stay in its cache (1 MB), a GPU few and large ones.
ON_CPU = TileShape(anchors=512, faces=512, tiles=128)
ON_GPU = TileShape(anchors=2048, faces=16384, tiles=16)


class TileSpace:
    """The memory that one thread works in; fresh memory each time would cost more than the work."""

    def __init__(self, shape: TileShape, device: torch.device) -> None:
        self.products = torch.empty(shape.anchors, shape.faces, device=device)
        self.maxima = torch.empty(shape.anchors, shape.tiles * shape.groups, device=device)
