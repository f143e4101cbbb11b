"""The description of a version, as its page in MLflow shows it: Markdown."""

import re

from faceops.registry.versions import VersionDetails, differing

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
        champion: the present champion, if there is one.
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
