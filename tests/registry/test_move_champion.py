"""The alias moves once and for good: killed, raced or moved by hand, there is one champion."""

import subprocess
import sys
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.registry.champion import complete_log, move_champion, promotion_lock, rollback
from faceops.registry.register import give_alias
from faceops.registry.versions import (
    CHAMPIONS_TAG,
    PROMOTED,
    Version,
    champion,
    champions,
    versions,
)

pytestmark = pytest.mark.slow

Registry = dict[int, Version]
KILLED = """
import os, signal, sys, mlflow
from faceops.registry.champion import move_champion
from faceops.registry.champion import rollback
from faceops.registry.store import point_at_store
from faceops.registry.versions import champion, find_version
from pathlib import Path

point_at_store(Path.cwd())
what, when = sys.argv[1:]
move = mlflow.MlflowClient.set_registered_model_alias

def killed(*arguments):
    if when == "after":
        move(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

mlflow.MlflowClient.set_registered_model_alias = killed
if what == "promote":
    move_champion(find_version("4"), champion(), "promoted", "it passed")
else:
    rollback()
"""


def held() -> dict[str, list[int]]:
    """Return alias -> versions that have it."""
    found: dict[str, list[int]] = {}
    for one in versions():
        for alias in one.aliases:
            found.setdefault(alias, []).append(one.version)
    return found


def kill(what: str, when: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, what, when], check=False)
    assert done.returncode == -9


def test_a_promotion_moves_the_alias_ends_the_challenge_and_says_why(registry: Registry) -> None:
    import mlflow

    move_champion(registry[4], registry[1], PROMOTED, "it passed")
    assert held() == {"champion": [4]}
    tags = mlflow.MlflowClient().get_model_version("faceops", "4").tags
    assert (tags["champion_how"], tags["champion_because"]) == ("promoted", "it passed")
    assert [event.version for event in champions()] == [1, 4]


@pytest.mark.parametrize(("when", "then"), [("before", 1), ("after", 4)])
def test_a_killed_promotion_leaves_one_champion_and_rollback_finds_the_one_before(
    registry: Registry, when: str, then: int
) -> None:
    kill("promote", when)
    assert held()["champion"] == [then]
    if then == 4:
        assert rollback()[0].version == 1
        assert [event.how for event in champions()] == ["first", "promoted", "rolled back"]
    else:
        with pytest.raises(FaceOpsError, match="no champion before version 1"):
            rollback()


def test_a_killed_rollback_is_ended_not_done_twice(registry: Registry) -> None:
    move_champion(registry[2], registry[1], PROMOTED, "")
    move_champion(registry[4], champion(), PROMOTED, "")
    kill("rollback", "after")
    assert held()["champion"] == [2]
    assert rollback()[0].version == 2
    assert held()["champion"] == [2]
    assert rollback()[0].version == 1


def test_a_champion_that_changed_meanwhile_is_not_overwritten(registry: Registry) -> None:
    move_champion(registry[2], registry[1], PROMOTED, "")
    with pytest.raises(FaceOpsError, match="version 2 became champion meanwhile"):
        move_champion(registry[4], registry[1], PROMOTED, "")
    assert held()["champion"] == [2]


def test_one_promotion_at_a_time(registry: Registry) -> None:
    with (
        promotion_lock(),
        pytest.raises(FaceOpsError, match=r"is being chosen by another faceops process \(pid \d+"),
    ):
        rollback()


def test_a_champion_moved_in_the_ui_is_noted_and_rolled_back_from(registry: Registry) -> None:
    import mlflow

    move_champion(registry[2], registry[1], PROMOTED, "")
    mlflow.MlflowClient().set_registered_model_alias("faceops", "champion", "3")
    assert complete_log() is None
    assert champions()[-1].how == "moved elsewhere"
    assert rollback()[0].version == 2


def test_an_alias_that_was_taken_away_is_put_back(registry: Registry) -> None:
    import mlflow

    mlflow.MlflowClient().delete_registered_model_alias("faceops", "champion")
    version, before = rollback()
    assert (version.version, before) == (1, None)
    assert held()["champion"] == [1]


def test_a_release_that_is_damaged_in_the_store_is_not_rolled_back_to(
    registry: Registry, store_folder: Path
) -> None:
    move_champion(registry[2], registry[1], PROMOTED, "")
    (model,) = [
        path
        for path in store_folder.glob("mlartifacts/**/bundle/embedder.onnx")
        if is_version(path, registry[1])
    ]
    content = model.read_bytes()
    try:
        model.write_bytes(content[:-1] + b"?")
        with pytest.raises(FaceOpsError, match="version 1 of faceops is damaged in the store: emb"):
            rollback()
        assert held()["champion"] == [2]
    finally:
        model.write_bytes(content)


def test_two_machines_that_move_at_once_leave_one_champion_and_one_is_told(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    move = mlflow.MlflowClient.set_registered_model_alias

    def late(client: mlflow.MlflowClient, name: str, alias: str, version: str) -> None:
        monkeypatch.undo()  # the other machine, which took no notice of our lock
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
        move_champion(registry[2], registry[1], PROMOTED, "the other")
        move(client, name, alias, version)

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", late)
    with pytest.raises(FaceOpsError, match="version 2 was made champion by another machine"):
        move_champion(registry[3], registry[1], PROMOTED, "this one")
    assert held()["champion"] == [2]
    assert [event.version for event in champions()] == [1, 2]


def test_a_registration_that_was_cut_off_before_its_alias_is_ended_by_the_next(
    registry: Registry,
) -> None:
    import mlflow

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
    assert give_alias(1).aliases == ()  # somebody took it away


def test_what_passed_and_was_rolled_back_from_is_no_challenger_again(registry: Registry) -> None:
    move_champion(registry[4], registry[1], PROMOTED, "")
    rollback()
    assert give_alias(4).aliases == ()


def is_version(path: Path, version: Version) -> bool:
    import mlflow

    entry = mlflow.MlflowClient().get_model_version("faceops", str(version.version))
    return str(entry.source).removeprefix("models:/") in str(path)
