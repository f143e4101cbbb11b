"""A bundle becomes a version of the registered model."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import atomic_folder, sha256_file
from faceops.registry.fetch import Found, load_found
from faceops.registry.store import (
    BUNDLE_FOLDER,
    CHALLENGER,
    CHAMPION,
    CONTRACT_TAG,
    MODEL,
    RELEASE_TAG,
    store_errors,
)
from faceops.registry.versions import (
    FIRST,
    Event,
    Version,
    VersionDetails,
    champions,
    differing,
    find_version,
    note_champion,
    versions,
)
from faceops.release.bundle import Bundle, check_files
from faceops.release.contract import RELEASE_FILE
from faceops.release.served_interface import input_example, signature

_JUDGED = {"gate", "champion_since"}
ABOUT = (
    "Names the people in photos: detector, embedder, verifier, thresholds. A request holds photos "
    "(`image`, base64) and may ask for an `answer` (`faces`, `names` or `embeddings`), a `budget` "
    "(share of strangers that may be given a name; 0 is the release's own) and `detail` (pixels)."
)


def register(
    bundle_folder: Path, run_id: str, description: str, lineage: Mapping[str, str] | None = None
) -> Version:
    """Log the bundle to the run and register it; the first version becomes champion.

    Later versions become `challenger`, also where `champion` was taken away: only promotion and
    rollback move that.

    Args:
        bundle_folder: a complete bundle; logged as it is, under `bundle/` of the model.
        run_id: the MLflow run that holds its params, metrics and plots.
        description: Markdown for the version's page.
        lineage: further tags of the version; those of the bundle's release.json are known.
    """
    import mlflow

    release = Bundle.load(bundle_folder).release
    tags = {
        **(lineage or {}),
        CONTRACT_TAG: release.contract_id,
        "dvc_lock_sha256": release.dvc_lock_sha256,
        "git_commit": release.git_commit,
        RELEASE_TAG: sha256_file(bundle_folder / RELEASE_FILE),
    }
    with store_errors("registering the release"), tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary) / BUNDLE_FOLDER
        shutil.copytree(bundle_folder, staged)
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pyfunc.log_model(
                name=MODEL,
                loader_module="faceops.serving.pyfunc",
                data_path=str(staged),
                signature=signature(),
                input_example=input_example(),
                pip_requirements=[],  # no index has this package: serve with --env-manager local
                metadata=tags,
            )
        client = mlflow.MlflowClient()
        if not client.search_registered_models(f"name = '{MODEL}'"):
            client.create_registered_model(MODEL, description=ABOUT)
        made = client.create_model_version(
            MODEL,
            logged.model_uri,
            run_id=run_id,
            tags=tags,
            description=description,
            model_id=logged.model_id,  # a server refuses the address without it
            await_creation_for=0,  # both kinds of store have it at once
        )
    return give_alias(int(made.version))


def give_alias(number: int) -> Version:
    """Give a version the alias that its registration is to end with, and return it.

    That is `champion` for the oldest version where nobody ever was, else `challenger` for the
    newest. One that has an alias, or was judged, or was champion, stays as it is: done again after
    a registration that was cut off, this ends it.

    Raises:
        StoreError: the store refused or does not answer.
    """
    import mlflow

    known = versions()
    one = next(v for v in known if v.version == number)
    held = any(CHAMPION in v.aliases for v in known)
    first = not held and number == known[-1].version and not champions()
    with store_errors(f"giving version {number} its alias"):
        client = mlflow.MlflowClient()
        tags = client.get_model_version(MODEL, str(number)).tags
        if first:
            client.set_registered_model_alias(MODEL, CHAMPION, str(number))
        elif number == known[0].version and not (one.aliases or tags.keys() & _JUDGED):
            client.set_registered_model_alias(MODEL, CHALLENGER, str(number))
    if first:
        note_champion(Event.now(number, FIRST, because="there was no other"))
    return find_version(str(number))


GATE = "## Gate"
_NOT_ASKED = "Not asked yet: `faceops release gate` measures it against the champion."
_LONGEST = 5000  # characters
_CUT = "\n\n... The run has the rest."
_SAME = "as the champion's"
_HEADLINE = {
    "accuracy": "verification.accuracy",
    "TAR at FAR 1e-3": "verification.tar_at_far_0.001",
    "identified": "open_set.dir",
    "strangers named": "open_set.fpir",
}
# What is told of the figures here; the run has all of them.
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
        metrics: of the run, `evaluate.` ones being those on test people.
        params: of the run, as MLflow keeps them.
        champion: the version that is champion now, if there is one.
    """
    lines = [headline(metrics), ""]
    if champion is not None:
        lines += [GATE, "", _NOT_ASKED, "", *_beside(metrics, params, lineage, champion), ""]
    lines += ["## Figures on its own test people", "", "| figure | value |", "| --- | --- |"]
    for label, key in _FIGURES.items():
        if (value := metrics.get(f"evaluate.{key}")) is not None:
            lines.append(f"| {label} | {value:.4g} |")
    lines += ["", "## Where it comes from", "", "| | |", "| --- | --- |"]
    lines += [f"| {key} | `{value}` |" for key, value in sorted(lineage.items()) if value]
    return _fitting("\n".join(lines))


def with_verdict(description: str, verdict: str) -> str:
    """Return the description with the Markdown `verdict` in the place of what it says of the gate.

    `verdict` has no headings of its own.
    """
    section = f"{GATE}\n\n{verdict.strip()}"
    pattern = re.compile(rf"^{GATE}\n.*?(?=\n+## |\Z)", re.DOTALL | re.MULTILINE)
    if pattern.search(description):
        return _fitting(pattern.sub(lambda _: section, description, count=1))
    first, _, rest = description.partition("\n")
    return _fitting(f"{first}\n\n{section}\n\n{rest.strip()}".rstrip())


def with_withdrawal(description: str, told: str) -> str:
    """Return the description with `told` above what it says of the gate, if it says anything."""
    return _fitting(description.replace(f"{GATE}\n", f"{GATE}\n\n**Withdrawn**: {told}.\n", 1))


def _fitting(text: str) -> str:
    """Return the text, cut at a line where some stores would not take it."""
    if len(text) <= _LONGEST:
        return text
    return text[: text.rindex("\n", 0, _LONGEST - len(_CUT))] + _CUT


def headline(metrics: dict[str, float]) -> str:
    """Return the one line by which releases are told apart in a list."""
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
    lines = [
        f"## Beside version {number}, the champion",
        "",
        "Each on its own test people.",
        "",
        f"| | this | version {number} |",
        "| --- | --- | --- |",
    ]
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


def export_bundle(version: Version, folder: Path) -> Path:
    """Write the version's bundle to `folder`, which is not there yet or empty; all of it, or none.

    Raises:
        UsageError: something is in `folder`.
        FaceOpsError: the bundle is damaged, or `folder` cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; name a new one.")

    def checked(found: Found) -> Found:
        check_files(found.folder)
        return found

    found = load_found(version.address, checked)
    folder = folder.resolve()
    try:
        with atomic_folder(folder) as temporary:
            shutil.copytree(found.folder, temporary, dirs_exist_ok=True)
    except OSError as error:
        raise FaceOpsError(
            f"{folder} cannot be written ({error.strerror or error}); choose another."
        ) from None
    return folder
