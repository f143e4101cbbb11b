"""Classification heads: a cross-entropy over people, with a margin, by names in params.yaml."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from faceops.base.errors import FaceOpsError


class ClassificationHead(nn.Module):
    """A softmax over scaled cosines between embeddings and one learned direction per person.

    Only training uses it. Use it outside autocast: a cosine in bfloat16 is coarser than the
    effect of the margins. Subclasses define `apply_margin` and the range of their margin.

    Args:
        scale: factor of the cosines, above 0; the inverse of the softmax's temperature.
        margin: 0 .. below `max_margin`.

    Raises:
        FaceOpsError: the margin is out of range.
    """

    max_margin = math.inf

    def __init__(self, embedding_size: int, people: int, scale: float, margin: float) -> None:
        super().__init__()
        if not 0 <= margin < self.max_margin:
            raise FaceOpsError(
                f"train.head_margin = {margin} is out of range; {type(self).__name__.lower()} takes"
                f" from 0 to below {self.max_margin}."
            )
        self.weight = nn.Parameter(torch.empty(people, embedding_size))
        nn.init.normal_(self.weight)
        self.scale = scale
        self.margin = margin

    @property
    def people(self) -> int:
        """The number of classes."""
        return len(self.weight)

    @torch.no_grad()
    def start_at(self, centres: torch.Tensor) -> None:
        """Begin each class at its person's mean embedding, (people, D).

        A pretrained embedding then keeps its shape instead of moving towards random classes.
        """
        self.weight.copy_(centres)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of `embeddings` (B, D), L2-normalised, with `labels` (B,) int64."""
        cosines = embeddings @ F.normalize(self.weight, dim=1).T  # (B, people)
        true = labels.to(embeddings.device)[:, None]  # (B, 1)
        # Only B of the B x people cosines change: a scatter, not a one-hot matrix.
        with_margin = cosines.scatter(1, true, self.apply_margin(cosines.gather(1, true)))
        return F.cross_entropy(self.scale * with_margin, true[:, 0])

    def apply_margin(self, cosines: torch.Tensor) -> torch.Tensor:
        """Return the `cosines` of the true people, (B, 1), reduced by the margin."""
        raise NotImplementedError


# float32 cosines are 6e-8 apart below 1, so 1 - cos^2 is 0 or at least 1.2e-7: the floor touches
# only the zeros, whose square root would have an infinite gradient.
_SMALLEST_SINE_SQUARED = 1e-8


class ArcFace(ClassificationHead):
    """ArcFace (Deng et al. 2019): the true cosine becomes cos(t + margin); .5 radians there.

    Where t + m passes pi, cos(t + m) would rise again and push the face away from its person; from
    there on it is cos(t) - m sin(m), as in the authors' code, which falls with t to the end.
    """

    max_margin = 1.5

    def apply_margin(self, cosines: torch.Tensor) -> torch.Tensor:
        """Return cos(t + margin) for `cosines` = cos(t).

        By the addition theorem, not by arccos, whose gradient at cosine 1 and -1 is infinite. At
        these two the gradient is that of cos(t) cos(m) alone.
        """
        sines = (1 - cosines.square()).clamp_min(_SMALLEST_SINE_SQUARED).sqrt()
        turned = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        beyond = cosines - self.margin * math.sin(self.margin)
        return torch.where(cosines >= -math.cos(self.margin), turned, beyond)


class CosFace(ClassificationHead):
    """CosFace (Wang et al. 2018): the true cosine becomes cos(t) - margin; .35 there."""

    max_margin = 1.0

    def apply_margin(self, cosines: torch.Tensor) -> torch.Tensor:
        """Return `cosines` - margin."""
        return cosines - self.margin


class Softmax(ClassificationHead):
    """Cross-entropy over W (scale x embedding) + b; rows are not normalised, no margin.

    Unit embeddings need the scale: with logits within -1..1 a softmax over thousands of people
    never comes near 0 loss.
    """

    def __init__(self, embedding_size: int, people: int, scale: float, margin: float) -> None:
        super().__init__(embedding_size, people, scale, margin)
        with torch.no_grad():  # rows of about length 1, as the centres of `start_at` are
            self.weight.mul_(embedding_size**-0.5)
        self.bias = nn.Parameter(torch.zeros(people))

    @torch.no_grad()
    def start_at(self, centres: torch.Tensor) -> None:
        """Begin each class at its person's mean embedding, (people, D), without bias."""
        super().start_at(centres)
        self.bias.zero_()

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of `embeddings` (B, D), L2-normalised, with `labels` (B,) int64."""
        logits = F.linear(self.scale * embeddings, self.weight, self.bias)  # (B, people)
        return F.cross_entropy(logits, labels.to(embeddings.device))


HEADS: dict[str, type[ClassificationHead]] = {
    "softmax": Softmax,
    "cosface": CosFace,
    "arcface": ArcFace,
}


def build_head(
    name: str, embedding_size: int, people: int, scale: float, margin: float
) -> ClassificationHead:
    """Return an untrained head for `people` classes, drawn from torch's global generator.

    `scale`, `margin`: see ClassificationHead; softmax ignores the margin.

    Raises:
        FaceOpsError: no head has that name, or the margin is outside the head's range.
    """
    if name not in HEADS:
        raise FaceOpsError(
            f"train.head = {name!r} is unknown; set it to one of {', '.join(HEADS)}."
        )
    return HEADS[name](embedding_size, people, scale, margin)


def class_centres(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return float32 (C, D), each of length 1: the centre of each class 0 .. C - 1.

    `embeddings` float32 (N, D), L2-normalised; `labels` int (N,), every class at least once. A
    class whose embeddings cancel out keeps a centre of length below 1.
    """
    sums = np.zeros((labels.max() + 1, embeddings.shape[1]), np.float32)
    np.add.at(sums, labels, embeddings)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-6)
