"""Classification first, then each miner for its share of the triplet epochs."""

import pytest
from pydantic import ValidationError

from faceops.config.sections import Train
from faceops.embedding.training.epoch_batches import miner_of, next_epoch, phase_of


def settings(**changes: object) -> Train:
    return Train.model_validate({"warmup_epochs": 2, "triplet_epochs": 10, "patience": 3} | changes)


def test_semi_hard_for_two_fifths_then_hard() -> None:
    schedule = settings(miners={"semi_hard": 0.4, "batch_hard": 1.0})
    assert [phase_of(epoch, schedule) for epoch in (1, 2, 3, 12)] == [
        "warmup", "warmup", "triplet", "triplet",
    ]  # fmt: skip
    miners = [miner_of(epoch, schedule) for epoch in range(1, 13)]
    assert miners == ["", "", *["semi_hard"] * 4, *["batch_hard"] * 6]


def test_miners_follow_each_other_by_their_shares_however_a_file_sorts_them() -> None:
    schedule = settings(miners={"batch_hard": 1.0, "semi_hard": 0.4})
    assert [miner_of(epoch, schedule) for epoch in (3, 12)] == ["semi_hard", "batch_hard"]


def test_shares_that_fall_between_epochs_lose_none() -> None:
    thirds = settings(triplet_epochs=2, miners={"random": 0.3, "semi_hard": 0.6, "batch_all": 1.0})
    assert [miner_of(epoch, thirds) for epoch in (3, 4)] == ["random", "semi_hard"]


def test_patience_moves_on_to_triplets_then_ends() -> None:
    warmup, triplet = {"epoch": 1, "phase": "warmup"}, {"epoch": 5, "phase": "triplet"}
    assert next_epoch(warmup, 2, settings()) == 2
    assert next_epoch(warmup, 3, settings()) == 3
    assert next_epoch(triplet, 2, settings()) == 6
    assert next_epoch(triplet, 3, settings()) is None
    assert next_epoch(warmup, 3, settings(triplet_epochs=0)) is None


@pytest.mark.parametrize(
    "miners",
    [{}, {"semi_hard": 0.4}, {"semi_hard": 1.0, "batch_hard": 1.0}, {"random": 0, "global": 1.0}],
)
def test_shares_that_do_not_rise_to_one_are_refused(miners: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=r"must rise from above 0 to 1.0"):
        settings(miners=miners)
