"""The compose files, as far as they can be checked without building their images."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

FILES = ("docker-compose.yml", "docker-compose.scale.yml")


def services(repository: Path, file: str = "docker-compose.scale.yml") -> dict[str, dict[str, Any]]:
    return yaml.safe_load((repository / file).read_text("utf-8"))["services"]


@pytest.mark.parametrize("file", FILES)
def test_docker_accepts_the_file(repository, file):
    docker = shutil.which("docker")
    command = [docker or "docker", "compose"]
    if not docker or subprocess.run([*command, "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    settings = {"POSTGRES_PASSWORD": "a", "S3_ACCESS_KEY": "b", "S3_SECRET_KEY": "c"}
    command += ["--file", file, "config", "--quiet"]
    subprocess.run(command, cwd=repository, check=True, env=os.environ | settings)


@pytest.mark.parametrize("file", FILES)
def test_ports_are_published_on_this_machine_only(repository, file):
    for service in services(repository, file).values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_passwords_come_from_the_environment(repository):
    example = (repository / "deploy/scale.env.example").read_text("utf-8")
    for service in services(repository).values():
        for name, value in service.get("environment", {}).items():
            if name.endswith(("PASSWORD", "ACCESS_KEY", "ACCESS_KEY_ID")):
                variable, _, rest = value.removeprefix("${").partition(":?")
                assert rest.endswith(" .env}") and f"{variable}=" in example


def test_only_what_decides_gets_the_password_of_the_gallery(repository):
    known = [k for k, v in services(repository).items() if "PGPASSWORD" in v.get("environment", {})]
    assert known == ["mlflow", "prefect", "identify"]


@pytest.mark.parametrize(("file", "count"), [(FILES[0], 3), (FILES[1], 6)])
def test_own_services_cannot_write_into_their_image(repository, file, count):
    own = [s for s in services(repository, file).values() if s["image"].startswith("faceops-")]
    assert len(own) == count
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in own)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:While registering")  # a command of Dask twice
@pytest.mark.parametrize("name", ["mlflow", "prefect", "scheduler", "worker"])
def test_the_installed_servers_know_the_options_of_the_services(
    repository, name, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", [*services(repository)[name]["entrypoint"], "--help"])
    with pytest.raises(SystemExit):
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    text = capsys.readouterr().out
    both = [services(repository, file).get(name, {"command": []}) for file in FILES]
    options = [word.partition("=")[0] for service in both for word in service["command"]]
    assert [one for one in options if one.startswith("--") and one not in text] == []
