"""A Prefect server for the tests of flows."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.identification.conftest import known_photos, out  # noqa: F401  fixtures


@pytest.fixture(scope="session")
def server_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PREFECT_HOME of the server of `prefect_process`."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def prefect_process(server_home: Path) -> Iterator[tuple[str, int]]:
    """A temporary Prefect server, suspended: its address and the id of its process group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
        env=os.environ | {"PREFECT_HOME": str(server_home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(180):
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        else:
            pytest.fail("the Prefect server did not start in 180 s")
        with closing(sqlite3.connect(server_home / "prefect.db")) as db:
            db.execute("VACUUM INTO ?", (str(server_home / "empty.db"),))
        os.killpg(process.pid, signal.SIGSTOP)
        yield address, process.pid
    finally:
        for number in (signal.SIGTERM, signal.SIGCONT):
            os.killpg(process.pid, number)
        process.wait(timeout=60)


@pytest.fixture
def prefect_server(prefect_process: tuple[str, int]) -> Iterator[str]:
    """The address of a Prefect server; it runs during a test, since it polls even when idle."""
    address, group = prefect_process
    os.killpg(group, signal.SIGCONT)
    yield address
    os.killpg(group, signal.SIGSTOP)


@pytest.fixture
def prefect_home(server_home: Path, prefect_process: tuple[str, int], tmp_path: Path) -> Path:
    """A PREFECT_HOME of this test's own: making the tables takes seven CPU seconds, a copy none."""
    home = tmp_path / "prefect"
    home.mkdir()
    shutil.copy(server_home / "empty.db", home / "prefect.db")
    return home
