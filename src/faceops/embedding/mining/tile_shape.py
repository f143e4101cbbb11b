"""How large the matrix products of global mining are, and the memory that they go to."""

from dataclasses import dataclass

import torch

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
