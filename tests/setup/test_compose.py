"""docker-compose.yml, as far as it can be checked without building its images."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml


def test_docker_accepts_the_file(repository: Path) -> None:
    docker = shutil.which("docker")
    command = [docker or "docker", "compose"]
    if not docker or subprocess.run([*command, "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    subprocess.run([*command, "config", "--quiet"], cwd=repository, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "prefect"])
def test_the_installed_servers_know_the_options_of_the_services(
    repository: Path, name: str
) -> None:
    service = yaml.safe_load((repository / "docker-compose.yml").read_text("utf-8"))["services"]
    command = ["python", "-m", *service[name]["entrypoint"], "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    unknown = [word for word in service[name]["command"] if word.partition("=")[0] not in text]
    assert unknown == []
