"""The gate's verdict: every rule with what was measured, as JSON and as Markdown."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faceops.base.files import sha256_file
from faceops.config.sections import Gate
from faceops.registry.register import with_verdict
from faceops.registry.store import MODEL, store_errors
from faceops.registry.versions import Version

VERDICT_VERSION = 1


@dataclass(frozen=True)
class RuleResult:
    """One rule and what came of it; `reason` says in words why it was broken, '' where it holds.

    `low` and `high` bound `gain` (challenger minus champion), where the rule is on an interval;
    ratios stand in `challenger`, with 1 as the champion's.
    """

    name: str
    rule: str
    passed: bool
    champion: float | None
    challenger: float | None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger may take the champion's place, and why (not)."""

    champion: str
    challenger: str
    rules: list[RuleResult]
    photos_sha256: str
    data_sha256: str
    photos: int
    people: int
    people_left_out: int
    known_probes: int
    stranger_probes: int
    groups: list[dict[str, Any]]
    seen: list[str]
    params: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether all rules hold."""
        return all(rule.passed for rule in self.rules)

    @property
    def reasons(self) -> list[str]:
        """A sentence for every rule that was broken."""
        return [rule.reason for rule in self.rules if not rule.passed]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "verdict_version": VERDICT_VERSION,
            "passed": self.passed,
            "reasons": self.reasons,
            **asdict(self),
        }

    def markdown(self) -> str:
        """Return the verdict for a person."""
        lines = [
            f"**{'Passed' if self.passed else 'Refused'}**: {self.challenger} against "
            f"{self.champion}, on {self.photos:,} photos of {self.people:,} people whom neither "
            f"was made from ({self.known_probes:,} searches for known people, "
            f"{self.stranger_probes:,} for strangers).",
            "",
            *(f"- {reason}" for reason in self.reasons),
            *([""] if self.reasons else []),
            "| rule | champion | challenger | difference (interval) | holds |",
            "| --- | --- | --- | --- | --- |",
        ]
        for rule in self.rules:
            lines.append(
                f"| {rule.name}: {rule.rule} | {_shown(rule.champion)} | "
                f"{_shown(rule.challenger)} | {_difference(rule)} | "
                f"{'yes' if rule.passed else '**no**'} |"
            )
        if self.groups:
            lines += ["", "| group | people | champion | challenger |", "| --- | --- | --- | --- |"]
            lines += [
                f"| {group['group']} | {group['people']} | {_shown(group['champion'])} | "
                f"{_shown(group['challenger'])} |"
                for group in self.groups
            ]
        if self.seen:
            lines += ["", *(f"{told[0].upper()}{told[1:]}." for told in self.seen)]
        lines += [
            "",
            f"The photos' sha256: `{self.photos_sha256}`; of the whole folder, which "
            f"gate.photos_sha256 can pin: `{self.data_sha256}`.",
        ]
        return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _difference(rule: RuleResult) -> str:
    if rule.gain is None:
        return ""
    told = f"{rule.gain:+.4f}"
    return told if rule.low is None else f"{told} ({rule.low:+.4f} to {rule.high:+.4f})"


PASSED, REFUSED = "passed", "refused"
_UNDER_WAY = "being recorded"
_LONGEST = 4000  # characters: some stores keep 5,000


@dataclass(frozen=True)
class StoredVerdict:
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


def find_stored_verdict(
    challenger: Version, champion: Version, settings: Gate, root: Path, data_sha256: str
) -> StoredVerdict | None:
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
    return StoredVerdict(tags["gate"] == PASSED, tags.get("gate_reasons", ""), markdown)


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
