"""Who was champion, since when and why: a log in a tag of the registered model.

The alias `champion` itself is the truth, and people may move it in MLflow's UI. The log follows
it, so that the one before can be found again.
"""

import getpass
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from faceops.release.registry.store import MODEL, store_errors

CHAMPIONS_TAG = "champions"
KEPT = 100
_LONGEST = 500
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
        return cls(version, how, at, user(), because[:_LONGEST])


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
    """Return the log, oldest first; what is not readable in it is left out."""
    import mlflow

    with store_errors("reading the log of champions"):
        client = mlflow.MlflowClient()
        found = client.search_registered_models(f"name = '{MODEL}'")
    text = found[0].tags.get(CHAMPIONS_TAG, "[]") if found else "[]"
    try:
        return [Event(**entry) for entry in json.loads(text)]
    except (ValueError, TypeError):
        return []


def note_champion(*events: Event) -> None:
    """Add to the log, which keeps the latest hundred."""
    import mlflow

    entries = [asdict(event) for event in (*champions(), *events)][-KEPT:]
    with store_errors("writing the log of champions"):
        text = json.dumps(entries, ensure_ascii=False)
        mlflow.MlflowClient().set_registered_model_tag(MODEL, CHAMPIONS_TAG, text)


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
