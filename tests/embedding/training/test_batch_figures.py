"""Figures of a batch; a run that learns nothing ends with advice."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from faceops.base.errors import FaceOpsError
from faceops.embedding.miners import squared_distances
from faceops.embedding.training.batch_figures import batch_figures, check_collapse, epoch_means


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    figures = {"loss": 0.3, "spread": 0.9, "positive_distance": 1.0, "negative_distance": 1.9}
    return {"epoch": epoch, "phase": "triplet"} | figures | changes


STUCK = {"loss": 0.8, "positive_distance": 1.79, "negative_distance": 1.8}


def test_figures_of_a_batch_are_those_of_the_loop() -> None:
    embeddings = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    labels, margin = [0, 0, 1, 1, 1, 2], 0.4
    far = squared_distances(embeddings)
    figures = batch_figures(embeddings, far, torch.tensor(labels), margin)
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j and labels[i] == labels[j]]
    others = [(i, j) for i in range(6) for j in range(6) if labels[i] != labels[j]]
    active = [far[a, n] < far[a, p] + margin for a, p in pairs for b, n in others if a == b]
    assert figures["active_triplets"] == pytest.approx(sum(map(bool, active)) / len(active))
    for name, of in (("positive_distance", pairs), ("negative_distance", others)):
        assert figures[name] == pytest.approx(sum(float(far[i, j]) for i, j in of) / len(of))
    assert figures["spread"] == pytest.approx(float(embeddings.var(0, correction=0).sum()) ** 0.5)
    alone = batch_figures(embeddings, far, torch.arange(6), margin)
    assert math.isnan(alone["active_triplets"])
    means = epoch_means([figures, alone, alone])
    assert means["active_triplets"] == figures["active_triplets"]
    assert math.isnan(epoch_means([alone])["positive_distance"])


def test_a_run_that_learns_goes_on() -> None:
    check_collapse([row(1), row(2)])
    check_collapse([{"epoch": 0, "phase": "start"}, row(1, **STUCK)])
    check_collapse([row(1, **STUCK), row(2), row(3, **STUCK)])
    check_collapse([row(1, phase="warmup", **STUCK), row(2, phase="warmup", **STUCK)])


def test_a_loss_stuck_at_the_margin_is_an_error_after_two_epochs() -> None:
    message = r"since epoch 4 the loss is stuck at the margin .* raise train.warmup_epochs"
    with pytest.raises(FaceOpsError, match=message):
        check_collapse([row(3), row(4, **STUCK), row(5, **STUCK)])
