"""The alias moves once: interrupted, raced or moved by hand, one champion is left and a log."""

import json
from collections.abc import Callable

import mlflow
import pytest

from faceops.base.errors import FaceOpsError
from faceops.registry.champion import (
    CHAMPIONS_TAG,
    FIRST,
    MOVED,
    PROMOTED,
    ROLLED_BACK,
    Event,
    champions,
    complete_log,
    move_champion,
    note_champion,
    previous_champion,
    promotion_lock,
    rollback,
)
from faceops.registry.register import give_alias
from faceops.registry.store import champion, find_version, versions


def aliases() -> dict[str, list[int]]:
    """Return alias -> versions that have it."""
    found: dict[str, list[int]] = {}
    for one in versions():
        for alias in one.aliases:
            found.setdefault(alias, []).append(one.version)
    return found


def interrupted(move: Callable[[], object]) -> None:
    """Run a promotion or a rollback that ends right after the alias has moved."""
    set_alias = mlflow.MlflowClient.set_registered_model_alias

    def last(*arguments: str) -> None:
        set_alias(*arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", last)
        with pytest.raises(KeyboardInterrupt):
            move()


@pytest.mark.parametrize(
    ("steps", "current", "target"),
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
        # No version has the alias.
        ([(1, FIRST), (2, PROMOTED)], None, 2),
        # Deleted since.
        ([(1, FIRST), (9, PROMOTED), (2, PROMOTED)], 2, 1),
        ([], 3, None),
    ],
)
def test_a_rollback_goes_back_to_the_champion_before(steps, current, target):
    log = [Event(version, how, "2026-01-01", "", "") for version, how in steps]
    assert previous_champion(log, current, {1, 2, 3, 4}) == target


def test_an_unreadable_entry_is_left_out_and_an_unreadable_log_is_not_overwritten(registry):
    client = mlflow.MlflowClient()
    entries = [vars(Event.now(1, FIRST)), {"version": 3, "mood": "good"}]
    client.set_registered_model_tag("faceops", CHAMPIONS_TAG, json.dumps(entries))
    note_champion(Event.now(4, PROMOTED, "x" * 1000))
    assert [event.version for event in champions()] == [1, 4]
    assert len(champions()[-1].because) < 300
    for number in range(20):
        note_champion(Event.now(number, PROMOTED, "x" * 200))
    assert len(client.get_registered_model("faceops").tags[CHAMPIONS_TAG]) < 5000
    assert champions()[-1].version == 19
    client.set_registered_model_tag("faceops", CHAMPIONS_TAG, "[unreadable")
    with pytest.raises(FaceOpsError, match="is not a log of champions"):
        note_champion(Event.now(1, PROMOTED))
    assert client.get_registered_model("faceops").tags[CHAMPIONS_TAG] == "[unreadable"


def test_a_promotion_moves_the_alias_ends_the_challenge_and_says_why(registry):
    move_champion(registry[4], registry[1], PROMOTED, "it passed")
    assert aliases() == {"champion": [4]}
    tags = mlflow.MlflowClient().get_model_version("faceops", "4").tags
    assert (tags["champion_how"], tags["champion_because"]) == ("promoted", "it passed")
    assert [event.version for event in champions()] == [1, 4]


def test_an_interrupted_promotion_leaves_one_champion_and_rollback_finds_the_one_before(registry):
    interrupted(lambda: move_champion(registry[4], registry[1], PROMOTED, "it passed"))
    assert aliases()["champion"] == [4]
    assert rollback()[0].version == 1
    assert [event.how for event in champions()] == ["first", "promoted", "rolled back"]


def test_an_interrupted_rollback_is_completed_not_done_twice(registry):
    move_champion(registry[2], registry[1], PROMOTED, "")
    move_champion(registry[4], champion(), PROMOTED, "")
    interrupted(rollback)
    assert aliases()["champion"] == [2]
    assert rollback()[0].version == 2
    assert aliases()["champion"] == [2]
    assert rollback()[0].version == 1


def test_a_champion_that_changed_in_between_is_not_overwritten(registry):
    move_champion(registry[2], registry[1], PROMOTED, "")
    with pytest.raises(FaceOpsError, match="version 2 became champion meanwhile"):
        move_champion(registry[4], registry[1], PROMOTED, "")
    assert aliases()["champion"] == [2]


def test_two_machines_that_move_at_once_leave_one_champion_and_one_is_refused(
    registry, monkeypatch
):
    move = mlflow.MlflowClient.set_registered_model_alias

    def late(client: mlflow.MlflowClient, name: str, alias: str, version: str) -> None:
        monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", move)
        move_champion(registry[2], registry[1], PROMOTED, "by the other machine")
        move(client, name, alias, version)

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", late)
    with pytest.raises(FaceOpsError, match="version 2 was made champion by another machine"):
        move_champion(registry[3], registry[1], PROMOTED, "by this one")
    assert aliases()["champion"] == [2]
    assert [event.version for event in champions()] == [1, 2]


def test_a_move_that_another_machine_adds_to_the_log_is_kept_and_logged_once(registry, monkeypatch):
    move = mlflow.MlflowClient.set_registered_model_alias

    def seen(client: mlflow.MlflowClient, name: str, alias: str, version: str) -> None:
        move(client, name, alias, version)
        complete_log()

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", seen)
    move_champion(registry[3], registry[1], PROMOTED, "by this machine")
    assert aliases()["champion"] == [3]
    assert [event.version for event in champions()] == [1, 3]


def test_one_promotion_at_a_time(registry):
    with (
        promotion_lock(),
        pytest.raises(FaceOpsError, match=r"is being chosen by another faceops process \(pid \d+"),
    ):
        rollback()


def test_a_champion_moved_in_the_ui_is_noted_and_rolled_back_from(registry):
    move_champion(registry[2], registry[1], PROMOTED, "")
    mlflow.MlflowClient().set_registered_model_alias("faceops", "champion", "3")
    assert complete_log() is None
    assert champions()[-1].how == "moved elsewhere"
    assert rollback()[0].version == 2


def test_an_alias_that_was_removed_is_restored(registry):
    mlflow.MlflowClient().delete_registered_model_alias("faceops", "champion")
    version, before = rollback()
    assert (version.version, before) == (1, None)
    assert aliases()["champion"] == [1]


def test_a_rollback_to_a_release_that_is_damaged_in_the_store_is_refused(registry, store_folder):
    move_champion(registry[2], registry[1], PROMOTED, "")
    source = str(mlflow.MlflowClient().get_model_version("faceops", "1").source)
    folder = source.removeprefix("models:/")
    (model,) = store_folder.glob(f"mlartifacts/**/{folder}/**/bundle/embedder.onnx")
    content = model.read_bytes()
    try:
        model.write_bytes(content[:-1] + b"?")
        with pytest.raises(FaceOpsError, match="version 1 of faceops is damaged in the store: emb"):
            rollback()
        assert aliases()["champion"] == [2]
    finally:
        model.write_bytes(content)


def test_an_interrupted_registration_is_completed_by_the_next(registry):
    client = mlflow.MlflowClient()
    client.delete_registered_model_alias("faceops", "challenger")
    assert give_alias(4).aliases == ("challenger",)
    assert give_alias(4).aliases == ("challenger",)
    assert give_alias(3).aliases == ()  # not the newest
    client.set_registered_model_tag("faceops", CHAMPIONS_TAG, "[]")
    client.delete_registered_model_alias("faceops", "champion")
    assert give_alias(1).aliases == ("champion",)
    assert [event.how for event in champions()] == ["first"]
    client.delete_registered_model_alias("faceops", "champion")
    assert give_alias(1).aliases == ()  # somebody removed it


def test_a_version_that_was_rolled_back_does_not_become_challenger_again(registry):
    move_champion(registry[4], registry[1], PROMOTED, "")
    rollback()
    assert give_alias(4).aliases == ()
    assert find_version("4").gate == "withdrawn"
