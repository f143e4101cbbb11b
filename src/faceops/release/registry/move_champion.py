"""Move the alias `champion`: the one step that counts, between two that can be done again."""

from pathlib import Path
from typing import NoReturn

from faceops.base.errors import FaceOpsError
from faceops.release.registry.champions import (
    MOVED,
    Event,
    champions,
    cut_off_event,
    note_champion,
    tags_of,
)
from faceops.release.registry.store import CHALLENGER, CHAMPION, MODEL, store_errors
from faceops.release.registry.versions import Version, champion


def move_champion(to: Version, seen: Version | None, how: str, because: str) -> None:
    """Give `to` the alias champion, write it into the log, and end its challenge.

    MLflow moves an alias in one transaction, so there is one champion at any moment. Killed before
    it, nothing has happened; killed after it, the next move finds the tags and mends the log. Two
    machines are not kept apart by the lock: of two that move at the same time the later one is
    told, and gives the alias back.

    Args:
        seen: the champion that the decision was made against; None where there was none.
        how: a word of `champions`; it and `because` go into the log and onto the version.

    Raises:
        FaceOpsError: the champion is another one by now.
        StoreError: the store failed; what was done by then is as told above.
    """
    import mlflow

    now, log = champion(), champions()
    if now is not None and now.version == to.version:  # another process had the same wish
        end_challenge(to)
        return
    if (now and now.version) != (seen and seen.version):
        held = f"version {now.version}" if now else "nobody"
        raise FaceOpsError(
            f"{held} became champion meanwhile, and version {to.version} was not compared with"
            " it; run it again."
        )
    event = Event.now(to.version, how, because)
    with store_errors(f"making version {to.version} champion"):
        client = mlflow.MlflowClient()
        for name, value in tags_of(event).items():
            client.set_model_version_tag(MODEL, str(to.version), name, value)
        client.set_registered_model_alias(MODEL, CHAMPION, str(to.version))
    latest = champions()
    if latest != log and latest:  # somebody else was through between our look and our move
        _give_back(latest[-1].version, to)
    note_champion(event)
    end_challenge(to)


def _give_back(number: int, to: Version) -> NoReturn:
    import mlflow

    with store_errors(f"giving version {number} its alias back"):
        mlflow.MlflowClient().set_registered_model_alias(MODEL, CHAMPION, str(number))
    raise FaceOpsError(
        f"version {number} was made champion by another machine at the same time, and version"
        f" {to.version} was not compared with it; run it again."
    )


def require_whole(version: Version, root: Path | None = None) -> None:
    """Fetch the version's bundle and load it; `root` is as in `find_release`.

    Raises:
        FaceOpsError: it is damaged, or this faceops cannot use it.
    """
    from faceops.release.bundle import Bundle
    from faceops.release.registry.find_release import load_found

    load_found(version.address, lambda it: Bundle.load(it.folder, name=it.name), root)


def end_challenge(version: Version) -> None:
    """Take the alias challenger from the version, where it has it now."""
    import mlflow

    with store_errors(f"ending the challenge of version {version.version}"):
        client = mlflow.MlflowClient()
        holder = client.get_registered_model(MODEL).aliases.get(CHALLENGER)
        if str(holder) == str(version.version):
            client.delete_registered_model_alias(MODEL, CHALLENGER)


def mend_log() -> Event | None:
    """Add to the log how the present champion came to be, where it does not know that.

    Returns the move that was cut off before it wrote its entry, if that is the reason; else the
    alias was moved elsewhere, such as in MLflow's UI.
    """
    import mlflow

    now, log = champion(), champions()
    if now is None or (log and log[-1].version == now.version):
        return None
    with store_errors(f"reading version {now.version}"):
        tags = mlflow.MlflowClient().get_model_version(MODEL, str(now.version)).tags
    cut_off = cut_off_event(now.version, tags, log)
    note_champion(cut_off or Event.now(now.version, MOVED, "found as champion"))
    return cut_off
