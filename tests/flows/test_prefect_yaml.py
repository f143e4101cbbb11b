"""The deployments of prefect.yaml load as a worker loads them and accept their parameters."""

from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow  # Prefect's import


@pytest.fixture(scope="module")
def content(repository: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((repository / "prefect.yaml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def deployments(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in content["deployments"]}


@pytest.mark.parametrize(
    ("name", "flow_name"), [("nightly", "identify"), ("weekly", "rebuild"), ("learn", "rebuild")]
)
def test_the_entrypoint_loads_and_takes_the_parameters(
    repository, deployments, name, flow_name, monkeypatch
):
    from prefect.flows import load_flow_from_entrypoint

    monkeypatch.chdir(repository)
    flow = load_flow_from_entrypoint(deployments[name]["entrypoint"])
    assert flow.name == flow_name
    given = deployments[name]["parameters"]
    assert flow.validate_parameters(given).items() >= given.items()
    with pytest.raises(Exception, match="no_such_parameter"):
        flow.validate_parameters(given | {"no_such_parameter": 1})


def test_prefect_reads_the_file_without_dropping_a_key(content):
    from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel

    PrefectYamlModel.model_validate(content)
    for one in content["deployments"]:
        assert set(one) <= set(DeploymentConfig.model_fields)
