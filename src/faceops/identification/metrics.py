"""The metrics of a run, from its summary: metrics.prom, and what MLflow records.

metrics.prom is valid in OpenMetrics and in Prometheus' text format, which the textfile collector of
node exporter reads. All metrics are gauges: they describe the latest run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from faceops.base.files import write_file
from faceops.base.reasons import Reason
from faceops.identification.records.output_folder import METRICS_FILE
from faceops.identification.summary import Summary

PREFIX = "faceops_identify_"  # of the metrics
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(frozen=True)
class Metric:
    """One metric of a run."""

    name: str  # after `PREFIX`, and in MLflow
    help: str  # what it counts, as a sentence
    # Returns its value from the content of summary.json: a number, None where there is none, or a
    # number for each value of `label`. Default: the field `name`.
    of: Callable[[dict[str, Any]], float | dict[str, float] | None] | None = None
    label: str = ""  # the name of the label, or ""

    def values(self, summary: dict[str, Any]) -> dict[str, float]:
        """Return the values by the label's value; the key is "" without a label."""
        value = self.of(summary) if self.of else summary[self.name]
        if value is None:
            return {}
        return value if isinstance(value, dict) else {"": value}


def _time(text: str) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _share_unnamed(summary: dict[str, Any]) -> float | None:
    """Return the share among the faces that the model decided."""
    reasons = summary["reasons"]
    named = summary["identified"] - reasons.get(Reason.CONFIRMED, 0)
    unnamed = summary["unknown"] - reasons.get(Reason.REFUSED_BY_PERSON, 0)
    return unnamed / (named + unnamed) if named + unnamed else None


def _drift(summary: dict[str, Any]) -> dict[str, float]:
    return {drift["what"].replace(" ", "_"): drift["psi"] for drift in summary["drift"]}


def _strangers_named(summary: dict[str, Any]) -> dict[str, float] | None:
    album = summary["album"] or {}
    found = {bound: album.get(bound) for bound in ("low", "high")}
    return {bound: share for bound, share in found.items() if share is not None}


# MLflow knows these otherwise: as parameters, tags or the run's own times.
ABOUT = (
    Metric(
        "checked_timestamp_seconds", "When the folder was checked.", lambda s: _time(s["checked"])
    ),
    Metric(
        "results_timestamp_seconds", "When the results were made.", lambda s: _time(s["started"])
    ),
    Metric("release", "1, with the release used.", lambda s: {s["release"]: 1}, "release"),
    Metric("gallery_people", "People enrolled in the gallery."),
    Metric("gallery_faces", "Faces enrolled in the gallery."),
    Metric("part_seconds", "Duration by part, over all threads.", lambda s: s["timings"], "part"),
)
COUNTS = (
    Metric("photos", "Photos in the folder."),
    Metric("photos_opened", "Photos opened by the run."),
    Metric("photos_reused", "Photos whose faces were known from an earlier run."),
    Metric("photos_reembedded", "Photos whose faces were embedded again from stored crops."),
    Metric("rejected_photos", "Photos without a face, or that cannot be used."),
    Metric("faces", "Faces found."),
    Metric("identified", "Faces that were given a name."),
    Metric("unknown", "Faces that were good enough but not given a name."),
    Metric("rejected", "Faces too small or too poor to be named."),
    Metric(
        "share_unnamed",
        "Share of unknown faces in identified and unknown ones, without those that people decided.",
        _share_unnamed,
    ),
    Metric(
        "reason", "Faces, or photos without faces, by reason.", lambda s: s["reasons"], "reason"
    ),
    Metric("admitted", "Faces that a person confirmed and that entered the gallery."),
    Metric("withdrawn", "Faces that left the gallery, as they are not confirmed any more."),
    Metric("people", "People named in the photos.", lambda s: len(s["people"])),
    Metric("unknown_people", "People without a name seen in two photos or more."),
    Metric("unknown_people_faces", "Faces of these people."),
    Metric(
        "drift", "Population stability index: moderate from 0.1, major from 0.25.", _drift, "what"
    ),
    Metric(
        "strangers_named",
        "Estimated share of the album's strangers that get a name, 95 % interval.",
        _strangers_named,
        "bound",
    ),
    Metric("failures", "Photos to be tried again by the next run.", lambda s: len(s["failures"])),
    Metric("vanished", "Photos of the previous run that are missing."),
    Metric("moved", "Missing photos that lie under another path."),
    Metric("unlisted_folders", "Folders that could not be listed.", lambda s: len(s["unlisted"])),
    Metric("sidecars_written", "Sidecars written or changed."),
    Metric("sidecars_withdrawn", "Sidecars from which entries were removed: their photo is gone."),
    Metric("sidecar_errors", "Sidecars left as they are.", lambda s: len(s["sidecar_errors"])),
    Metric("seconds", "Duration of the run."),
    Metric("photos_per_second", "Photos divided by the duration."),
)
METRICS = (*ABOUT, *COUNTS)


def metrics_text(summary: dict[str, Any]) -> str:
    """Return the metrics of a run as OpenMetrics text.

    `summary`: content of summary.json. No name of a person gets into the text.
    """
    folder, lines = {"photos_folder": summary["photos_folder"]}, list[str]()
    for metric in METRICS:
        name = PREFIX + metric.name
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} gauge"]
        for key, value in metric.values(summary).items():
            labels = folder | ({metric.label: key} if metric.label else {})
            shown = ",".join(
                f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items()
            )
            lines.append(f"{name}{{{shown}}} {float(value)!r}")
    return "\n".join([*lines, "# EOF\n"])


def write_metrics(summary: Summary, out: Path) -> None:
    write_file(out / METRICS_FILE, metrics_text(summary.as_dict()))


def mlflow_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """Return what MLflow records, by name; a labelled metric as name/label."""
    return {
        f"{metric.name}/{key}" if metric.label else metric.name: float(value)
        for metric in COUNTS
        for key, value in metric.values(summary).items()
    }
