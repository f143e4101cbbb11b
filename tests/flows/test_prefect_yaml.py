"""prefect.yaml's deployments: their flows load as a worker loads them and take their parameters."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from faceops.base.analytics import OPT_OUT

pytestmark = pytest.mark.slow  # Prefect's import


@pytest.fixture(scope="module")
def content(repository: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((repository / "prefect.yaml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def deployments(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in content["deployments"]}


@pytest.mark.parametrize(("name", "flow_name"), [("nightly", "identify"), ("weekly", "rebuild")])
def test_the_entrypoint_loads_and_takes_the_parameters(
    repository: Path,
    deployments: dict[str, dict[str, Any]],
    name: str,
    flow_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from prefect.flows import load_flow_from_entrypoint

    monkeypatch.chdir(repository)
    flow = load_flow_from_entrypoint(deployments[name]["entrypoint"])
    assert flow.name == flow_name
    given = deployments[name]["parameters"]
    assert flow.validate_parameters(given).items() >= given.items()
    with pytest.raises(Exception, match="no_such_parameter"):
        flow.validate_parameters(given | {"no_such_parameter": 1})


def test_they_share_one_pool_and_wait_for_the_run_before(
    deployments: dict[str, dict[str, Any]],
) -> None:
    for one in deployments.values():
        assert one["work_pool"]["name"] == "faceops"
        assert one["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    crons = {name: one["schedules"][0]["cron"] for name, one in deployments.items()}
    assert crons == {"nightly": "0 3 * * *", "weekly": "0 4 * * 0"}


def test_prefect_reads_the_file_without_dropping_a_key(content: dict[str, Any]) -> None:
    from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel

    PrefectYamlModel.model_validate(content)
    for one in content["deployments"]:
        assert set(one) <= set(DeploymentConfig.model_fields)


def test_a_run_starts_in_the_folder_that_was_deployed(
    content: dict[str, Any], deployments: dict[str, dict[str, Any]]
) -> None:
    # `pull: []` is Prefect's word for an empty temporary folder: no flow would be found in it.
    assert content.get("pull") is None
    assert not any("pull" in one for one in deployments.values())


def test_the_switches_are_those_of_faceops(deployments: dict[str, dict[str, Any]]) -> None:
    for one in deployments.values():
        environment = dict(one["work_pool"]["job_variables"]["env"])
        assert environment.pop("PREFECT_RESULTS_PERSIST_BY_DEFAULT") == "false"
        assert environment
        assert environment.items() <= OPT_OUT.items()


def test_the_commands_in_its_head_name_its_pool(repository: Path) -> None:
    head = (repository / "prefect.yaml").read_text("utf-8").partition("\nname:")[0]
    assert re.findall(r"(?:create|--pool) (\w+)", head) == ["faceops", "faceops"]
