"""The registered releases."""

from dataclasses import asdict, dataclass
from typing import Any

from faceops.release.contract import Release
from faceops.release.registry.store import MODEL, store_errors


@dataclass(frozen=True)
class Version:
    """One registered release."""

    version: int
    aliases: tuple[str, ...]
    run_id: str
    contract_id: str
    dvc_lock_sha256: str
    git_commit: str
    summary: str

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
            contract_id=one.tags.get("contract_id", ""),
            dvc_lock_sha256=one.tags.get("dvc_lock_sha256", ""),
            git_commit=one.tags.get("git_commit", ""),
            summary=(one.description or "").splitlines()[0] if one.description else "",
        )
        for one in listed
    ]
    return sorted(rows, key=lambda row: -row.version)


def registered(release: Release) -> Version | None:
    """Return the version that holds this very release: same contract, same dvc.lock."""
    for version in versions():
        same_lock = version.dvc_lock_sha256 == release.dvc_lock_sha256 != ""
        if same_lock and version.contract_id == release.contract_id:
            return version
    return None
