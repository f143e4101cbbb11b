"""The verdict of the gate: as JSON, as Markdown, and recorded with the version in MLflow."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from faceops.base.files import sha256_file
from faceops.config.sections import Gate
from faceops.gate.compare import Comparison
from faceops.gate.rules import TIME, RuleResult, apply_rules
from faceops.registry import PUBLISHED, published_folder
from faceops.registry.store import MODEL, Version, store_errors, with_verdict

VERDICT_VERSION = 2  # raise it with the rules: verdicts by other rules are not reused


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger may replace the champion, and why (not)."""

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
        """Whether all rules pass."""
        return all(rule.passed for rule in self.rules)

    @property
    def reasons(self) -> list[str]:
        """A sentence for every rule that fails."""
        return [rule.reason for rule in self.rules if not rule.passed]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "verdict_version": VERDICT_VERSION,
            "passed": self.passed,
            "reasons": self.reasons,
            **asdict(self),
        }

    def json(self) -> str:
        """Return the verdict as JSON text."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"

    def markdown(self) -> str:
        """Return the verdict as Markdown without headings."""
        lines = [
            f"**{'Passed' if self.passed else 'Refused'}**: {self.challenger} against "
            f"{self.champion}, on {self.photos:,} photos of {self.people:,} people that neither "
            f"was trained on ({self.known_probes:,} searches for known people, "
            f"{self.stranger_probes:,} for strangers).",
            "",
            *(f"- {reason}" for reason in self.reasons),
            *([""] if self.reasons else []),
            "| rule | champion | challenger | difference (interval) | passed |",
            "| --- | --- | --- | --- | --- |",
        ]
        for rule in self.rules:
            figures = f"{_number(rule.champion)} | {_number(rule.challenger)} | {_difference(rule)}"
            passed = "yes" if rule.passed else "**no**"
            lines.append(f"| {rule.name}: {rule.rule} | {figures} | {passed} |")
        if self.groups:
            lines += ["", "| group | people | champion | challenger |", "| --- | --- | --- | --- |"]
        for group in self.groups:
            figures = f"{_number(group['champion'])} | {_number(group['challenger'])}"
            lines.append(f"| {group['group']} | {group['people']} | {figures} |")
        if self.seen:
            lines += ["", *(f"{note[0].upper()}{note[1:]}." for note in self.seen)]
        lines += [
            "",
            f"The photos' sha256: `{self.photos_sha256}`; of the whole folder, which "
            f"gate.photos_sha256 can pin: `{self.data_sha256}`.",
        ]
        return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _difference(rule: RuleResult) -> str:
    if rule.gain is None:
        return ""
    gain = f"{rule.gain:+.4f}"
    return gain if rule.low is None else f"{gain} ({rule.low:+.4f} to {rule.high:+.4f})"


def _group(name: str, comparison: Comparison, rows: np.ndarray | None = None) -> dict[str, Any]:
    """Return both models' DIR of the probes `rows` bool (P,), None for all of them."""
    fpir, weights = comparison.settings.fpir, comparison.unit_weights
    champion, challenger = (one.dir(weights, fpir, rows) for one in comparison.figures)
    people = comparison.known_people(rows)
    return {"group": name, "people": people, "champion": champion, "challenger": challenger}


def compare(comparison: Comparison) -> Verdict:
    """Apply the rules and return the verdict on the challenger.

    Raises:
        FaceOpsError: too few people have enough photos to compare on, or a file is damaged.
    """
    results = apply_rules(comparison, prerequisites=True)
    seen = [people.message for people in comparison.seen]
    groups: list[dict[str, Any]] = []
    known = strangers = 0
    if all(result.passed for result in results):
        results += apply_rules(comparison, prerequisites=False)
        known, strangers = int(comparison.known.sum()), int((~comparison.known).sum())
        groups = [_group(name, comparison, rows) for name, rows in comparison.groups.probes.items()]
        groups += [_group(f"source {name}", part) for name, part in comparison.populations.items()]
        if too_small := comparison.groups.too_small:
            least, names = comparison.settings.min_slice_people, ", ".join(too_small)
            seen.append(f"groups of fewer than {least} known people are not compared: {names}")
    frozen = comparison.frozen
    return Verdict(
        champion=comparison.models[0].name,
        challenger=comparison.models[1].name,
        rules=results,
        photos_sha256=frozen.sha256,
        data_sha256=frozen.data_sha256,
        photos=len(frozen.photos),
        people=frozen.people,
        people_left_out=frozen.left_out,
        known_probes=known,
        stranger_probes=strangers,
        groups=groups,
        seen=seen,
        params=comparison.settings.model_dump(mode="json"),
    )


PASSED, REFUSED = "passed", "refused"
_INCOMPLETE = "being recorded"
_LONGEST = 4000  # characters: some stores keep 5,000
# How the reasons of the rule on time begin, here and in earlier versions.
_TIME_REASONS = (f"{TIME}:", "time a photo:")


@dataclass(frozen=True)
class StoredVerdict:
    """A recorded verdict; `reasons` are lines of text."""

    passed: bool
    reasons: str
    markdown: str


def record_verdict(
    challenger: Version, champion: Version | None, verdict: Verdict, settings: Gate, root: Path
) -> None:
    """Write the verdict to the challenger: artifacts of its run, tags and its description.

    `champion` None is the published release, here and in `find_stored_verdict`.

    It replaces an earlier verdict, in the run only one against the same champion. Interrupted, it
    leaves no verdict that `find_stored_verdict` returns.

    Raises:
        StoreError: the store refused it or does not answer.
    """
    number, folder = str(challenger.version), _folder(champion)
    tags = {
        "gate": _INCOMPLETE,
        "gate_against": _against(champion),
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
            client.log_text(challenger.run_id, verdict.json(), f"{folder}/verdict.json")
            client.log_text(challenger.run_id, verdict.markdown(), f"{folder}/verdict.md")
        description = client.get_model_version(MODEL, number).description or ""
        client.update_model_version(MODEL, number, with_verdict(description, verdict.markdown()))
        # Last, because it marks the rest as complete.
        result = PASSED if verdict.passed else REFUSED
        client.set_model_version_tag(MODEL, number, "gate", result)


def find_stored_verdict(
    challenger: Version, champion: Version | None, settings: Gate, root: Path, data_sha256: str
) -> StoredVerdict | None:
    """Return the verdict on the challenger against this champion, by these rules and photos.

    None where there is none, and where it was refused for its time per photo alone: that depends
    on what else the machine did, so it is measured again.

    `data_sha256`: of the folder of photos as it is now, see `FrozenPhotos`.

    Raises:
        StoreError: the store does not answer.
    """
    with store_errors(f"reading the verdict on version {challenger.version}"):
        client = mlflow.MlflowClient()
        tags = client.get_model_version(MODEL, str(challenger.version)).tags
        expected = {
            "gate_against": _against(champion),
            "gate_data_sha256": data_sha256,
            "gate_rules_sha256": rules_sha256(settings, root),
        }
        result, reasons = tags.get("gate"), tags.get("gate_reasons", "")
        if result not in (PASSED, REFUSED) or not expected.items() <= tags.items():
            return None
        if result == REFUSED and all(r.startswith(_TIME_REASONS) for r in reasons.splitlines()):
            return None
        markdown = ""
        if challenger.run_id:
            path = f"{_folder(champion)}/verdict.md"
            files = client.list_artifacts(challenger.run_id, _folder(champion))
            if path in {file.path for file in files}:
                markdown = mlflow.artifacts.load_text(f"runs:/{challenger.run_id}/{path}")
    return StoredVerdict(result == PASSED, reasons, markdown)


def rules_sha256(settings: Gate, root: Path) -> str:
    """Return the sha256 of the version of the rules, the parameters and the CSV that they name.

    Raises:
        FaceOpsError: the CSV cannot be read.
    """
    content = f"{VERDICT_VERSION} {settings.model_dump_json()}"
    if settings.slices and (root / settings.slices).is_file():
        content += sha256_file(root / settings.slices)
    return hashlib.sha256(content.encode()).hexdigest()


def _against(champion: Version | None) -> str:
    """Return what the verdict is against: a version's number, or which published release."""
    return str(champion.version) if champion else published_folder().name


def _folder(champion: Version | None) -> str:
    return f"gate/against_{champion.version if champion else PUBLISHED}"
