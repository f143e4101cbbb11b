"""A verdict goes to where a person chooses: the version's page and its run."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from faceops.config.sections import Gate
from faceops.release.gate.verdict import Verdict
from faceops.release.registry.describe import with_verdict
from faceops.release.registry.store import MODEL, store_errors
from faceops.release.registry.versions import Version

PASSED, REFUSED = "passed", "refused"
_LONGEST = 2000


def record_verdict(
    challenger: Version, champion: Version, verdict: Verdict, settings: Gate
) -> None:
    """Write the verdict to the challenger: artifacts of its run, tags and its description.

    A later verdict takes the place of an earlier one, in its run only of one against the same
    champion.

    Raises:
        StoreError: the store refused or does not answer.
    """
    import mlflow

    number, folder = str(challenger.version), f"gate/against_{champion.version}"
    tags = {
        "gate": PASSED if verdict.passed else REFUSED,
        "gate_against": str(champion.version),
        "gate_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gate_reasons": "\n".join(verdict.reasons)[:_LONGEST],
        "gate_photos_sha256": verdict.photos_sha256,
        "gate_rules_sha256": rules_sha256(settings),
    }
    with store_errors(f"recording the verdict on version {number}"):
        client = mlflow.MlflowClient()
        if challenger.run_id:
            client.log_text(challenger.run_id, as_json(verdict), f"{folder}/verdict.json")
            client.log_text(challenger.run_id, verdict.markdown(), f"{folder}/verdict.md")
        described = client.get_model_version(MODEL, number).description or ""
        client.update_model_version(MODEL, number, with_verdict(described, verdict.markdown()))
        for name, value in tags.items():  # last: they say that all of it is there
            client.set_model_version_tag(MODEL, number, name, value)


def standing_verdict(challenger: Version, champion: Version, settings: Gate) -> str:
    """Return what was decided on the challenger against this champion by these rules, else "".

    Raises:
        StoreError: the store does not answer.
    """
    import mlflow

    with store_errors(f"reading the verdict on version {challenger.version}"):
        tags = mlflow.MlflowClient().get_model_version(MODEL, str(challenger.version)).tags
    stands = (
        tags.get("gate_against") == str(champion.version)
        and tags.get("gate_rules_sha256") == rules_sha256(settings)
    )  # fmt: skip
    return str(tags.get("gate", "")) if stands else ""


def rules_sha256(settings: Gate) -> str:
    """Return what stands for the rules, and for the photos where they are pinned."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()


def as_json(verdict: Verdict) -> str:
    """Return the verdict as JSON text."""
    content: dict[str, Any] = verdict.as_dict()
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
