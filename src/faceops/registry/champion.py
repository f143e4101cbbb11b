"""The champion: its alias, the log of its moves, promotion and rollback.

The version with the alias `champion` is the champion; people may move the alias in MLflow's UI. The
log of its moves, a tag of the registered model, tells a rollback which version was champion before.
"""

import getpass
import json
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow

from faceops.base.errors import FaceOpsError
from faceops.base.files import file_lock
from faceops.registry import store
from faceops.registry.fetch import require_loadable
from faceops.registry.store import CHAMPION, MODEL, Version, champion, store_errors

CHAMPIONS_TAG = "champions"
FIRST, PROMOTED, ROLLED_BACK, MOVED = "first", "promoted", "rolled back", "moved elsewhere"
WITHDRAWN = "withdrawn"  # the tag `gate` of a version that was rolled back
_LONGEST = 200  # characters of a reason in the log; the tag of the version has all of it
_TAG_LONGEST = 4500  # characters: some stores keep 5,000


@dataclass(frozen=True)
class Event:
    """`version` became champion at the time `at` (UTC); `how` is one of the words above."""

    version: int
    how: str
    at: str
    by: str
    because: str

    @classmethod
    def now(cls, version: int, how: str, because: str = "") -> "Event":
        try:
            user = getpass.getuser()
        except (OSError, KeyError):  # a user id without a name, as in containers
            user = "unknown"
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(version, how, at, user, because)


def champions() -> list[Event]:
    """Return the log, oldest first; entries that are not readable are left out."""
    events = []
    for entry in _entries():
        with suppress(TypeError):
            events.append(Event(**entry))
    return events


def note_champion(event: Event) -> None:
    """Add to the log, which keeps as many of the latest entries as a tag can hold.

    Raises FaceOpsError: the tag is not readable as a log.
    """
    if len(event.because) > _LONGEST:
        event = replace(event, because=f"{event.because[:_LONGEST]}...")
    entries = [*_entries(), asdict(event)]
    while len(text := json.dumps(entries, ensure_ascii=False)) > _TAG_LONGEST:
        entries = entries[1:]
    with store_errors("writing the log of champions"):
        mlflow.MlflowClient().set_registered_model_tag(MODEL, CHAMPIONS_TAG, text)


def _entries() -> list[Any]:
    with store_errors("reading the log of champions"):
        found = mlflow.MlflowClient().search_registered_models(f"name = '{MODEL}'")
    text = found[0].tags.get(CHAMPIONS_TAG) if found else None
    try:
        entries = json.loads(text or "[]")
    except ValueError:
        entries = None
    if not isinstance(entries, list):
        raise FaceOpsError(
            f"the tag {CHAMPIONS_TAG} of the registered model {MODEL} is not a log of champions; "
            "repair it in MLflow's UI, or delete it to start a new log."
        )
    return entries


def complete_log() -> Event | None:
    """Add the present champion's promotion to the log if it is missing.

    Returns the entry of a move that was interrupted before it wrote the log: the tags of the
    version are written before the alias moves, so they are later than the log. Else the alias was
    moved elsewhere, such as in MLflow's UI.
    """
    current, log = champion(), champions()
    if current is None or (log and log[-1].version == current.version):
        return None
    with store_errors(f"reading version {current.version}"):
        tags = mlflow.MlflowClient().get_model_version(MODEL, str(current.version)).tags
    names = ("how", "since", "by", "because")
    interrupted = Event(current.version, *(tags.get(f"champion_{name}", "") for name in names))
    if log and interrupted.at > log[-1].at:
        note_champion(interrupted)
        return interrupted
    note_champion(Event.now(current.version, MOVED, "found as champion"))
    return None


def previous_champion(
    events: Sequence[Event], current: int | None, existing: Collection[int]
) -> int | None:
    """Return the champion before `current`, the version with the alias; None if unknown.

    A rollback undoes all moves after its target. Where the latest entry is not `current`, the
    alias was moved elsewhere, and that entry is the champion before. Deleted versions are skipped.
    """
    stack: list[int] = []
    for event in events:
        if event.how == ROLLED_BACK and event.version in stack:
            while stack[-1] != event.version:
                stack.pop()
        elif not stack or stack[-1] != event.version:
            stack.append(event.version)
    while stack and (stack[-1] == current or stack[-1] not in existing):
        stack.pop()
    return stack[-1] if stack else None


def promotion_lock() -> AbstractContextManager[None]:
    """Lock the store that MLflow points at, for processes that share its address and this cache.

    Raises FaceOpsError: another process holds the lock.
    """
    address = mlflow.get_tracking_uri()
    path = store.store_cache(address) / "promotion.lock"
    return file_lock(path, f"the champion at {address} is being chosen")


def move_champion(to: Version, seen: Version | None, how: str, because: str) -> None:
    """Give `to` the alias champion, add it to the log, and remove its alias challenger.

    Call it under `promotion_lock`: no other process on this machine can then promote between the
    check that `seen` is still champion and the move. MLflow moves an alias in one transaction, so
    there is one champion at any moment. If the process is killed after that, `complete_log` adds
    the entry from the version's tags. The lock does not reach other machines, so the log is read
    again after the move: if another machine wrote to it, its version gets the alias back.

    `seen`: the champion that the decision was made against; None where there was none.

    Raises:
        FaceOpsError: the champion has changed.
        StoreError: the store failed.
    """
    log, current = champions(), champion()
    if current is not None and current.version == to.version:  # another process was first
        end_challenge(to)
        return
    if (current and current.version) != (seen and seen.version):
        what = f"version {current.version} became" if current else "no version is any longer"
        raise FaceOpsError(
            f"{what} champion meanwhile, so version {to.version} was not made champion; run it"
            " again."
        )
    event = Event.now(to.version, how, because)
    tags = {"since": event.at, "how": how, "by": event.by, "because": because}
    with store_errors(f"making version {to.version} champion"):
        client = mlflow.MlflowClient()
        for name, value in tags.items():
            client.set_model_version_tag(MODEL, str(to.version), f"champion_{name}", value)
        client.set_registered_model_alias(MODEL, CHAMPION, str(to.version))
    latest = champions()
    other = latest[-1].version if latest and latest != log else None
    if other not in (None, to.version):
        with store_errors(f"giving the alias {CHAMPION} back to version {other}"):
            client.set_registered_model_alias(MODEL, CHAMPION, str(other))
        raise FaceOpsError(
            f"version {other} was made champion by another machine at the same time, so version"
            f" {to.version} is not champion; run it again."
        )
    if other is None:  # else another machine has completed the log with this move
        note_champion(event)
    end_challenge(to)


def end_challenge(version: Version) -> None:
    """Remove the alias challenger from the version, if it has it."""
    with store_errors(f"removing the alias {store.CHALLENGER} from version {version.version}"):
        client = mlflow.MlflowClient()
        holder = client.get_registered_model(MODEL).aliases.get(store.CHALLENGER)
        if str(holder) == str(version.version):
            client.delete_registered_model_alias(MODEL, store.CHALLENGER)


def rollback(because: str = "", root: Path | None = None) -> tuple[Version, int | None]:
    """Make the previous champion champion again; return it, and the version that it replaced.

    The gate is not asked: that release was champion before; its bundle is fetched and checked
    first. The verdict on the replaced version is withdrawn, so that it is never promoted
    automatically. An interrupted rollback is completed, not done twice.

    `root`: the folder of the local MLflow store if no server is set; default: here.

    Raises:
        FaceOpsError: the previous champion is unknown, or its bundle is damaged.
        StoreError: the store does not answer.
    """
    with promotion_lock():
        before, current = champions(), champion()
        interrupted = complete_log()
        if current is not None and interrupted is not None and interrupted.how == ROLLED_BACK:
            return current, before[-1].version
        existing = {one.version: one for one in store.versions()}
        number = previous_champion(champions(), current.version if current else None, existing)
        if number is None:
            now = f"version {current.version}, the champion," if current else "now"
            raise FaceOpsError(
                f"no champion before {now} is known; name one: `faceops release promote VERSION"
                ' --override "reason"`.'
            )
        target = existing[number]
        require_loadable(target, root)
        reason = because or "there was no champion"
        if current is not None:
            withdraw(current, because)
            reason = because or f"from version {current.version}"
        move_champion(target, current, ROLLED_BACK, reason)
    return store.find_version(str(number)), current.version if current else None


def withdraw(version: Version, because: str) -> None:
    """Withdraw the verdict on `version`; a promotion by a person measures it again."""
    with store_errors(f"withdrawing the verdict on version {version.version}"):
        client, number = mlflow.MlflowClient(), str(version.version)
        entry = client.get_model_version(MODEL, number)
        if entry.tags.get("gate") == WITHDRAWN:  # by an interrupted rollback
            return
        reason = f"rolled back from{f': {because}' if because else ''}"
        description = store.with_withdrawal(entry.description or "", reason)
        client.update_model_version(MODEL, number, description)
        client.set_model_version_tag(MODEL, number, "gate", WITHDRAWN)
