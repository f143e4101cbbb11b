"""Who was champion, since when and why: a log in a tag of the registered model.

The alias `champion` itself is the truth, and people may move it in MLflow's UI. The log follows
it, so that the one before can be found again.
"""

import getpass
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.release.registry.store import MODEL, store_errors

CHAMPIONS_TAG = "champions"
_LONGEST = 200  # characters of a reason here; the version's own tag has all of it
_TAG_LONGEST = 4500  # characters: some stores keep 5,000
FIRST, PROMOTED, ROLLED_BACK, MOVED = "first", "promoted", "rolled back", "moved elsewhere"


@dataclass(frozen=True)
class Event:
    """`version` became champion at `at` (UTC), by `how`, one of the words above."""

    version: int
    how: str
    at: str
    by: str
    because: str

    @classmethod
    def now(cls, version: int, how: str, because: str = "") -> "Event":
        """Return an event of this moment and this user."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(version, how, at, user(), because)

    def shortened(self) -> "Event":
        """Return it with a reason that fits the log."""
        short = self.because if len(self.because) <= _LONGEST else f"{self.because[:_LONGEST]}..."
        return replace(self, because=short)


def tags_of(event: Event) -> dict[str, str]:
    """Return what the page of the version says of it."""
    return {
        "champion_since": event.at,
        "champion_how": event.how,
        "champion_by": event.by,
        "champion_because": event.because,
    }


def cut_off_event(version: int, tags: Mapping[str, str], events: Sequence[Event]) -> Event | None:
    """Return the move that made the champion `version`, if it was killed before its log entry.

    Its tags are written before the alias moves, so they are later than the log.
    """
    at = tags.get("champion_since", "")
    if not events or at <= events[-1].at:
        return None
    how, by, because = (tags.get(f"champion_{name}", "") for name in ("how", "by", "because"))
    return Event(version, how, at, by, because)


def user() -> str:
    """Return the name of whoever runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        return "unknown"


def champions() -> list[Event]:
    """Return the log, oldest first; an entry that is not readable is left out."""
    return [event for entry in _entries() if (event := _event(entry)) is not None]


def note_champion(*events: Event) -> None:
    """Add to the log, which keeps as many of the latest as a store's tag can hold.

    Raises:
        FaceOpsError: what is there is no log, and would be lost.
    """
    import mlflow

    entries = [*_entries(), *(asdict(event.shortened()) for event in events)]
    while len(text := json.dumps(entries, ensure_ascii=False)) > _TAG_LONGEST:
        entries = entries[1:]
    with store_errors("writing the log of champions"):
        mlflow.MlflowClient().set_registered_model_tag(MODEL, CHAMPIONS_TAG, text)


def _entries() -> list[Any]:
    import mlflow

    with store_errors("reading the log of champions"):
        client = mlflow.MlflowClient()
        found = client.search_registered_models(f"name = '{MODEL}'")
    text = found[0].tags.get(CHAMPIONS_TAG) if found else None
    try:
        entries = json.loads(text or "[]")
    except ValueError:
        entries = None
    if not isinstance(entries, list):
        raise FaceOpsError(
            f"the tag {CHAMPIONS_TAG} of the registered model {MODEL} is no log of champions any "
            "more; mend it in MLflow's UI, or delete it to begin a new one."
        )
    return entries


def _event(entry: Any) -> Event | None:
    try:
        return Event(**entry)
    except TypeError:
        return None


def earlier_champion(
    events: Sequence[Event], now: int | None, existing: Collection[int]
) -> int | None:
    """Return the version to go back to from `now`, the version with the alias; None if unknown.

    A rollback takes back all that came after its target. Where the latest entry is not `now`, the
    alias was moved elsewhere, and that entry names the one before. Versions that were deleted
    since are passed over.
    """
    stack: list[int] = []
    for event in events:
        if event.how == ROLLED_BACK and event.version in stack:
            while stack[-1] != event.version:
                stack.pop()
        elif not stack or stack[-1] != event.version:
            stack.append(event.version)
    while stack and (stack[-1] == now or stack[-1] not in existing):
        stack.pop()
    return stack[-1] if stack else None
