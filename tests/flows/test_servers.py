"""`make up` and `make down`: real servers, one store with and without them, no stranger harmed."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from flows.servers.definition import HOST, Server, define_servers
from flows.servers.lifecycle import answers, record_file, running, start_servers, stop_servers
from flows.servers.port_holder import port_is_free
from flows.servers.process_record import ProcessRecord


def free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in (one, two)]


@pytest.fixture
def servers(tmp_path: Path) -> list[Server]:
    mlflow, prefect = free_ports()
    ports = {"MLFLOW_PORT": str(mlflow), "PREFECT_PORT": str(prefect)}
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_HOME"}
    return define_servers(tmp_path, environment | ports)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def quick(server: Server, code: str) -> Server:
    """Return `server` with a program of our own in its place."""
    return replace(server, command=(sys.executable, "-c", code))


ANSWER = """
import http.server, sys
class Well(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", {port}), Well).serve_forever()
"""


@pytest.mark.slow
def test_what_the_servers_record_is_there_without_them_and_they_start_and_stop_once(
    tmp_path: Path,
    servers: list[Server],
    sface_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import mlflow

    from faceops.release.registry.find_release import find_release
    from faceops.release.registry.register import register
    from faceops.release.registry.tracking import use_tracking
    from faceops.release.registry.versions import versions

    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    by_server, _ = servers
    try:
        assert start_servers(tmp_path, servers) == ["mlflow", "prefect"]
        assert all(answers(server.base, server.health) for server in servers)
        prefect = servers[1]
        with urllib.request.urlopen(f"{prefect.base}/ui-settings") as answer:
            assert json.load(answer)["api_url"] == f"{prefect.base}/api"
        pids = [running(tmp_path, server) for server in servers]
        assert start_servers(tmp_path, servers) == []
        assert [running(tmp_path, server) for server in servers] == pids

        monkeypatch.setenv("MLFLOW_TRACKING_URI", by_server.base)
        use_tracking(tmp_path)
        with mlflow.start_run() as run:
            pass
        capsys.readouterr()
        made = register(sface_bundle, run.info.run_id, "through the server")
        assert capsys.readouterr().out == ""  # `faceops release register --json` prints JSON only
    finally:
        stopped = stop_servers(tmp_path, servers)
    assert stopped == ["mlflow", "prefect"]
    assert stop_servers(tmp_path, servers) == []
    assert all(port_is_free(HOST, server.port) for server in servers)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    use_tracking(tmp_path)
    assert versions() == [made]
    bundle = find_release("models:/faceops@champion", tmp_path).folder
    assert (bundle / "release.json").read_bytes() == (sface_bundle / "release.json").read_bytes()
    assert list((tmp_path / "mlartifacts").iterdir())
    assert not (tmp_path / "mlruns").exists()
    assert (tmp_path / ".servers/prefect/prefect.db").is_file()


def test_a_port_that_another_program_has_is_told_and_nothing_is_started(
    tmp_path: Path, servers: list[Server]
) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, servers[1].port))
        taken.listen()
        with pytest.raises(FaceOpsError) as told:
            start_servers(tmp_path, servers)
    sentence = str(told.value)
    assert f"port {servers[1].port} for Prefect is taken by" in sentence
    assert f"pid {os.getpid()}" in sentence or sys.platform == "darwin"
    assert "PREFECT_PORT=PORT make up" in sentence
    assert not any(running(tmp_path, server) for server in servers)
    assert not any(record_file(tmp_path, server.name).exists() for server in servers)


def test_a_pid_file_whose_process_is_gone_does_not_count(
    tmp_path: Path, servers: list[Server], sleeper: subprocess.Popen[bytes]
) -> None:
    server = servers[0]
    command = tuple(map(str, sleeper.args))  # type: ignore[arg-type]
    ProcessRecord.of(sleeper.pid, command, server.base).write(record_file(tmp_path, server.name))
    assert running(tmp_path, server) is not None
    sleeper.kill()
    sleeper.wait()
    assert running(tmp_path, server) is None
    assert stop_servers(tmp_path, servers) == []
    assert not record_file(tmp_path, server.name).exists()


@pytest.mark.parametrize("differs", ["start", "command"])
def test_a_stranger_with_the_recorded_pid_is_left_alone(
    tmp_path: Path, servers: list[Server], sleeper: subprocess.Popen[bytes], differs: str
) -> None:
    server = servers[0]
    record = ProcessRecord.of(sleeper.pid, tuple(map(str, sleeper.args)), server.base)  # type: ignore[arg-type]
    if differs == "start":
        record = replace(record, started=record.started - 3600)
    else:
        record = replace(record, command=list(server.command))
    record.write(record_file(tmp_path, server.name))
    assert stop_servers(tmp_path, servers) == []
    assert sleeper.poll() is None


def test_a_process_lives_from_the_moment_it_is_started() -> None:
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    for _ in range(100):  # on a busy machine some have no command line yet
        with subprocess.Popen(command) as process:
            alive = ProcessRecord.of(process.pid, command, "").process()
            process.kill()
        assert alive is not None


@pytest.mark.parametrize("content", ["", "4711\n", '{"pid": 1}', "[]"])
def test_a_broken_pid_file_counts_as_none(
    tmp_path: Path, servers: list[Server], content: str
) -> None:
    path = record_file(tmp_path, servers[0].name)
    path.parent.mkdir()
    path.write_text(content)
    assert running(tmp_path, servers[0]) is None


def test_when_one_does_not_come_up_its_last_words_are_told_and_the_other_is_stopped(
    tmp_path: Path, servers: list[Server]
) -> None:
    well = quick(servers[0], ANSWER.format(port=servers[0].port))
    ends = quick(servers[1], "import time; time.sleep(1); raise SystemExit('the disk is full')")
    with pytest.raises(FaceOpsError, match=r"Prefect ended while it started \(the disk is full\)"):
        start_servers(tmp_path, [well, ends])
    assert port_is_free(HOST, well.port)
    assert not record_file(tmp_path, well.name).exists()


def test_stopping_ends_what_a_server_started_too(tmp_path: Path, servers: list[Server]) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {ANSWER!r}]).wait()"
    server = quick(servers[0], code.replace("{port}", str(servers[0].port)))
    assert start_servers(tmp_path, [server]) == ["mlflow"]
    record = running(tmp_path, server)
    assert record
    (child,) = psutil.Process(record.pid).children()
    assert stop_servers(tmp_path, [server]) == ["mlflow"]
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert port_is_free(HOST, server.port)


@pytest.mark.parametrize(
    ("ports", "says"),
    [
        ({"MLFLOW_PORT": "http"}, "MLFLOW_PORT=http is no port"),
        ({"PREFECT_PORT": "70000"}, "PREFECT_PORT=70000 is no port"),
        ({"MLFLOW_PORT": "4200"}, "both 4200"),
    ],
)
def test_a_wrong_port_is_refused(tmp_path: Path, ports: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        define_servers(tmp_path, ports)


def test_a_server_does_not_take_another_server_for_its_own(tmp_path: Path) -> None:
    outer = {"MLFLOW_TRACKING_URI": "http://there", "PREFECT_API_URL": "http://there/api"}
    for server in define_servers(tmp_path, outer):
        assert not set(outer) & set(server.environment)


def test_two_at_once_do_not_start_the_servers_twice(tmp_path: Path, servers: list[Server]) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from faceops.base.locks import folder_lock\n"
        f"with folder_lock(Path({str(tmp_path / '.servers')!r})):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FaceOpsError, match=f"pid {holder.pid}"):
            start_servers(tmp_path, servers)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert stop_servers(tmp_path, servers) == []  # a killed holder holds nobody up
