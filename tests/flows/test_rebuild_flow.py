"""The rebuild flow: stages as tasks, the registry, the gate; wrong arguments refused early."""

from collections.abc import Iterator

import pytest

from faceops.release.registry.rollback import rollback
from faceops.release.registry.tracking import point_at_store
from faceops.release.registry.versions import versions
from tests.tiny_repository import TinyRepository

pytestmark = pytest.mark.slow


@pytest.fixture
def tiny(tiny_repository: TinyRepository) -> Iterator[TinyRepository]:
    """The tiny repository, put back as it was afterwards."""
    yield tiny_repository
    tiny_repository.run("faceops", "params", "use", "tiny.yaml")
    tiny_repository.run("dvc", "repro")


def test_the_flow_brings_the_stages_up_to_date_registers_gates_and_promotes(
    tiny: TinyRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    point_at_store(tiny.root)
    before = versions()
    text = (tiny.root / "tiny.yaml").read_text().replace("evaluate: {", "evaluate: {pairs: 700, ")
    (tiny.root / "other.yaml").write_text(text)
    done = tiny.run("python", "-m", "flows.rebuild", "--experiment", "other.yaml", "--promote")
    after = versions()
    assert len(after) == len(before) + 1
    number = after[0].version
    assert f"registered faceops version {number}" in done.stdout
    assert "the gate let it pass, against version 1" in done.stdout
    assert after[0].aliases == ("champion",)
    assert "Stage 'train' didn't change, skipping" in done.stderr
    assert "Running stage 'evaluate'" in done.stderr

    client = mlflow.MlflowClient(f"sqlite:///{tiny.root}/mlflow.db")
    run = client.get_run(after[0].run_id)
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

    assert rollback(root=tiny.root)[0].version == 1


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
