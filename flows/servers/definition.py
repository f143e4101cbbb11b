"""What the two servers are: their commands, ports, stores and addresses."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faceops.base.errors import UsageError

HOST = "127.0.0.1"
SERVERS_FOLDER = ".servers"
# A server that was told another server's address would take it for its own.
_NOT_FOR_SERVERS = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "PREFECT_API_URL")


@dataclass(frozen=True)
class Server:
    """One server on this machine.

    `variable` is the environment variable that points its clients at `base` + `api`, and
    `port_variable` the one that chooses its port.
    """

    name: str
    title: str
    command: tuple[str, ...]
    port: int
    port_variable: str
    variable: str
    health: str
    api: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self.port}"


def _port(variable: str, default: int, environment: Mapping[str, str]) -> int:
    text = environment.get(variable) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise UsageError(f"{variable}={text} is no port; give a number from 1 to 65535.")
    return int(text)


def define_servers(root: Path, environment: Mapping[str, str] = os.environ) -> list[Server]:
    """Return the servers of the repository `root`.

    MLflow serves the store that everything uses without a server: `root`/mlflow.db and
    `root`/mlartifacts, by absolute paths, so that records made with and without the server are
    one history. Prefect's records go to PREFECT_HOME, else into `root`/.servers.

    Raises:
        UsageError: MLFLOW_PORT or PREFECT_PORT is no port, or both are one.
    """
    root = root.resolve()
    shared = {key: value for key, value in environment.items() if key not in _NOT_FOR_SERVERS}
    mlflow_port = _port("MLFLOW_PORT", 5000, environment)
    prefect_port = _port("PREFECT_PORT", 4200, environment)
    if mlflow_port == prefect_port:
        raise UsageError(f"MLFLOW_PORT and PREFECT_PORT are both {mlflow_port}; give two ports.")
    artifacts = (root / "mlartifacts").as_uri()
    mlflow = Server(
        name="mlflow",
        title="MLflow",
        command=(
            *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", f"{mlflow_port}"),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{root}/mlflow.db"),
            *("--default-artifact-root", artifacts, "--artifacts-destination", artifacts),
        ),
        port=mlflow_port,
        port_variable="MLFLOW_PORT",
        variable="MLFLOW_TRACKING_URI",
        health="/health",
        # Its eight processes for jobs on language models' traces: nothing here makes any.
        environment=shared | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    home = environment.get("PREFECT_HOME") or str(root / SERVERS_FOLDER / "prefect")
    prefect = Server(
        name="prefect",
        title="Prefect",
        command=(
            *(sys.executable, "-m", "prefect", "server", "start"),
            *("--host", HOST, "--port", f"{prefect_port}"),
        ),
        port=prefect_port,
        port_variable="PREFECT_PORT",
        variable="PREFECT_API_URL",
        health="/api/health",
        api="/api",
        # Its pages look for the API at port 4200, whatever port it was given.
        environment=shared
        | {
            "PREFECT_HOME": home,
            "PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{prefect_port}/api",
        },
    )
    return [mlflow, prefect]
