"""`make up` and `make down` with real servers."""

import os
import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.flows.receivers import webhook_receiver
from tests.http_server import free_port

pytestmark = pytest.mark.slow


def make(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in `root`, with the interpreter of these tests instead of a new .venv."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PREFECT_HOME", "MLFLOW_TRACKING_URI")
    environment = {key: value for key, value in os.environ.items() if key not in outer}
    return subprocess.run(
        ["make", "-o", "setup", *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def check_webhook_of_aliases(repository: Path, run: Any) -> None:
    """Run the call of the documentation, and move an alias."""
    from mlflow import MlflowClient

    page = (repository / "docs/monitoring.md").read_text("utf-8")
    (call,) = re.findall(r"^```python\n(.+?)^```", page, re.M | re.S)
    client = MlflowClient()
    with webhook_receiver() as (address, received):
        exec(call.replace("https://example.com/hook", f"{address}/"), {})
        client.create_registered_model("faceops")
        client.create_model_version("faceops", f"{run.artifact_uri}/bundle", run.run_id)
        client.set_registered_model_alias("faceops", "champion", "1")
        sent = received.wait_for("model_version_alias", 30, key="entity")
    assert sent["action"] == "created"
    assert sent["data"] == {"name": "faceops", "alias": "champion", "version": "1"}


def test_the_servers_start_once_keep_their_records_and_stop(
    repository, empty_store, prefect_home, tmp_path, monkeypatch
):
    import mlflow

    from faceops.registry.store import use_tracking

    shutil.copy(repository / "Makefile", tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    (tmp_path / ".servers").mkdir()
    records = prefect_home.rename(tmp_path / ".servers/prefect") / "prefect.db"
    os.utime(records, (0, 0))
    mlflow_port, prefect_port = free_port(), free_port()
    # By default a webhook of MLflow must be https and public.
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    monkeypatch.setenv("PREFECT_SERVER_METRICS_ENABLED", "true")
    ports = [f"MLFLOW_PORT={mlflow_port}", f"PREFECT_PORT={prefect_port}"]
    try:
        done = make(tmp_path, "up", *ports)
        assert done.returncode == 0, done.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{prefect_port}/ui-settings") as answer:
            assert f"127.0.0.1:{prefect_port}/api" in answer.read().decode()
        with urllib.request.urlopen(f"http://127.0.0.1:{prefect_port}/api/metrics") as answer:
            assert b"# TYPE prefect_" in answer.read()
        pids = [one.read_text() for one in sorted((tmp_path / ".servers").glob("*.pid"))]
        assert make(tmp_path, "up", *ports).returncode == 0
        assert pids == [one.read_text() for one in sorted((tmp_path / ".servers").glob("*.pid"))]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{mlflow_port}")
        use_tracking(tmp_path)
        with mlflow.start_run() as run:
            mlflow.log_text("text", "file.txt")
        check_webhook_of_aliases(repository, run.info)
    finally:
        done = make(tmp_path, "down")
    assert done.stdout.splitlines() == ["mlflow stopped", "prefect stopped"], done.stderr
    for port in (mlflow_port, prefect_port):
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))

    # Without the server, the same records.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    use_tracking(tmp_path)
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"
    assert records.stat().st_mtime > 0
    assert list((tmp_path / "mlartifacts").iterdir())


def test_a_port_in_use_is_refused(repository, tmp_path):
    shutil.copy(repository / "Makefile", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = make(tmp_path, "up", f"MLFLOW_PORT={port}")
    assert done.returncode == 2
    assert f"port {port} is in use; choose another: MLFLOW_PORT=PORT make up" in done.stderr
    assert not (tmp_path / ".servers/mlflow.pid").exists()


def test_another_process_with_the_recorded_pid_is_not_stopped(repository, tmp_path):
    shutil.copy(repository / "Makefile", tmp_path)
    (tmp_path / ".servers").mkdir()
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as other:
        (tmp_path / ".servers/mlflow.pid").write_text(f"{other.pid}\n")
        done = make(tmp_path, "down")
        assert done.stdout.splitlines() == ["mlflow does not run", "prefect does not run"]
        assert other.poll() is None
        other.kill()
