"""The registered releases: versions of the MLflow model `faceops`, and their descriptions."""

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

import mlflow

from faceops.base.errors import FaceOpsError, UsageError
from faceops.registry.store import CHAMPION, CONTRACT_TAG, MODEL, SIGNER_TAG, store_errors
from faceops.release.contract import Release

GATE = "## Gate"
_NOT_MEASURED = "Not measured yet: `faceops release gate` compares it with the champion."
_LONGEST = 5000  # characters: some stores take no more
_CUT = "\n\n... The run has the rest."
_SAME = "as the champion's"
_HEADLINE = {
    "accuracy": "verification.accuracy",
    "TAR at FAR 1e-3": "verification.tar_at_far_0.001",
    "identified": "open_set.dir",
    "strangers named": "open_set.fpir",
}
# The figures that are shown; the run has all of them.
_FIGURES = {
    "people": "people",
    "photos": "photos",
    "verification accuracy, balanced pairs": "verification.accuracy",
    "TAR at FAR 1e-2": "verification.tar_at_far_0.01",
    "TAR at FAR 1e-3": "verification.tar_at_far_0.001",
    "ROC AUC": "verification.roc_auc",
    "error of a probability (ECE)": "verification.calibration_error",
    "rank-1, one photo each": "closed_set.rank_1",
    "budget: share of strangers named, at most": "open_set.budget",
    "gallery of that search, faces": "open_set.gallery_faces",
    "strangers named": "open_set.fpir",
    "known people identified": "open_set.dir",
    "known people given a wrong name": "open_set.misidentified",
}


@dataclass(frozen=True)
class Version:
    """A registered release."""

    version: int
    aliases: tuple[str, ...]
    run_id: str
    contract_id: str
    dvc_lock_sha256: str
    git_commit: str
    summary: str
    gate: str = ""  # "passed", "refused", "withdrawn" or "" (not measured)
    signed_by: str = ""  # sha256 of the public key, "" if it is not signed

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
            signed_by=one.tags.get(SIGNER_TAG, ""),
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
        raise UsageError(f"{which!r} is not a version or alias; `faceops release list` shows both.")
    listed = ", ".join(str(one.version) for one in known[:10])
    aliases = ", ".join(sorted(alias for one in known for alias in one.aliases)) or "none"
    raise FaceOpsError(
        f"there is no release {which}; `faceops release list` shows them (versions: {listed};"
        f" aliases: {aliases})."
    )


def find_registered(release: Release, signed_by: str = "") -> Version | None:
    """Return the version with the contract id and the dvc.lock of `release`, if there is one.

    With `signed_by` one that is signed by this key.
    """
    wanted = (release.contract_id, release.dvc_lock_sha256)
    same = (
        it
        for it in versions()
        if (it.contract_id, it.dvc_lock_sha256) == wanted and signed_by in ("", it.signed_by)
    )
    return next(same, None) if release.dvc_lock_sha256 else None


def version_details(version: Version) -> VersionDetails:
    """Read the details of `version`; params and metrics are empty where its run was deleted.

    Raises:
        StoreError: the store does not answer.
    """
    with store_errors(f"reading version {version.version}"):
        client = mlflow.MlflowClient()
        entry = client.get_model_version(MODEL, str(version.version))
        details = VersionDetails(version, dict(entry.tags), entry.description or "", {}, {})
        if version.run_id:
            try:
                data = client.get_run(version.run_id).data
                return replace(details, params=dict(data.params), metrics=dict(data.metrics))
            except mlflow.MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
    return details


def differing(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return both values of the keys whose values differ, sorted; "" where one has none."""
    keys = sorted(a.keys() | b.keys())
    return {key: (a.get(key, ""), b.get(key, "")) for key in keys if a.get(key) != b.get(key)}


def describe(
    metrics: dict[str, float],
    params: dict[str, str],
    lineage: dict[str, str],
    champion: VersionDetails | None,
) -> str:
    """Return Markdown: headline, gate, what differs from the champion, figures, lineage.

    Args:
        metrics: of the run; those that begin with `evaluate.` are on test people.
        params: of the run, as MLflow keeps them.
        lineage: tags of the version.
    """
    lines = [headline(metrics), ""]
    if champion is not None:
        lines += [GATE, "", _NOT_MEASURED, "", *_beside(metrics, params, lineage, champion), ""]
    lines += ["## Figures on its own test people", "", "| figure | value |", "| --- | --- |"]
    for label, key in _FIGURES.items():
        if (value := metrics.get(f"evaluate.{key}")) is not None:
            lines.append(f"| {label} | {value:.4g} |")
    lines += ["", "## Where it comes from", "", "| | |", "| --- | --- |"]
    lines += [f"| {key} | `{value}` |" for key, value in sorted(lineage.items()) if value]
    return _shortened("\n".join(lines))


def headline(metrics: dict[str, float]) -> str:
    """Return the first line, which lists of releases show."""
    parts = [
        f"{label} {metrics[f'evaluate.{key}']:.4f}"
        for label, key in _HEADLINE.items()
        if f"evaluate.{key}" in metrics
    ]
    return ", ".join(parts) or "no evaluation figures"


def _beside(
    metrics: dict[str, float],
    params: dict[str, str],
    lineage: dict[str, str],
    champion: VersionDetails,
) -> list[str]:
    number = champion.version.version
    lines = [f"## Beside version {number}, the champion", "", "Each on its own test people.", ""]
    lines += [f"| | this | version {number} |", "| --- | --- | --- |"]
    for label, key in _HEADLINE.items():
        this, that = metrics.get(f"evaluate.{key}"), champion.metrics.get(f"evaluate.{key}")
        if this is not None and that is not None:
            lines.append(f"| {label} | {this:.4f} | {that:.4f} |")
    changed = differing(params, champion.params)
    lines += [f"| {key} | `{this}` | `{that}` |" for key, (this, that) in changed.items()]
    if not changed:
        lines.append(f"| parameters | {_SAME} | |")
    for name, what in (("data", "photos"), ("contract_id", "contract id")):
        same = lineage.get(name, "") == champion.tags.get(name, "")
        lines.append(f"| {what} | {_SAME if same else 'others'} | |")
    return lines


def with_verdict(description: str, verdict: str) -> str:
    """Return the description with the section on the gate replaced by the Markdown `verdict`."""
    section = f"{GATE}\n\n{verdict.strip()}"
    pattern = re.compile(rf"^{GATE}\n.*?(?=\n+## |\Z)", re.DOTALL | re.MULTILINE)
    if pattern.search(description):
        return _shortened(pattern.sub(lambda _: section, description, count=1))
    first, _, rest = description.partition("\n")
    return _shortened(f"{first}\n\n{section}\n\n{rest.strip()}".rstrip())


def with_withdrawal(description: str, reason: str) -> str:
    """Return the description with `reason` on top of the section on the gate, if it has one."""
    return _shortened(description.replace(f"{GATE}\n", f"{GATE}\n\n**Withdrawn**: {reason}.\n", 1))


def _shortened(text: str) -> str:
    """Return the text, cut at the end of a line where it is too long."""
    if len(text) <= _LONGEST:
        return text
    return text[: text.rindex("\n", 0, _LONGEST - len(_CUT))] + _CUT
