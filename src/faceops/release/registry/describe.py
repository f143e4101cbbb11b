"""What a person reads on a version's page before choosing it."""

import re

from faceops.release.registry.told_version import ToldVersion, differing

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
    champion: ToldVersion | None,
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
    champion: ToldVersion,
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
