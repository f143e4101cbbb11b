"""What every classification head is: a cross-entropy over people, with a margin for the true one.

The heads of this room differ in one thing, what they do to the cosine of the true person.
"""

import torch
import torch.nn.functional as F
from torch import nn


class ClassificationHead(nn.Module):
    """A softmax over scaled cosines between embeddings and one learnt direction a person.

    It serves training only and is thrown away after it. Use it outside autocast: a cosine in
    bfloat16 is coarser than the margins' effect.

    Args:
        embedding_size: D.
        people: the number of classes.
        scale: what cosines are multiplied with; the inverse of the softmax's temperature.
        margin: as the subclass says.
    """

    def __init__(self, embedding_size: int, people: int, scale: float, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(people, embedding_size))
        nn.init.normal_(self.weight)
        self.scale = scale
        self.margin = margin

    @property
    def people(self) -> int:
        """How many classes there are."""
        return len(self.weight)

    @torch.no_grad()
    def start_at(self, centres: torch.Tensor) -> None:
        """Take each person's mean embedding, (people, D), as the first guess of the class.

        A pretrained embedding then keeps its shape instead of being torn towards random classes.
        """
        self.weight.copy_(centres)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of `embeddings` (B, D), L2-normalised, with `labels` (B,) int64."""
        cosines = embeddings @ F.normalize(self.weight, dim=1).T  # (B, people)
        true = labels.to(embeddings.device)[:, None]  # (B, 1)
        # Only B of the B x people cosines change: a scatter, not a one-hot matrix.
        with_margin = cosines.scatter(1, true, self.less_margin(cosines.gather(1, true)))
        return F.cross_entropy(self.scale * with_margin, true[:, 0])

    def less_margin(self, cosines: torch.Tensor) -> torch.Tensor:
        """Return the `cosines` of the true people, (B, 1), made smaller by the margin."""
        raise NotImplementedError
