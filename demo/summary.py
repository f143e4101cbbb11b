"""The demo's closing words: figures, costs, pages to open, commands to try next."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceops.evaluation.album_score import AlbumScore


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({part / whole:.1%})" if whole else "")


def _figure(figures: dict[str, Any], key: str) -> str:
    value = figures.get(key)
    return "-" if value is None else f"{value:.4f}"


def promise_lines(evaluation: dict[str, Any]) -> list[str]:
    """Return a line for each gallery size at which the smallest supported budget was held."""
    rows = [row for row in evaluation["promise"] if row["seen"] is not None]
    budget = min((row["budget"] for row in rows), default=None)
    return [
        f"  promised in a gallery of {row['gallery_faces']:<5} at most {budget:.1%} of strangers "
        f"named: {row['seen']:.2%} seen, {row['verdict']}"
        for row in rows
        if row["budget"] == budget
    ]


def stage_costs(root: Path) -> list[tuple[str, float, int]]:
    """Return (stage, seconds, peak MiB) of the DVC stages, as they last ran, in their order."""
    import yaml

    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    costs = []
    for stage in stages:
        path = root / "build" / "costs" / f"{stage}.json"
        if path.is_file():
            cost = json.loads(path.read_text(encoding="utf-8"))
            costs.append((f"  {stage}", float(cost["seconds"]), int(cost["peak_mib"])))
    return costs


def write_summary(
    evaluation: dict[str, Any],
    score: AlbumScore,
    costs: Sequence[tuple[str, float, int]],
    root: Path,
) -> list[str]:
    """Return the lines of the summary."""
    verification = evaluation["verification"]
    open_set = evaluation["open_set"]
    faces, found = score.known + score.strangers, score.known_found + score.strangers_found
    lines = [
        "What the release is worth, on synthetic people whom nothing has seen (build/evaluate):",
        f"  verification accuracy      {_figure(verification, 'accuracy')}",
        f"  TAR at FAR 1e-3            {_figure(verification, 'tar_at_far_0.001')}",
        f"  known people identified    {_figure(open_set, 'dir')}",
        f"  strangers given a name     {_figure(open_set, 'fpir')}",
        *promise_lines(evaluation),
        "",
        "What it found in the album, held against the truth:",
        f"  faces found                {_share(found, faces)}",
        f"  people of the gallery      {_share(score.correct, score.known)} named correctly",
        f"  wrong names given          {score.wrong}",
        f"  strangers given a name     {_share(score.strangers_named, score.strangers)}",
        f"  names given to no face     {score.named_without_truth}",
        "",
        f"{'What it took':<24}{'seconds':>9}{'peak MiB':>10}",
    ]
    for name, seconds, peak in costs:
        lines.append(f"{name:<24}{seconds:>9.1f}{peak:>10}")
        if name == "pipeline":
            lines += [f"{n:<24}{s:>9.1f}{p:>10}" for n, s, p in stage_costs(root)]
    lines += [
        f"{'all':<24}{sum(cost[1] for cost in costs):>9.1f}",
        "",
        "Look at",
        "  build/demo/found/report.html        who is in which photo",
        "  build/evaluate/report.html          what the release is worth, and where it fails",
        "  build/evaluate/model_card.md        the release, its limits, its thresholds",
        "",
        "Next (after `source .venv/bin/activate`)",
        "  faceops enrol PEOPLE_DIR            your own people: PEOPLE_DIR/Name/photo.jpg",
        "  faceops identify PHOTOS_DIR --gallery gallery --out found",
        "  make mlflow                         choose a release in the browser",
    ]
    return lines
