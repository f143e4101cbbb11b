"""The rebuild flow: stages as tasks, the registry, the gate; wrong arguments refused early."""

import json
from collections.abc import Iterator

import pytest

from tests.tiny_repository import TinyRepository

pytestmark = pytest.mark.slow


def listed(tiny: TinyRepository) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(
        tiny.run("faceops", "release", "list", "--json").stdout
    )
    return rows


@pytest.fixture
def tiny(tiny_repository: TinyRepository) -> Iterator[TinyRepository]:
    """The tiny repository, put back as it was afterwards."""
    yield tiny_repository
    tiny_repository.run("faceops", "params", "use", "tiny.yaml")
    tiny_repository.run("dvc", "repro")


def test_the_flow_brings_the_stages_up_to_date_registers_gates_and_promotes(
    tiny: TinyRepository,
) -> None:
    import mlflow

    before = listed(tiny)
    text = (tiny.root / "tiny.yaml").read_text().replace("evaluate: {", "evaluate: {pairs: 700, ")
    (tiny.root / "other.yaml").write_text(text)
    done = tiny.run("python", "-m", "flows.rebuild", "--experiment", "other.yaml", "--promote")
    after = listed(tiny)
    assert len(after) == len(before) + 1
    number = after[0]["version"]
    assert f"registered faceops version {number}" in done.stdout
    assert "the gate let it pass, against version 1" in done.stdout
    assert after[0]["aliases"] == ["champion"]
    assert "Stage 'train' didn't change, skipping" in done.stderr
    assert "Running stage 'evaluate'" in done.stderr

    client = mlflow.MlflowClient(f"sqlite:///{tiny.root}/mlflow.db")
    run = client.get_run(str(after[0]["run_id"]))
    children = {
        child.info.run_name: child
        for child in client.search_runs(
            [run.info.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'"
        )
    }
    states = {name: child.data.tags["state"] for name, child in children.items()}
    assert (states["train"], states["evaluate"]) == ("nothing to do", "ran")
    assert children["evaluate"].data.params["evaluate.pairs"] == "700"
    logs = client.list_artifacts(children["evaluate"].info.run_id)
    assert [file.path for file in logs] == ["evaluate.log"]

    rolled = tiny.run("faceops", "release", "rollback")
    assert "faceops version 1 is champion again" in rolled.stdout


def test_a_stage_that_fails_is_told_and_its_log_is_kept(tiny: TinyRepository) -> None:
    import mlflow

    text = (tiny.root / "tiny.yaml").read_text()
    strict = text.replace("validate: {", "validate: {min_photos: 99, ")
    (tiny.root / "strict.yaml").write_text(strict)
    done = tiny.run("python", "-m", "flows.rebuild", "--experiment", "strict.yaml", check=False)
    assert done.returncode == 1
    assert "rebuild: stage validate failed" in done.stderr
    assert "people_enough" in (tiny.root / "build/logs/validate.log").read_text()
    client = mlflow.MlflowClient(f"sqlite:///{tiny.root}/mlflow.db")
    experiment = client.get_experiment_by_name("faceops")
    assert experiment is not None
    failed = client.search_runs(
        [experiment.experiment_id], "attributes.status = 'FAILED'", max_results=2
    )
    assert {run.info.run_name for run in failed} == {"rebuild", "validate"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--force", "polish"], "there is no stage 'polish'"),
        (["--experiment", "none"], "there is no experiment 'none'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    tiny_repository: TinyRepository, arguments: list[str], says: str
) -> None:
    done = tiny_repository.run("python", "-m", "flows.rebuild", *arguments, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
