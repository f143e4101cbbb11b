"""What a person reads on a version's page before choosing it."""

from faceops.release.registry.told_version import ToldVersion, differing, evaluated


def describe(
    metrics: dict[str, float],
    params: dict[str, str],
    lineage: dict[str, str],
    champion: ToldVersion | None,
) -> str:
    """Return Markdown: the headline, what differs from the champion, all figures, the lineage.

    Args:
        metrics: of the run, `evaluate.` ones being those on test people.
        params: of the run, as MLflow keeps them.
        champion: the version that is champion now, if there is one.
    """
    lines = [headline(metrics), ""]
    if champion is not None:
        lines += [*_beside(metrics, params, lineage, champion), ""]
    lines += ["| test people | |", "| --- | --- |"]
    lines += [f"| {key} | {value:.4g} |" for key, value in evaluated(metrics).items()]
    lines += ["", "| lineage | |", "| --- | --- |"]
    lines += [f"| {key} | `{value}` |" for key, value in sorted(lineage.items()) if value]
    return "\n".join(lines)


def headline(metrics: dict[str, float]) -> str:
    """Return the one line by which releases are told apart in a list."""
    parts = [f"{label} {metrics[key]:.4f}" for label, key in _HEADLINE.items() if key in metrics]
    return ", ".join(parts) or "no evaluation figures"


_HEADLINE = {
    "accuracy": "evaluate.verification.accuracy",
    "TAR at FAR 1e-3": "evaluate.verification.tar_at_far_0.001",
    "identified": "evaluate.open_set.dir",
    "strangers named": "evaluate.open_set.fpir",
}
_SAME = "as the champion's"


def _beside(
    metrics: dict[str, float],
    params: dict[str, str],
    lineage: dict[str, str],
    champion: ToldVersion,
) -> list[str]:
    number = champion.version.version
    lines = [f"| | this | version {number}, champion |", "| --- | --- | --- |"]
    for label, key in _HEADLINE.items():
        if key in metrics and key in champion.metrics:
            lines.append(f"| {label} | {metrics[key]:.4f} | {champion.metrics[key]:.4f} |")
    changed = differing(params, champion.params)
    lines += [f"| {key} | `{this}` | `{that}` |" for key, (this, that) in changed.items()]
    if not changed:
        lines.append(f"| parameters | {_SAME} | |")
    for name, what in (("data", "photos"), ("contract_id", "contract id")):
        same = lineage.get(name, "") == champion.tags.get(name, "")
        lines.append(f"| {what} | {_SAME if same else 'others'} | |")
    lines.append("")
    lines.append("Each on its own test people; the gate measures both on the same photos.")
    return lines
