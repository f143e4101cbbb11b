"""Record an identification run in MLflow, with its lineage, and without anybody's name."""

from pathlib import Path
from typing import Any

import faceops

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
    from faceops.release.registry.store import has_store, store_errors
    from faceops.release.registry.versions import versions

    if not has_store(root):
        return None
    import mlflow

    from faceops.release.registry.tracking import use_tracking

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
