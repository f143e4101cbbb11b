"""A verdict goes to where a person chooses: the version's page and its run."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from faceops.base.files import sha256_file
from faceops.config.sections import Gate
from faceops.release.gate.verdict import Verdict
from faceops.release.registry.describe import with_verdict
from faceops.release.registry.store import MODEL, store_errors
from faceops.release.registry.versions import Version

PASSED, REFUSED = "passed", "refused"
_UNDER_WAY = "being recorded"
_LONGEST = 4000  # characters: some stores keep 5,000


@dataclass(frozen=True)
class StandingVerdict:
    """A verdict that was recorded: against this champion, by these rules, on these photos."""

    passed: bool
    reasons: str
    markdown: str


def record_verdict(
    challenger: Version, champion: Version, verdict: Verdict, settings: Gate, root: Path
) -> None:
    """Write the verdict to the challenger: artifacts of its run, tags and its description.

    A later verdict takes the place of an earlier one, in its run only of one against the same
    champion. Cut off, it leaves none that stands.

    Raises:
        StoreError: the store refused or does not answer.
    """
    import mlflow

    number, folder = str(challenger.version), _folder(champion)
    tags = {
        "gate": _UNDER_WAY,
        "gate_against": str(champion.version),
        "gate_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gate_reasons": "\n".join(verdict.reasons)[:_LONGEST],
        "gate_photos_sha256": verdict.photos_sha256,
        "gate_data_sha256": verdict.data_sha256,
        "gate_rules_sha256": rules_sha256(settings, root),
    }
    with store_errors(f"recording the verdict on version {number}"):
        client = mlflow.MlflowClient()
        for name, value in tags.items():
            client.set_model_version_tag(MODEL, number, name, value)
        if challenger.run_id:
            client.log_text(challenger.run_id, as_json(verdict), f"{folder}/verdict.json")
            client.log_text(challenger.run_id, verdict.markdown(), f"{folder}/verdict.md")
        described = client.get_model_version(MODEL, number).description or ""
        client.update_model_version(MODEL, number, with_verdict(described, verdict.markdown()))
        # Last: it says that all of it is there.
        result = PASSED if verdict.passed else REFUSED
        client.set_model_version_tag(MODEL, number, "gate", result)


def standing_verdict(
    challenger: Version, champion: Version, settings: Gate, root: Path, data_sha256: str
) -> StandingVerdict | None:
    """Return what was decided on the challenger, if it was in the same case; else None.

    Args:
        data_sha256: of the folder of photos as it is now, see `FrozenPhotos`.

    Raises:
        StoreError: the store does not answer.
    """
    import mlflow

    with store_errors(f"reading the verdict on version {challenger.version}"):
        tags = mlflow.MlflowClient().get_model_version(MODEL, str(challenger.version)).tags
        same = {
            "gate_against": str(champion.version),
            "gate_data_sha256": data_sha256,
            "gate_rules_sha256": rules_sha256(settings, root),
        }
        if tags.get("gate") not in (PASSED, REFUSED) or any(
            tags.get(name) != value for name, value in same.items()
        ):
            return None
        markdown = ""
        if challenger.run_id:
            path = f"{_folder(champion)}/verdict.md"
            files = mlflow.MlflowClient().list_artifacts(challenger.run_id, _folder(champion))
            if path in {file.path for file in files}:
                markdown = mlflow.artifacts.load_text(f"runs:/{challenger.run_id}/{path}")
    return StandingVerdict(tags["gate"] == PASSED, tags.get("gate_reasons", ""), markdown)


def rules_sha256(settings: Gate, root: Path) -> str:
    """Return what stands for the rules and for the groups that they are about.

    Raises:
        FaceOpsError: the CSV of groups cannot be read.
    """
    content = settings.model_dump_json()
    if settings.slices and (root / settings.slices).is_file():
        content += sha256_file(root / settings.slices)
    return hashlib.sha256(content.encode()).hexdigest()


def as_json(verdict: Verdict) -> str:
    """Return the verdict as JSON text."""
    return json.dumps(verdict.as_dict(), indent=1, ensure_ascii=False) + "\n"


def _folder(champion: Version) -> str:
    return f"gate/against_{champion.version}"
