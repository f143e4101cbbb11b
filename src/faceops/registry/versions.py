"""The registered releases.

Who was champion, since when and why: a log in a tag of the registered model.

The alias `champion` itself is the truth, and people may move it in MLflow's UI. The log follows
it, so that the one before can be found again.
"""

import getpass
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from faceops.base.errors import FaceOpsError, UsageError
from faceops.registry.store import CHAMPION, CONTRACT_TAG, MODEL, store_errors
from faceops.release.contract import Release


@dataclass(frozen=True)
class Version:
    """One registered release; `gate` is "passed", "refused" or "" (never asked)."""

    version: int
    aliases: tuple[str, ...]
    run_id: str
    contract_id: str
    dvc_lock_sha256: str
    git_commit: str
    summary: str
    gate: str = ""

    @property
    def address(self) -> str:
        """The address that names this very version."""
        return f"models:/{MODEL}/{self.version}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def versions() -> list[Version]:
    """Return all registered releases, newest first."""
    import mlflow

    with store_errors("listing releases"):
        client = mlflow.MlflowClient()
        found = client.search_registered_models(f"name = '{MODEL}'")
        if not found:
            return []
        aliases: dict[str, list[str]] = {}
        for alias, number in found[0].aliases.items():
            aliases.setdefault(str(number), []).append(alias)
        listed = client.search_model_versions(f"name = '{MODEL}'")
    rows = [
        Version(
            version=int(one.version),
            aliases=tuple(sorted(aliases.get(str(one.version), []))),
            run_id=one.run_id or "",
            contract_id=one.tags.get(CONTRACT_TAG, ""),
            dvc_lock_sha256=one.tags.get("dvc_lock_sha256", ""),
            git_commit=one.tags.get("git_commit", ""),
            summary=(one.description or "").splitlines()[0] if one.description else "",
            gate=one.tags.get("gate", ""),
        )
        for one in listed
    ]
    return sorted(rows, key=lambda row: -row.version)


def champion() -> Version | None:
    """Return the version that has the alias champion, if one has."""
    return next((one for one in versions() if CHAMPION in one.aliases), None)


def find_version(which: str) -> Version:
    """Return the version of that number, or the one with that alias.

    Raises:
        UsageError: it is neither.
        FaceOpsError: there is none of that number or alias.
    """
    known = versions()
    for one in known:
        if which in (str(one.version), *one.aliases):
            return one
    if not known:
        raise FaceOpsError(
            "no release is registered; run `dvc repro`, then `faceops release register`."
        )
    if not which.isdecimal() and not which.isidentifier():
        raise UsageError(f"{which!r} is no release; give a version's number, or an alias.")
    listed = ", ".join(str(one.version) for one in known[:10])
    aliases = ", ".join(sorted(alias for one in known for alias in one.aliases)) or "none"
    raise FaceOpsError(
        f"there is no release {which}; `faceops release list` shows them (versions: {listed};"
        f" aliases: {aliases})."
    )


def registered(release: Release) -> Version | None:
    """Return the version that holds this very release: same contract, same dvc.lock."""
    for version in versions():
        same_lock = version.dvc_lock_sha256 == release.dvc_lock_sha256 != ""
        if same_lock and version.contract_id == release.contract_id:
            return version
    return None


@dataclass(frozen=True)
class VersionDetails:
    """A version with its tags and description, and what its run says."""

    version: Version
    tags: dict[str, str]
    description: str
    params: dict[str, str]
    metrics: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            **self.version.as_dict(),
            "tags": self.tags,
            "description": self.description,
            "params": self.params,
            "metrics": self.metrics,
        }


def version_details(version: Version) -> VersionDetails:
    """Ask the store about `version`; a run that was deleted since leaves its part empty.

    Raises:
        StoreError: it does not answer.
    """
    import mlflow

    with store_errors(f"reading version {version.version}"):
        client = mlflow.MlflowClient()
        entry = client.get_model_version(MODEL, str(version.version))
        params: dict[str, str] = {}
        metrics: dict[str, float] = {}
        if version.run_id:
            try:
                data = client.get_run(version.run_id).data
                params, metrics = dict(data.params), dict(data.metrics)
            except mlflow.MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
    return VersionDetails(version, dict(entry.tags), entry.description or "", params, metrics)


def differing(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return the keys whose values differ, sorted, with both values; "" where one has none."""
    keys = sorted(a.keys() | b.keys())
    return {key: (a.get(key, ""), b.get(key, "")) for key in keys if a.get(key) != b.get(key)}


def evaluated(metrics: dict[str, float]) -> dict[str, float]:
    """Return the figures on test people, without the ends of their intervals."""
    return {
        key.removeprefix("evaluate."): value
        for key, value in sorted(metrics.items())
        if key.startswith("evaluate.") and "interval" not in key
    }


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
