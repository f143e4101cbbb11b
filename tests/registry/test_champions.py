"""The log of champions, and whom a rollback goes back to."""

import json

import pytest

from faceops.base.errors import FaceOpsError
from faceops.registry.versions import (
    CHAMPIONS_TAG,
    FIRST,
    MOVED,
    PROMOTED,
    ROLLED_BACK,
    Event,
    champions,
    cut_off_event,
    earlier_champion,
    note_champion,
    tags_of,
)


def log(*steps: tuple[int, str]) -> list[Event]:
    """Return events one millisecond apart."""
    return [
        Event(version, how, f"2026-01-01T00:00:00.{at:03}+00:00", "", "")
        for at, (version, how) in enumerate(steps)
    ]


@pytest.mark.parametrize(
    ("steps", "now", "target"),
    [
        ([(1, FIRST)], 1, None),
        ([(1, FIRST), (2, PROMOTED)], 2, 1),
        ([(1, FIRST), (2, PROMOTED), (3, PROMOTED)], 3, 2),
        # A second rollback goes on to the one before, not back to what was rolled back.
        ([(1, FIRST), (2, PROMOTED), (3, PROMOTED), (2, ROLLED_BACK)], 2, 1),
        ([(1, FIRST), (2, PROMOTED), (1, ROLLED_BACK), (3, PROMOTED)], 3, 1),
        # Promoted again after a rollback.
        ([(1, FIRST), (2, PROMOTED), (1, ROLLED_BACK), (2, PROMOTED)], 2, 1),
        # Moved in the UI: noted or not yet noted.
        ([(1, FIRST), (2, PROMOTED)], 4, 2),
        ([(1, FIRST), (2, PROMOTED), (4, MOVED)], 4, 2),
        # Nobody holds the alias.
        ([(1, FIRST), (2, PROMOTED)], None, 2),
        # Deleted since.
        ([(1, FIRST), (9, PROMOTED), (2, PROMOTED)], 2, 1),
        ([], 3, None),
    ],
)
def test_a_rollback_goes_back_to_the_champion_before(
    steps: list[tuple[int, str]], now: int | None, target: int | None
) -> None:
    assert earlier_champion(log(*steps), now, {1, 2, 3, 4}) == target


def test_a_move_without_its_entry_is_known_by_its_tags() -> None:
    events = log((1, FIRST), (2, PROMOTED))
    late = Event(1, ROLLED_BACK, "2026-01-01T00:00:01.000+00:00", "me", "so")
    assert cut_off_event(1, tags_of(late), events) == late
    assert cut_off_event(1, tags_of(events[0]), events) is None
    assert cut_off_event(1, {}, events) is None


@pytest.mark.slow
def test_an_entry_that_is_not_readable_costs_no_other_and_a_ruined_log_is_not_written_over(
    registry: object,
) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    entries = [*map(vars, log((1, FIRST), (2, PROMOTED))), {"version": 3, "mood": "good"}]
    client.set_registered_model_tag("faceops", CHAMPIONS_TAG, json.dumps(entries))
    assert [event.version for event in champions()] == [1, 2]
    note_champion(Event.now(4, PROMOTED, "x" * 1000))
    assert [event.version for event in champions()] == [1, 2, 4]
    assert len(champions()[-1].because) < 300
    for number in range(40):
        note_champion(Event.now(number, PROMOTED, "x" * 200))
    assert len(client.get_registered_model("faceops").tags[CHAMPIONS_TAG]) < 5000
    assert champions()[-1].version == 39
    client.set_registered_model_tag("faceops", CHAMPIONS_TAG, "[ruined")
    with pytest.raises(FaceOpsError, match="no log of champions any more"):
        note_champion(Event.now(1, PROMOTED))
    assert client.get_registered_model("faceops").tags[CHAMPIONS_TAG] == "[ruined"
