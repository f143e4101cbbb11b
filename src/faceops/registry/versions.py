"""The registered releases: versions of the MLflow model `faceops`."""

from dataclasses import asdict, dataclass
from typing import Any

import mlflow

from faceops.base.errors import FaceOpsError, UsageError
from faceops.registry.store import CHAMPION, CONTRACT_TAG, MODEL, store_errors
from faceops.release.contract import Release


@dataclass(frozen=True)
class Version:
    """A registered release; `gate` is "passed", "refused", "withdrawn" or "" (not measured)."""

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
        """The address of this version."""
        return f"models:/{MODEL}/{self.version}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class VersionDetails:
    """A version with its tags and description, and the params and metrics of its run."""

    version: Version
    tags: dict[str, str]
    description: str
    params: dict[str, str]
    metrics: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        details = {name: value for name, value in vars(self).items() if name != "version"}
        return self.version.as_dict() | details

    def test_figures(self) -> dict[str, float]:
        """Return the figures on test people, without the ends of their intervals."""
        return {
            key.removeprefix("evaluate."): value
            for key, value in sorted(self.metrics.items())
            if key.startswith("evaluate.") and "interval" not in key
        }


def versions() -> list[Version]:
    """Return all registered releases, newest first."""
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
            summary=(one.description or "\n").splitlines()[0],
            gate=one.tags.get("gate", ""),
        )
        for one in listed
    ]
    return sorted(rows, key=lambda row: -row.version)


def champion() -> Version | None:
    """Return the version with the alias champion, if one has it."""
    return next((one for one in versions() if CHAMPION in one.aliases), None)


def find_version(which: str) -> Version:
    """Return the version with that number or alias.

    Raises:
        UsageError: it is neither a number nor an alias.
        FaceOpsError: there is no such version.
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


def find_registered(release: Release) -> Version | None:
    """Return the version with the contract id and the dvc.lock of `release`, if there is one."""
    for version in versions():
        same_lock = version.dvc_lock_sha256 == release.dvc_lock_sha256 != ""
        if same_lock and version.contract_id == release.contract_id:
            return version
    return None


def version_details(version: Version) -> VersionDetails:
    """Read the details of `version`; params and metrics are empty where its run was deleted.

    Raises:
        StoreError: the store does not answer.
    """
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
    """Return both values of the keys whose values differ, sorted; "" where one has none."""
    keys = sorted(a.keys() | b.keys())
    return {key: (a.get(key, ""), b.get(key, "")) for key in keys if a.get(key) != b.get(key)}
