"""A classification head for each part of an embedding."""

from collections.abc import Iterator

import torch
from torch import nn

from faceops.embedding.heads.classification_head import ClassificationHead
from faceops.embedding.parts import parts_of


class PartHeads(nn.Module):
    """The mean of the losses of `heads`, each of which sees its own part, made length 1.

    No part is taught less where another tells the people apart already; only the limit on the
    gradient is one for all.
    """

    def __init__(self, heads: list[ClassificationHead]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.people = heads[0].people

    def start_at(self, centres: torch.Tensor) -> None:
        """Take each person's mean embedding, (people, D), as the first guess of all parts."""
        for head, part in zip(self._each(), parts_of(centres, len(self.heads)), strict=True):
            head.start_at(part)

    def as_linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight (people, D) and bias (people,), by which embeddings get the mean logits."""
        weights, biases = zip(*(head.as_linear() for head in self._each()), strict=True)
        # Parts of an embedding have the length 1 / root of their number.
        return torch.cat(weights, dim=1) * len(weights) ** -0.5, torch.stack(biases).mean(0)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of `embeddings` (B, D), L2-normalised, with `labels` (B,) int64."""
        parts = parts_of(embeddings, len(self.heads))
        losses = [head(part, labels) for head, part in zip(self._each(), parts, strict=True)]
        return torch.stack(losses).mean()

    def _each(self) -> Iterator[ClassificationHead]:
        for head in self.heads:
            assert isinstance(head, ClassificationHead)
            yield head
