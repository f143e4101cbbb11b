"""What a rebuild leaves on its page in Prefect."""

import os
from collections.abc import Sequence
from typing import Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from faceops.release.registry.stage_runs import StageRun


def report_stages(photos: dict[str, Any], runs: Sequence[StageRun]) -> None:
    """Show what every stage did, and what the photos were."""
    create_table_artifact(
        key="stages",
        table=[
            {"stage": run.stage, "state": run.state, "seconds": round(run.seconds, 1)}
            for run in runs
        ],
        description=f"{photos['photos']} photos of {photos['people']} people",
    )


def report_release(result: dict[str, Any]) -> None:
    """Show the release, the gate's verdict, and where both are in MLflow."""
    shown = ("version", "new", "aliases", "gate", "promoted", "contract_id", "summary")
    create_table_artifact(
        key="release",
        table=[{"what": name, "value": _text(result[name])} for name in shown],
    )
    if result["verdict"]:
        create_markdown_artifact(key="gate", markdown=result["verdict"])
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if server.startswith("http"):
        create_link_artifact(
            key="release-page",
            link=f"{server.rstrip('/')}/#/models/faceops/versions/{result['version']}",
            link_text=f"faceops version {result['version']} in MLflow",
        )
        create_link_artifact(
            key="rebuild-run",
            link=f"{server.rstrip('/')}/#/experiments/{result['experiment']}/runs/{result['run']}",
            link_text="the rebuild's run in MLflow, with its stages",
        )


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)
