"""Check the records of a run and log the run to MLflow, with its lineage and without any name."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import faceops
from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.base.reasons import DecisionKind
from faceops.dataset.expectations import CheckedTable, expect, run_expectations
from faceops.identification.metrics import mlflow_metrics
from faceops.registry import has_store

EXPERIMENT = "faceops-identify"
RECORDED_FILE = ".recorded"
_PARAMS = ("budget", "threshold", "runner_up_margin", "gallery_people", "gallery_faces", "detail")
_SHARES = ("detector_score", "quality", "probability", "runner_up_probability", "stranger_share")
# Of a summary's lists and mappings; the rest may hold names.
_NAMELESS = ("reasons", "drift", "timings", "limits", "album")
_PER_RUN = ("run_id", "release", "contract_id")


def without_names(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the summary with the number of entries in place of each list that may hold names.

    `faceops people forget` cannot reach what leaves the output folder.
    """
    held = (name for name, value in summary.items() if isinstance(value, list | dict))
    return summary | {name: len(summary[name]) for name in held if name not in _NAMELESS}


def log_run(summary: dict[str, Any], root: Path) -> str | None:
    """Log the run to the MLflow store of `root`; return the id of the MLflow run.

    The tags give the registered version and its training run, if the release is one with the same
    contract. None if there is no store: none is created.

    Args:
        summary: content of summary.json.

    Raises:
        StoreError: the store refused it; UnreachableError if it does not answer.
    """
    if not has_store(root):
        return None
    import mlflow

    from faceops.registry import store

    store.use_tracking(root, EXPERIMENT)
    tags = {name: summary[name] for name in ("release", "contract_id", "inputs_sha256")}
    tags |= {"identify_run_id": summary["run_id"], "faceops": faceops.__version__}
    if summary["release_note"]:
        tags["release_note"] = summary["release_note"]
    if summary["release"].startswith("models:/"):
        number = summary["release"].rpartition("/")[2]
        for version in store.versions():
            # The registry states the contract of the embedder in float32 only.
            is_same = summary["contract_id"] == version.contract_id
            if str(version.version) == number and (is_same or summary["precision"] != "float32"):
                tags |= {"model_version": number, "model_run_id": version.run_id}
    with (
        store.store_errors(f"recording run {summary['run_id']}"),
        mlflow.start_run(run_name=summary["run_id"]) as run,
    ):
        mlflow.set_tags(tags)
        mlflow.log_params({name: summary[name] for name in _PARAMS})
        mlflow.log_metrics(mlflow_metrics(summary))
        mlflow.log_dict(without_names(summary), "summary.json")
    return str(run.info.run_id)


def is_recorded(out: Path, run_id: str) -> bool:
    """Return whether the run `run_id` was the last one given to `mark_recorded`."""
    path = out / RECORDED_FILE
    return path.is_file() and path.read_text("utf-8").strip() == run_id


def mark_recorded(out: Path, run_id: str) -> None:
    """Record in `out` that the records of the run `run_id` were checked and logged."""
    write_file(out / RECORDED_FILE, f"{run_id}\n")


def require_valid_records(records: Path) -> int:
    """Check the Parquet file of a run; return the number of expectations.

    Expected: one row per face; a known decision; a name if and only if somebody was identified,
    and a reason otherwise; shares from 0 to 1; boxes with an area; no person twice in one photo;
    one run, release and contract.

    Raises:
        FaceOpsError: some were not met, with an example each.
    """
    import pandas as pd

    frame = pq.read_table(records).to_pandas()
    frame["row"] = frame["photo_path"] + " #" + frame["face_index"].astype("Int64").astype(str)
    named = frame["decision"] == DecisionKind.IDENTIFIED
    frame["name_or_reason"] = (frame["person"].notna() == named) & (frame["reason"].isna() == named)
    frame["has_area"] = frame["face_index"].isna() | ((frame["width"] > 0) & (frame["height"] > 0))
    twice = frame.duplicated(["photo_path", "person"], keep=False) & frame["person"].notna()
    frame["person_once"] = ~twice
    kinds = [str(kind) for kind in DecisionKind]
    of_rows = [
        expect("one_row_a_face", "BeUnique", "row"),
        expect("decision_exists", "BeInSet", "decision", value_set=kinds),
        expect("name_or_reason", "BeInSet", "name_or_reason", value_set=[True]),
        expect("boxes_have_an_area", "BeInSet", "has_area", value_set=[True]),
        expect("nobody_twice_in_a_photo", "BeInSet", "person_once", value_set=[True]),
        *(
            expect("shares_within_0_to_1", "BeBetween", name, min_value=0, max_value=1)
            for name in _SHARES
        ),
    ]
    run = pd.DataFrame({"rows": ["all rows"]})
    for name in _PER_RUN:
        run[name] = [frame[name].nunique(dropna=False) if len(frame) else 1]
    of_run = [expect("one_run_and_release", "BeInSet", name, value_set=[1]) for name in _PER_RUN]
    tables = [
        CheckedTable("records", frame, "row", of_rows),
        CheckedTable("run", run, "rows", of_run),
    ]
    results = run_expectations(tables, [each.name for each in (*of_rows, *of_run)])
    failed = [
        f"{result.name} in {result.failed} rows"
        + (f", for instance {result.examples[0]}" if result.examples else "")
        for result in results
        if not result.success
    ]
    if failed:
        raise FaceOpsError(
            f"{records} fails {'; '.join(failed)}; do not use it, and please report this."
        )
    return len(results)
