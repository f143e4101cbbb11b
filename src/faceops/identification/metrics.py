"""The metrics of a run: for Prometheus in metrics.prom, for MLflow in the run that records it.

metrics.prom is valid in OpenMetrics and in Prometheus' text format, which the textfile collector of
node exporter reads. All metrics are gauges: they describe the latest run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from faceops.base.files import write_file

METRICS_FILE = "metrics.prom"
PREFIX = "faceops_identify_"
Value = float | dict[str, float] | None


@dataclass(frozen=True)
class Metric:
    """One metric of a run.

    Attributes:
        name: after `PREFIX`, and in MLflow.
        help: what it counts, as a sentence.
        of: returns its value from the content of summary.json: one number, or one for each value
            of `label`; None where there is none. Default: the field `name`.
        label: the name of the label, or "".
        in_mlflow: whether MLflow records it too.
    """

    name: str
    help: str
    of: Callable[[dict[str, Any]], Value] | None = None
    label: str = ""
    in_mlflow: bool = True

    def values(self, summary: dict[str, Any]) -> dict[str, float]:
        """Return the values by the label's value; the key is "" without a label."""
        value = self.of(summary) if self.of else summary[self.name]
        if value is None:
            return {}
        return value if isinstance(value, dict) else {"": value}


def _time(field: str) -> Callable[[dict[str, Any]], Value]:
    return lambda summary: (
        datetime.fromisoformat(summary[field]).timestamp() if summary[field] else None
    )


def _number(field: str) -> Callable[[dict[str, Any]], Value]:
    return lambda summary: len(summary[field])


def _share_unnamed(summary: dict[str, Any]) -> Value:
    compared = summary["identified"] + summary["unknown"]
    return summary["unknown"] / compared if compared else None


def _drift(summary: dict[str, Any]) -> Value:
    return {drift["what"].replace(" ", "_"): drift["psi"] for drift in summary["drift"]}


METRICS = (
    Metric(
        "checked_timestamp_seconds",
        "When the folder was last checked.",
        _time("checked"),
        "",
        False,
    ),
    Metric(
        "results_timestamp_seconds",
        "When the run that wrote the results began.",
        _time("started"),
        "",
        False,
    ),
    Metric(
        "release",
        "1, with the release that named the faces.",
        lambda s: {s["release"]: 1},
        "release",
        False,
    ),
    Metric("gallery_people", "People enrolled in the gallery.", None, "", False),
    Metric("gallery_faces", "Faces enrolled in the gallery.", None, "", False),
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
        "share_unnamed", "Unknown faces as a share of identified and unknown ones.", _share_unnamed
    ),
    Metric(
        "reason", "Faces, and photos without faces, by reason.", lambda s: s["reasons"], "reason"
    ),
    Metric("people", "People named in the photos.", _number("people")),
    Metric("unknown_people", "People without a name seen in two photos or more."),
    Metric("unknown_people_faces", "Faces of these people."),
    Metric(
        "drift",
        "Population stability index against the calibration: from 0.1 moderate, from 0.25 major.",
        _drift,
        "what",
    ),
    Metric("vanished", "Photos of the run before that are missing."),
    Metric("moved", "Of these, photos that lie under another path."),
    Metric("unlisted_folders", "Folders that could not be listed.", _number("unlisted")),
    Metric("sidecars_written", "Sidecars written or changed."),
    Metric("sidecars_withdrawn", "Sidecars from which entries were removed: their photo is gone."),
    Metric("sidecar_errors", "Sidecars that could not be written.", _number("sidecar_errors")),
    Metric("seconds", "Duration of the run."),
    Metric(
        "part_seconds",
        "Seconds of each part of the run, summed over threads.",
        lambda s: s["timings"],
        "part",
        False,
    ),
    Metric("photos_per_second", "Photos divided by the duration."),
)


def metrics_text(summary: dict[str, Any]) -> str:
    """Return the metrics of a run as OpenMetrics text.

    Args:
        summary: content of summary.json. No name of a person gets into the text.
    """
    return "".join(f"{line}\n" for line in _lines(summary)) + "# EOF\n"


def _lines(summary: dict[str, Any]) -> Iterator[str]:
    folder = {"photos_folder": summary["photos_folder"]}
    for metric in METRICS:
        yield f"# HELP {PREFIX}{metric.name} {metric.help}"
        yield f"# TYPE {PREFIX}{metric.name} gauge"
        for key, value in metric.values(summary).items():
            labels = folder | ({metric.label: key} if metric.label else {})
            shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{PREFIX}{metric.name}{{{shown}}} {float(value)!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def write_metrics(summary: dict[str, Any], out: Path) -> None:
    """Write `out`/metrics.prom atomically."""
    write_file(out / METRICS_FILE, metrics_text(summary))


def mlflow_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """Return what MLflow records, by name; a labelled metric as name/label."""
    return {
        f"{metric.name}/{key}" if metric.label else metric.name: float(value)
        for metric in METRICS
        if metric.in_mlflow
        for key, value in metric.values(summary).items()
    }
