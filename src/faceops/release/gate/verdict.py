"""The gate's verdict: every rule with what was measured, as JSON and as Markdown."""

from dataclasses import asdict, dataclass
from typing import Any

VERDICT_VERSION = 1


@dataclass(frozen=True)
class Rule:
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
    rules: list[Rule]
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


def _difference(rule: Rule) -> str:
    if rule.gain is None:
        return ""
    told = f"{rule.gain:+.4f}"
    return told if rule.low is None else f"{told} ({rule.low:+.4f} to {rule.high:+.4f})"
