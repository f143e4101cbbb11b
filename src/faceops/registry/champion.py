"""Move the alias `champion`: the one step that counts, between two that can be done again."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import mlflow

from faceops.base.errors import FaceOpsError
from faceops.base.locks import file_lock
from faceops.registry.register import with_withdrawal
from faceops.registry.store import CHALLENGER, CHAMPION, MODEL, store_cache, store_errors
from faceops.registry.versions import (
    MOVED,
    ROLLED_BACK,
    Event,
    Version,
    champion,
    champions,
    cut_off_event,
    earlier_champion,
    find_version,
    note_champion,
    tags_of,
    versions,
)


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
    from faceops.registry.fetch import load_found
    from faceops.release.bundle import Bundle

    load_found(version.address, lambda it: Bundle.load(it.folder, name=it.name), root)


def end_challenge(version: Version) -> None:
    """Take the alias challenger from the version, where it has it now."""
    import mlflow

    with store_errors(f"ending the challenge of version {version.version}"):
        client = mlflow.MlflowClient()
        holder = client.get_registered_model(MODEL).aliases.get(CHALLENGER)
        if str(holder) == str(version.version):
            client.delete_registered_model_alias(MODEL, CHALLENGER)


def complete_log() -> Event | None:
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


def promotion_lock() -> AbstractContextManager[None]:
    """Hold the store that MLflow points at, for processes here with its address and this cache.

    A promotion from elsewhere is not kept out; `move_champion` sees it.

    Raises:
        FaceOpsError: another process holds it.
    """
    address = mlflow.get_tracking_uri()
    path = store_cache(address) / "promotion.lock"
    return file_lock(path, f"the champion at {address} is being chosen")


WITHDRAWN = "withdrawn"  # the tag gate of a version that was rolled back from


def rollback(because: str = "", root: Path | None = None) -> tuple[Version, int | None]:
    """Make the champion before the present one champion again; return it, and who was until then.

    It needs no gate: that release was champion before; its bundle is fetched and checked first.
    The verdict that let the present one pass is withdrawn: a rebuild must not bring back what a
    person took away. A rollback that was cut off is ended, not done twice.

    Args:
        because: why, for the log and the version's page.
        root: where the local MLflow store lies when no server is set; default: here.

    Raises:
        FaceOpsError: no champion before is known, or its bundle is damaged.
        StoreError: the store does not answer.
    """
    with promotion_lock():
        before, now = champions(), champion()
        cut_off = complete_log()
        if now is not None and cut_off is not None and cut_off.how == ROLLED_BACK:
            return now, before[-1].version
        existing = {one.version: one for one in versions()}
        number = earlier_champion(champions(), now.version if now else None, existing)
        if number is None:
            held = f"version {now.version}, the champion," if now else "now"
            raise FaceOpsError(
                f"no champion before {held} is known; name one: `faceops release promote VERSION"
                ' --override "reason"`.'
            )
        target = existing[number]
        require_whole(target, root)
        if now is not None:
            withdraw(now, because)
        told = because or (f"from version {now.version}" if now else "there was no champion")
        move_champion(target, now, ROLLED_BACK, told)
    return find_version(str(number)), now.version if now else None


def withdraw(version: Version, because: str) -> None:
    """Take back the verdict on `version`; promoted by a person, it is measured anew."""
    import mlflow

    told = f"rolled back from{f': {because}' if because else ''}"
    with store_errors(f"withdrawing the verdict on version {version.version}"):
        client, number = mlflow.MlflowClient(), str(version.version)
        entry = client.get_model_version(MODEL, number)
        if entry.tags.get("gate") == WITHDRAWN:  # by a rollback that was cut off
            return
        described = with_withdrawal(entry.description or "", told)
        client.update_model_version(MODEL, number, described)
        client.set_model_version_tag(MODEL, number, "gate", WITHDRAWN)
