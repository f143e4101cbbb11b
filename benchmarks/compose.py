"""Start what docker-compose.scale.yml starts, without an engine, and run a job on it.

    python -m benchmarks.compose      # root, buildah, and the image of benchmarks.containers

Each service's own command runs as the user of the image `worker` in its files, with the service's
environment, tmpfs and read-only root, after the health checks of those that it depends on. All
share a network of their own, in which the services' names are loopback. Two images are others' and
have stand-ins: PostgreSQL 17 with pgvector of Debian, and moto's S3 server.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import boto3
import psycopg
import yaml

from benchmarks.containers import MEMORY, ROOT, Chroot, output

FILE = ROOT / "docker-compose.scale.yml"
IMAGE = "localhost/faceops-worker"
SETTINGS = {"POSTGRES_PASSWORD": "of-postgres", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "of-s3"}
POSTGRES = "localhost/faceops-postgres:latest"
PROGRAMS = "/usr/lib/postgresql/17/bin"
START_POSTGRES = f"""
echo "$POSTGRES_PASSWORD" >/data/password
access="--username=$POSTGRES_USER --auth=scram-sha-256 --pwfile=/data/password"
{PROGRAMS}/initdb $access --no-locale --encoding=UTF8 /data/files
exec {PROGRAMS}/postgres -D /data/files -k /data
"""
PATIENCE_S = 180
# Logs a run with an artifact; then a flow, whose task says on which worker of Dask it runs.
JOB = """
import mlflow
from distributed import get_worker
from prefect import flow, task
from prefect_dask import DaskTaskRunner

@task
def where():
    return get_worker().address

@flow(task_runner=DaskTaskRunner(address="tcp://scheduler:8786"))
def ask():
    return where.submit().result()

with mlflow.start_run() as run:
    mlflow.log_text("seen", "note.txt")
print(run.info.run_id, ask())
"""


def interpolated(text: str, settings: Mapping[str, str]) -> str:
    """Replace ${NAME:-default} and ${NAME:?message} as compose does."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if kind == "?" and not settings.get(name):
            sys.exit(f"{name}: {rest}")
        return settings.get(name) or rest

    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, text)


class Services:
    """The services of the compose file, as processes."""

    def __init__(self, scratch: Path) -> None:
        self.file = yaml.safe_load(interpolated(FILE.read_text("utf-8"), SETTINGS))
        self.services: dict[str, dict[str, Any]] = self.file["services"]
        self.scratch, self.containers = scratch, Chroot()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.hosts = scratch / "hosts"
        self.hosts.write_text(f"127.0.0.1 localhost {' '.join(self.services)}\n")

    def command(self, name: str, words: list[str]) -> list[str]:
        """Return the command that runs words as a service does."""
        service = self.services[name]
        assert service["read_only"] and "user" not in service, name
        user = self.containers.config(IMAGE)["User"]
        places = [place.partition(":")[0] for place in service["tmpfs"]]
        places += [volume.partition(":")[2] for volume in service.get("volumes", [])]
        mounts = {"/etc/hosts": self.hosts, **dict.fromkeys(places, MEMORY)}
        variables = [f"{key}={value}" for key, value in service.get("environment", {}).items()]
        return self.containers.inside(IMAGE, words, user, mounts, variables)

    def spawn(self, name: str, command: list[str]) -> None:
        """Start a process whose log is in the scratch folder."""
        with (self.scratch / f"{name}.log").open("wb") as log:
            streams = {"stdout": log, "stderr": subprocess.STDOUT}
            self.processes[name] = subprocess.Popen(command, start_new_session=True, **streams)

    def start(self, name: str) -> None:
        """Start a service; wait until it is healthy, or has ended if it has no health check."""
        service, begin = self.services[name], time.monotonic()
        check = [str(word) for word in service["healthcheck"].get("test", [])[1:]]
        if name == "postgres":
            if not self.containers.has(POSTGRES):
                self.containers.make_debian(POSTGRES, "trixie", "postgresql-17-pgvector")
            variables = [f"{key}={value}" for key, value in service["environment"].items()]
            words = ["sh", "-ec", START_POSTGRES]
            run = self.containers.inside
            self.spawn(name, run(POSTGRES, words, "postgres", {"/data": MEMORY}, variables))
            check = run(POSTGRES, [f"{PROGRAMS}/{check[0]}", *check[1:]], "postgres", {}, ())
        elif name == "s3":
            check = ["bash", "-c", ": </dev/tcp/127.0.0.1/8333"]
            self.spawn(name, [sys.executable, "-m", "moto.server", "--port=8333"])
        else:
            check = self.command(name, check) if check else []
            self.spawn(name, self.command(name, [*service["entrypoint"], *service["command"]]))
        process = self.processes[name]
        while subprocess.run(check, capture_output=True).returncode if check else process.wait():
            if time.monotonic() - begin > PATIENCE_S or process.poll() is not None:
                sys.exit(f"{name} failed:\n{(self.scratch / f'{name}.log').read_text()[-3000:]}")
            time.sleep(1)
        if name == "postgres":
            self.sql("postgres", f"CREATE DATABASE {service['environment']['POSTGRES_DB']}")
            for statement in self.file["configs"]["databases"]["content"].splitlines():
                self.sql("faceops", statement)
        print(f"{name:<12}{time.monotonic() - begin:6.1f} s", flush=True)

    def sql(self, database: str, statement: str) -> list[Any]:
        """Run a statement in a database and return its rows."""
        settings = self.services["postgres"]["environment"]
        user, password = settings["POSTGRES_USER"], settings["POSTGRES_PASSWORD"]
        access = f"host=127.0.0.1 user={user} password={password} dbname={database}"
        with psycopg.connect(access, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def check(self) -> None:
        """Run the job as the service `identify` does, and look where its records are."""
        run, worker = output(*self.command("identify", ["python", "-c", JOB])).split()[-2:]
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "of-s3"}
        s3 = boto3.client("s3", endpoint_url="http://127.0.0.1:8333", **keys)
        names = [item["Key"] for item in s3.list_objects_v2(Bucket="faceops")["Contents"]]
        assert any(run in name and name.endswith("note.txt") for name in names), names
        (row,) = self.sql("mlflow", f"SELECT status FROM runs WHERE run_uuid = '{run}'")
        print(f"MLflow's run in PostgreSQL: {row[0]}; its artifact in the bucket: {names[0]}")
        rows = self.sql("prefect", "SELECT name, state_type FROM flow_run")
        print(f"Prefect's flow runs in PostgreSQL: {rows}; its task ran on {worker}")
        (row,) = self.sql("faceops", "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        print(f"pgvector {row[0]}")

    def stop(self) -> None:
        """End all processes."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
        self.containers.close()


def main() -> None:
    """Start the services, and run the job."""
    if "FACEOPS_OWN_NETWORK" not in os.environ:  # all processes end when this one does
        os.environ["FACEOPS_OWN_NETWORK"] = "1"
        new = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        os.execvp("unshare", ["unshare", *new, sys.executable, "-m", "benchmarks.compose"])
    output("ip", "link", "set", "lo", "up")
    with tempfile.TemporaryDirectory() as scratch:
        services = Services(Path(scratch))
        graph = {name: one.get("depends_on", {}) for name, one in services.services.items()}
        try:
            for name in TopologicalSorter(graph).static_order():
                if name != "identify":  # waits for its hour
                    services.start(name)
            services.check()
        finally:
            services.stop()


if __name__ == "__main__":
    main()
