"""A Prefect server, suspended while nothing uses it, since it polls even when idle."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.http_server import free_port, wait_for


class PrefectServer:
    """The server, whose PREFECT_HOME is `home`; empty.db in it has the tables and no records."""

    def __init__(self, home: Path) -> None:
        port = str(free_port())
        self.home, self.address = home, f"http://127.0.0.1:{port}/api"
        with (home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--port", port],
                env=os.environ | {"PREFECT_HOME": str(home)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @contextmanager
    def running(self) -> Iterator[str]:
        """Let the server run; the value is its address."""
        self._signal(signal.SIGCONT)
        yield self.address
        self._signal(signal.SIGSTOP)

    def wait(self) -> None:
        """Wait until the new server answers, and suspend it."""
        wait_for(f"{self.address}/health", self._process, self.home / "log")
        with closing(sqlite3.connect(self.home / "prefect.db")) as db:
            db.execute("VACUUM INTO ?", (str(self.home / "empty.db"),))
        self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """End the server."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        self._process.wait(timeout=60)

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)
