"""CosFace (Wang et al. 2018): a softmax over cosines, less a margin for the true class."""

import torch
import torch.nn.functional as F
from torch import nn


class CosFace(nn.Module):
    """The classification head of the warm-up; it is thrown away after training."""

    def __init__(self, embedding_size: int, people: int, scale: float, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(people, embedding_size))
        nn.init.normal_(self.weight)
        self.scale = scale
        self.margin = margin

    @torch.no_grad()
    def start_at(self, centres: torch.Tensor) -> None:
        """Take each person's mean embedding, (people, D), as the first guess of the class.

        A pretrained embedding then keeps its shape instead of being torn towards random classes.
        """
        self.weight.copy_(centres)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of `embeddings` (B, D), L2-normalised, with `labels` (B,) int64."""
        cosines = embeddings @ F.normalize(self.weight, dim=1).T  # (B, people)
        margins = F.one_hot(labels, len(self.weight)) * self.margin
        return F.cross_entropy(self.scale * (cosines - margins), labels)
