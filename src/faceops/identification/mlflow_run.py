"""Record an identification run in MLflow, with its lineage, and without anybody's name."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import faceops
from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.dataset.run_expectations import (
    CheckedTable,
    ColumnExpectation,
    ExpectationResult,
    is_true,
    run_expectations,
)
from faceops.identification.engine.decide import Outcome as Decided

EXPERIMENT = "faceops-identify"
_PARAMS = ("budget", "threshold", "runner_up_margin", "gallery_people", "gallery_faces", "detail")
_COUNTS = (
    *("photos", "photos_opened", "photos_reused", "photos_reembedded"),
    *("faces", "identified", "unknown", "rejected"),
    *("rejected_photos", "unknown_people", "vanished", "moved"),
    *("seconds", "photos_per_second"),
)


def without_names(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the summary with the number of people in the place of their names.

    What leaves the output folder cannot be reached by `faceops people forget`.
    """
    return {**summary, "people": len(summary["people"]), "sidecar_errors": [], "unlisted": []}


def log_run(summary: dict[str, Any], root: Path) -> str | None:
    """Write the run to the MLflow store of `root`; return the id of the MLflow run.

    Its tags lead to the release: registered version and training run, where the registry has the
    contract of this run under its name. None where there is no store: nothing is made.

    Args:
        summary: as summary.json has it.

    Raises:
        StoreError: the store refused it; UnreachableError where it does not answer.
    """
    from faceops.registry.store import has_store, store_errors
    from faceops.registry.versions import versions

    if not has_store(root):
        return None
    import mlflow

    from faceops.registry.store import use_tracking

    use_tracking(root, EXPERIMENT)
    tags = {
        "identify_run_id": summary["run_id"],
        "release": summary["release"],
        "contract_id": summary["contract_id"],
        "decided_by": summary["decided_by"],
        "faceops": faceops.__version__,
    }
    if summary["release_note"]:
        tags["release_note"] = summary["release_note"]
    if summary["release"].startswith("models:/"):
        number = summary["release"].rpartition("/")[2]
        for version in versions():
            asked = str(version.version) == number
            if asked and version.contract_id == summary["contract_id"]:
                tags |= {"model_version": str(version.version), "model_run_id": version.run_id}
    metrics = {name: float(summary[name]) for name in _COUNTS}
    if named := summary["identified"] + summary["unknown"]:
        metrics["share_unnamed"] = summary["unknown"] / named
    for drift in summary["drift"]:
        metrics[f"drift/{drift['what'].replace(' ', '_')}"] = drift["psi"]
    metrics |= {f"reason/{name}": float(count) for name, count in summary["reasons"].items()}
    with (
        store_errors(f"recording run {summary['run_id']}"),
        mlflow.start_run(run_name=summary["run_id"]) as run,
    ):
        mlflow.set_tags(tags)
        mlflow.log_params({name: summary[name] for name in _PARAMS})
        mlflow.log_metrics(metrics)
        mlflow.log_dict(without_names(summary), "summary.json")
    return str(run.info.run_id)


RECORDED_FILE = ".recorded"


def is_recorded(out: Path, run_id: str) -> bool:
    """Whether `note_recorded` was the last time told of this run."""
    path = out / RECORDED_FILE
    return path.is_file() and path.read_text("utf-8").strip() == run_id


def note_recorded(out: Path, run_id: str) -> None:
    """Note in `out` that the records of the run `run_id` hold and are recorded."""
    write_file(out / RECORDED_FILE, f"{run_id}\n")


_NUMBERS = ("detector_score", "quality", "probability", "runner_up_probability")


def check_records(records: Path) -> list[ExpectationResult]:
    """Return the result of each expectation on the Parquet file of a run, by name.

    Rows are named by photo and face. Expected: one row a face; a decision that exists; a name
    where, and only where, somebody was identified; a reason everywhere else; shares within 0 to 1;
    boxes with an area; no person twice in one photo; one run, release and contract throughout.
    """
    import pandas as pd

    frame = pq.read_table(records).to_pandas()
    frame["row"] = frame["photo_path"] + " #" + frame["face_index"].astype("Int64").astype(str)
    named = frame["decision"] == Decided.IDENTIFIED
    frame["name_or_reason"] = (frame["person"].notna() == named) & (frame["reason"].isna() == named)
    is_face = frame["face_index"].notna()
    frame["has_box"] = ~is_face | ((frame["width"] > 0) & (frame["height"] > 0))
    twice = frame.duplicated(["photo_path", "person"], keep=False)
    frame["once"] = ~(twice & frame["person"].notna())
    decisions = {"value_set": [str(each) for each in Decided]}
    expectations = [
        ColumnExpectation("one_row_a_face", "BeUnique", "row"),
        ColumnExpectation("decision_exists", "BeInSet", "decision", decisions),
        is_true("name_or_reason", "name_or_reason"),
        is_true("boxes_have_an_area", "has_box"),
        is_true("nobody_twice_in_a_photo", "once"),
    ]
    share = {"min_value": 0, "max_value": 1}
    expectations += [
        ColumnExpectation("shares_within_0_to_1", "BeBetween", name, share) for name in _NUMBERS
    ]
    run_columns = ("run_id", "release", "contract_id")
    summary = pd.DataFrame({"rows": ["all rows"]})
    for name in run_columns:
        summary[name] = [frame[name].nunique(dropna=False) if len(frame) else 1]
    on_summary = [
        ColumnExpectation("one_run_and_release", "BeInSet", name, {"value_set": [1]})
        for name in run_columns
    ]
    tables = [
        CheckedTable("records", frame, "row", expectations),
        CheckedTable("run", summary, "rows", on_summary),
    ]
    return run_expectations(tables, [each.name for each in (*expectations, *on_summary)])


def require_sound_records(records: Path) -> int:
    """Return how many expectations held: all of them.

    Raises:
        FaceOpsError: one did not, with an example.
    """
    results = check_records(records)
    for result in results:
        if not result.success:
            example = f", for instance {result.examples[0]}" if result.examples else ""
            raise FaceOpsError(
                f"{records} fails {result.name} in {result.failed} rows{example}; do not use it, "
                "and please report this."
            )
    return len(results)
