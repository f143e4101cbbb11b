"""A run that learns nothing is ended with advice; one that merely begins is not."""

import math
from typing import Any

import pytest

from faceops.base.errors import FaceOpsError
from faceops.embedding.training.progress_figures import check_alive


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    figures = {"loss": 0.3, "spread": 0.9, "positive_distance": 1.0, "negative_distance": 1.9}
    return {"epoch": epoch, "phase": "triplet"} | figures | changes


STUCK = {"loss": 0.8, "positive_distance": 1.79, "negative_distance": 1.8}


def test_a_run_that_learns_goes_on() -> None:
    check_alive([row(1), row(2)])
    check_alive([{"epoch": 0, "phase": "start"}, row(1, **STUCK)])
    check_alive([row(1, **STUCK), row(2), row(3, **STUCK)])
    check_alive([row(1, phase="warmup", **STUCK), row(2, phase="warmup", **STUCK)])


def test_a_loss_stuck_at_the_margin_is_told_after_two_epochs() -> None:
    with pytest.raises(
        FaceOpsError, match=r"since epoch 4 the loss is stuck at the margin"
    ) as told:
        check_alive([row(3), row(4, **STUCK), row(5, **STUCK)])
    assert "raise train.warmup_epochs" in str(told.value)


def test_one_point_and_no_number_are_told_at_once() -> None:
    with pytest.raises(FaceOpsError, match=r"in epoch 1 the embeddings collapsed to one point"):
        check_alive([row(1, spread=0.05)])
    with pytest.raises(FaceOpsError, match=r"the loss of epoch 2 is nan"):
        check_alive([row(1), row(2, loss=math.nan)])
