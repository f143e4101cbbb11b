"""docker-compose.yml names targets, ports, volumes and commands that exist. It is not run here."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from faceops.base.analytics import OPT_OUT


@pytest.fixture(scope="module")
def compose(repository: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((repository / "docker-compose.yml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def dockerfile(repository: Path) -> str:
    return (repository / "Dockerfile").read_text("utf-8")


def test_every_service_is_built_from_a_target_of_the_dockerfile(
    compose: dict[str, Any], dockerfile: str
) -> None:
    assert set(compose["services"]) == {"mlflow", "prefect", "worker"}
    for service in compose["services"].values():
        assert service["build"] == {"context": ".", "target": "rebuild"}
        assert re.search(rf"^FROM \S+ AS {service['build']['target']}$", dockerfile, re.MULTILINE)
        assert service["image"] == "faceops-rebuild"


def test_ports_are_open_to_this_machine_only_and_are_those_that_the_servers_listen_on(
    compose: dict[str, Any],
) -> None:
    for name, default in (("mlflow", 5000), ("prefect", 4200)):
        service = compose["services"][name]
        variable = f"{name.upper()}_PORT"
        assert service["ports"] == [f"127.0.0.1:${{{variable}:-{default}}}:{default}"]
        assert f"--port={default}" in service["command"]
        assert "--host=0.0.0.0" in service["command"]
        assert f":{default}/" in service["healthcheck"]["test"][-1]
    assert "ports" not in compose["services"]["worker"]


def test_the_worker_waits_for_both_servers_and_finds_them_by_their_names(
    compose: dict[str, Any],
) -> None:
    worker = compose["services"]["worker"]
    assert {name: one["condition"] for name, one in worker["depends_on"].items()} == {
        "mlflow": "service_healthy",
        "prefect": "service_healthy",
    }
    assert worker["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert worker["environment"]["PREFECT_API_URL"] == "http://prefect:4200/api"
    # MLflow answers nobody who calls it by a name that it was not told.
    (allowed,) = [w for w in compose["services"]["mlflow"]["command"] if "--allowed-hosts=" in w]
    assert "mlflow:5000" in allowed.partition("=")[2].split(",")


def test_the_worker_deploys_from_the_mounted_clone(
    compose: dict[str, Any], repository: Path
) -> None:
    worker = compose["services"]["worker"]
    assert f".:{worker['working_dir']}" in worker["volumes"]
    assert worker["environment"]["PYTHONPATH"] == f"{worker['working_dir']}/src"
    (script,) = worker["command"]
    pools = {
        one["work_pool"]["name"]
        for one in yaml.safe_load((repository / "prefect.yaml").read_text())["deployments"]
    }
    assert set(re.findall(r"(?:create|--pool) (\w+)", script)) == pools
    assert "prefect --no-prompt deploy --all" in script
    subprocess.run(["sh", "-n", "-c", script], check=True)


def test_volumes_are_declared_and_lie_over_the_home_that_the_image_makes(
    compose: dict[str, Any], dockerfile: str
) -> None:
    (home,) = re.findall(r"HOME=(\S+)", dockerfile)
    used = set()
    for service in compose["services"].values():
        for mount in service["volumes"]:
            source, target = mount.split(":")
            if source != ".":
                used.add(source)
                assert target == home
    assert used == set(compose["volumes"])


def test_analytics_are_off_in_every_service(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        own = {key: v for key, v in service["environment"].items() if key in OPT_OUT}
        assert own
        assert own.items() <= OPT_OUT.items()


def test_docker_itself_takes_the_file(repository: Path) -> None:
    docker = shutil.which("docker")
    command = [docker or "docker", "compose"]
    if not docker or subprocess.run([*command, "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    subprocess.run([*command, "config", "--quiet"], cwd=repository, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("service", ["mlflow", "prefect"])
def test_the_servers_commands_take_their_options(compose: dict[str, Any], service: str) -> None:
    """Every option is one that the installed version's help lists."""
    entry = compose["services"][service]["entrypoint"]
    done = subprocess.run(
        ["python", "-m", *entry, "--help"], capture_output=True, text=True, check=True
    )
    for word in compose["services"][service]["command"]:
        assert word.partition("=")[0] in done.stdout, word
