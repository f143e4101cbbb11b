"""The plain softmax classifier: the yardstick for heads with a margin."""

import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.heads.classification_head import ClassificationHead


class Softmax(ClassificationHead):
    """Cross-entropy over W (scale x embedding) + b; neither normalised rows nor a margin.

    The scale makes up for unit embeddings: with logits within -1..1 a softmax over thousands of
    people never comes near 0 loss.
    """

    def __init__(self, embedding_size: int, people: int, scale: float) -> None:
        super().__init__(embedding_size, people, scale, margin=0.0)
        with torch.no_grad():  # rows of about length 1, as the centres of `start_at` are
            self.weight.mul_(embedding_size**-0.5)
        self.bias = nn.Parameter(torch.zeros(people))

    @torch.no_grad()
    def start_at(self, centres: torch.Tensor) -> None:
        """Take each person's mean embedding, (people, D), as its row, and no bias."""
        super().start_at(centres)
        self.bias.zero_()

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of `embeddings` (B, D), L2-normalised, with `labels` (B,) int64."""
        logits = F.linear(self.scale * embeddings, self.weight, self.bias)  # (B, people)
        return F.cross_entropy(logits, labels.to(embeddings.device))
