"""The losses: of classification heads, of mined triplets, of pairs, of targets; batch figures.

`HEADS` and `MINERS` hold them by their names in params.yaml. A miner is a function of

    distances: float32 (B, B), squared L2.
    labels: int64 (B,), a person each; a label that occurs once serves as negative only.
    margin: of the triplet loss, in squared distance.

that returns three int64 (T,) of rows of the batch: anchors, positives, negatives.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceops.base.errors import FaceOpsError


class ClassificationHead(nn.Module):
    """A softmax over scaled cosines between embeddings and one learned direction per person.

    Only training uses it, outside autocast: a cosine in bfloat16 is coarser than the effect of the
    margins. Subclasses define `apply_margin` and `max_margin`. `scale`, above 0, is the inverse of
    the softmax's temperature.

    Raises FaceOpsError: the margin is not 0 to below `max_margin`.
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

    Raises FaceOpsError: no head has that name, or the margin is outside the head's range.
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


Triplets = tuple[Tensor, Tensor, Tensor]  # anchors, positives, negatives


def squared_distances(embeddings: Tensor) -> Tensor:
    """Return float32 (B, B), in [0, 4], for L2-normalised `embeddings` (B, D).

    Squared, not rooted: the root's gradient at distance zero is infinite.
    """
    return (2 - 2 * embeddings @ embeddings.T).clamp_min(0)


def triplet_loss(distances: Tensor, triplets: Triplets, margin: float) -> Tensor:
    """Return the mean of max(0, d(a, p) - d(a, n) + margin) over `triplets`, on any device.

    With no triplets the loss is 0, and its gradient too.
    """
    anchors, positives, negatives = (rows.to(distances.device) for rows in triplets)
    if len(anchors) == 0:
        return distances.sum() * 0
    return torch.relu(distances[anchors, positives] - distances[anchors, negatives] + margin).mean()


def positive_pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs of the `labels`, int64 (B,), are of one person, two bool (B, B).

    The second without the diagonal: a photo is not its own positive.
    """
    same = labels[:, None] == labels[None, :]
    return same, same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)


@torch.no_grad()
def batch_figures(
    embeddings: Tensor, distances: Tensor, labels: Tensor, margin: float
) -> dict[str, float]:
    """Return the figures of a batch's triplets, NaN where the batch has no such pairs.

    active_triplets: share of all triplets (a, p, n) with d(a, n) < d(a, p) + margin.
    positive_distance, negative_distance: mean squared distances within and between people.
    spread: standard deviation over all dimensions, sqrt(1 - |mean|^2): 1 when embeddings point
        everywhere, 0 when they have collapsed to one point.
    """
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)
    near = distances[anchors, positives][:, None]
    valid = ~same[anchors]
    active = valid & (distances[anchors] < near + margin)
    mean = embeddings.mean(dim=0)
    return {
        "active_triplets": float(active[valid].float().mean()),
        "positive_distance": float(distances[positive].mean()),
        "negative_distance": float(distances[~same].mean()),
        "spread": float((1 - mean.pow(2).sum()).clamp_min(0).sqrt()),
    }


def epoch_means(batches: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over the batches that have it, else NaN."""
    means = {}
    for name in batches[0]:
        values = [figures[name] for figures in batches if not math.isnan(figures[name])]
        means[name] = float(np.mean(values)) if values else math.nan
    return means


def contrastive_loss(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al. 2020, L_out) of a batch.

    For each face that has a positive: the mean over its positives of the negative log of their
    share in the softmax of its cosines to all other faces, divided by `temperature`. Then the mean
    over these faces; with none of them the loss is 0, and its gradient too. `embeddings` float32
    (B, D), L2-normalised; `labels` int64 (B,), on the same device.
    """
    _, positive = positive_pairs(labels)
    anchors = torch.nonzero(positive.any(dim=1)).flatten()
    if len(anchors) == 0:
        return embeddings.sum() * 0
    logits = embeddings @ embeddings.T / temperature  # (B, B)
    logits = logits.fill_diagonal_(-torch.inf)  # a face is not compared with itself
    shares = torch.log_softmax(logits[anchors], dim=1).masked_fill(~positive[anchors], 0)
    return -(shares.sum(dim=1) / positive[anchors].sum(dim=1)).mean()


_OTHERS = 12.0  # weight of the similarities to other faces beside that to a face's own target


def distillation_loss(embeddings: Tensor, targets: Tensor) -> Tensor:
    """Return how far B embeddings are from B targets, both (B, D), L2-normalised.

    It is 1 - cosine to the own target, and the squared error of the cosines to the other targets
    of the batch. Without the second part a face that shows little is given the mean of all faces:
    nearer to its own target, but as much nearer to everybody else's, which accepts impostors.
    """
    error = (embeddings - targets) @ targets.T  # (B, B)
    own = error.diagonal()
    others = (error.square().sum() - own.square().sum()) / max(1, len(own) * (len(own) - 1))
    return _OTHERS * others - own.mean()


def mine_batch_all(distances: Tensor, labels: Tensor, margin: float) -> Triplets:
    """Return every triplet (a, p, n) whose loss d(a, p) - d(a, n) + margin is above 0.

    The mean loss over them is the paper's "batch all" over the terms that are not zero: late in
    training nearly all are, and a mean over all triplets would fade with them. 24 people x 8
    photos have 247,296 triplets: 6 MB.
    """
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)  # (pairs,)
    loss = distances[anchors, positives][:, None] - distances[anchors] + margin  # (pairs, B)
    pairs, negatives = torch.nonzero(~same[anchors] & (loss > 0), as_tuple=True)  # (T,)
    return anchors[pairs], positives[pairs], negatives


def mine_semi_hard(distances: Tensor, labels: Tensor, margin: float) -> Triplets:
    """Return every triplet (a, p, n) with d(a, p) < d(a, n) < d(a, p) + margin (FaceNet)."""
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)
    near, others = distances[anchors, positives][:, None], distances[anchors]  # (pairs, 1 and B)
    chosen = ~same[anchors] & (others > near) & (others < near + margin)
    pairs, negatives = torch.nonzero(chosen, as_tuple=True)
    return anchors[pairs], positives[pairs], negatives


def mine_batch_hard(distances: Tensor, labels: Tensor, margin: float) -> Triplets:
    """Return the hardest triplet of every anchor that has a positive and a negative.

    Of equally hard ones the first in the batch, even where it costs nothing (Hermans et al. 2017).
    """
    same, positive = positive_pairs(labels)
    anchors = torch.nonzero(positive.any(dim=1) & (~same).any(dim=1)).flatten()
    farthest = distances.masked_fill(~positive, -torch.inf)
    nearest = distances.masked_fill(same, torch.inf)
    return anchors, _first_largest(farthest[anchors]), _first_largest(-nearest[anchors])


def _first_largest(values: Tensor) -> Tensor:
    """Return the column of the first largest value of each row; torch's argmax may take any."""
    if len(values) == 0:
        return torch.zeros(0, dtype=torch.int64, device=values.device)
    largest = values == values.max(dim=1, keepdim=True).values
    columns = torch.arange(values.shape[1], device=values.device)
    return torch.where(largest, columns, values.shape[1]).min(dim=1).values


Miner = Callable[[Tensor, Tensor, float], Triplets]

MINERS: dict[str, Miner] = {
    "semi_hard": mine_semi_hard,
    "batch_hard": mine_batch_hard,
    "batch_all": mine_batch_all,
}
