"""The MLflow store: its address, its errors as one sentence, and the releases registered in it.

They are versions of the MLflow model `faceops`, each with a description.
"""

import contextlib
import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from faceops.base.errors import FaceOpsError, StoreError, UsageError, first_line, without_secrets
from faceops.base.files import cache_folder

MODEL = "faceops"  # the registered model
EXPERIMENT = "faceops"
CHAMPION, CHALLENGER = "champion", "challenger"  # aliases
BUNDLE_FOLDER = "bundle"
# Tags of a version.
CONTRACT_TAG, RELEASE_TAG = "contract_id", "release_sha256"
SIGNER_TAG = "signed_by"  # sha256 of the public key
SPLIT_FILE = "build/split/faces.parquet"  # in the repository
SPLIT_ARTIFACT = "split/faces.parquet"  # in the run of a version
TRAINED = "build/train"  # in the repository: the model before its export
TRAINED_ARTIFACT = "trained"  # in the run of a version

# Codes of a store that answers: the item does not exist, or the request is invalid.
_ANSWERS = {
    *("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_STATE", "BAD_REQUEST"),
}
_FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded|disk is full")
_SYSTEM = re.compile(r"\[Errno -?\d+\] ([^\"'()\[\]]+)")
_LONGEST = 200  # characters of a reason
# MLflow's defaults are two minutes a request and seven retries with growing pauses.
RETRIES = 2
QUERY_TIMEOUT_S = 10


class UnreachableError(StoreError):
    """The store did not answer, or not as a store does."""


@contextlib.contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn MLflow's errors while `doing` something into one sentence.

    Raises:
        StoreError: the store answered and refused; UnreachableError where it did not answer.
        FaceOpsError: a local file could not be read or written, such as on a full disk.
    """
    try:
        yield
    except (mlflow.MlflowException, RequestException, SQLAlchemyError) as error:
        if full := _FULL.search(str(error)):  # MLflow reports it as a failure of the store
            raise _local_failure(doing, full[0]) from None
        # Before it is cut: half a password would not be found.
        said = without_secrets(first_line(error))
        if getattr(error, "error_code", "") in _ANSWERS:
            kind, reason = StoreError, said
        else:
            system = _SYSTEM.search(str(error))  # what the operating system said
            kind, reason = UnreachableError, system[1].strip() if system else said
            reason = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}..."
        raise kind(
            f"{doing} failed at the MLflow store {mlflow.get_tracking_uri()} ({reason}); check the"
            " store or MLFLOW_TRACKING_URI."
        ) from None
    except ModuleNotFoundError as error:  # the driver of a database
        raise StoreError(
            f"{doing} failed at the MLflow store {mlflow.get_tracking_uri()}: it needs the Python "
            f"package {error.name}, which is not installed; install it."
        ) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise _local_failure(doing, f"{where}{error.strerror or error}") from None


def _local_failure(doing: str, reason: str) -> FaceOpsError:
    return FaceOpsError(f"{doing} failed ({reason}); fix that, or free some space, and try again.")


def point_at_store(root: Path) -> str:
    """Point MLflow at `MLFLOW_TRACKING_URI`, else at `root`/mlflow.db, and return the address."""
    _silence_mlflow()
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve()}/mlflow.db"
    mlflow.set_tracking_uri(address)
    return address


def use_tracking(root: Path, experiment: str = EXPERIMENT) -> str:
    """Point MLflow at its store and at `experiment`, which is made on first use.

    Returns the address, see `point_at_store`. Artifacts of a local store go to `root`/mlartifacts:
    MLflow's default is the working directory of the process that made the experiment.

    Raises StoreError: the store does not answer.
    """
    address = point_at_store(root)
    with store_errors(f"opening the experiment {experiment}"):
        if mlflow.get_experiment_by_name(experiment) is None:
            location = None
            if address.startswith("sqlite:"):
                location = (root.resolve() / "mlartifacts").as_uri()
            # Another process may have been first; any other failure is raised below.
            with contextlib.suppress(mlflow.MlflowException):
                mlflow.create_experiment(experiment, artifact_location=location)
        mlflow.set_experiment(experiment)
    return address


def store_cache(address: str) -> Path:
    """Return the folder for bundles, notes and locks of the store at `address`."""
    return cache_folder() / "releases" / hashlib.sha256(address.encode()).hexdigest()[:12]


@contextlib.contextmanager
def short_timeout() -> Iterator[None]:
    """Wait QUERY_TIMEOUT_S for each answer of a server. For queries: an upload may take longer."""
    timeout = mlflow.environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT
    if timeout.is_set():
        yield
        return
    timeout.set(QUERY_TIMEOUT_S)
    try:
        yield
    finally:
        timeout.unset()


def _silence_mlflow() -> None:
    """Keep MLflow's hints, progress bars and links out of the output; retry a few times only."""
    variables = mlflow.environment_variables
    variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
    if not variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
        variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(RETRIES)
    warnings.filterwarnings("ignore", module="mlflow")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # It prints a traceback for each error of the database, which `store_errors` reports.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Version:
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
        return f"models:/{MODEL}/{self.version}"

    def as_dict(self) -> dict[str, Any]:
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
        if not (found := client.search_registered_models(f"name = '{MODEL}'")):
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


def version_details(version: Version) -> VersionDetails:
    """Read the details of `version`; params and metrics are empty where its run was deleted.

    Raises StoreError: the store does not answer.
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


GATE = "## Gate"
_NOT_MEASURED = "Not measured yet: `faceops release gate` compares it with the champion."
_LONGEST_DESCRIPTION = 5000  # characters: some stores take no more
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
    if len(text) <= _LONGEST_DESCRIPTION:
        return text
    return text[: text.rindex("\n", 0, _LONGEST_DESCRIPTION - len(_CUT))] + _CUT
