"""The registered releases."""

from dataclasses import asdict, dataclass
from typing import Any

from faceops.base.errors import FaceOpsError, UsageError
from faceops.release.contract import Release
from faceops.release.registry.store import CHAMPION, CONTRACT_TAG, MODEL, store_errors


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
