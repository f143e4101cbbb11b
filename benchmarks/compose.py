"""Start what the compose files start, without an engine, and name people with it.

    python -m benchmarks.compose --lfw LFW/lfw-deepfunneled   # with images of benchmarks.containers

Each service's own command runs in the files of its image, as its user, with its environment, tmpfs,
volumes and a read-only root, after the health checks of those that it depends on. It has a network
namespace; its name is an address on a bridge. The images of others have stand-ins: PostgreSQL 17
with pgvector of Debian, and moto's S3 server.
"""

import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import httpx
import mlflow
import psutil
import psycopg
import s3fs
import yaml

from benchmarks.containers import MEMORY, ROOT, Containers, copy_album, output, wrong_names

SETTINGS = {  # what .env would have
    "POSTGRES_PASSWORD": "of-postgres",
    "S3_ACCESS_KEY": "key",
    "S3_SECRET_KEY": "of-s3",
    "TZ": "Europe/Berlin",
}
POSTGRES = "localhost/faceops-postgres:latest"
PROGRAMS = "/usr/lib/postgresql/17/bin"
START_POSTGRES = f"""
echo "$POSTGRES_PASSWORD" >/tmp/password
access="--username=$POSTGRES_USER --auth=scram-sha-256 --pwfile=/tmp/password"
{PROGRAMS}/initdb $access --no-locale --encoding=UTF8 /tmp/files
echo "host all all all scram-sha-256" >>/tmp/files/pg_hba.conf
exec {PROGRAMS}/postgres -D /tmp/files -k /tmp -h '*'
"""
PUT = "import s3fs; s3fs.S3FileSystem().put('/photos/', 'faceops/photos/', recursive=True)"
PATIENCE_S = 900
PEOPLE = 20
DEPLOYED = ["prefect", "deployment"]


def interpolated(text: str, settings: Mapping[str, str]) -> str:
    """Replace ${NAME:-default} and ${NAME:?message} as compose does."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if kind == "?" and not settings.get(name):
            sys.exit(f"{name}: {rest}")
        return settings.get(name) or rest

    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, text)


class Services:
    """The services of a compose file, as processes; `here` is the folder of the file."""

    def __init__(self, file: str, here: Path, scratch: Path, second: str = "") -> None:
        text = interpolated((ROOT / file).read_text("utf-8"), SETTINGS)
        self.file, self.here, self.scratch = yaml.safe_load(text), here, scratch
        self.services: dict[str, dict[str, Any]] = self.file["services"]
        if second:  # one more of this service
            self.services[f"{second}-2"] = self.services[second]
        self.containers = Containers()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        addresses = {name: f"10.89.0.{host}" for host, name in enumerate(self.services, 2)}
        output("ip", "link", "add", "name", "services", "type", "bridge")
        output("ip", "address", "add", "10.89.0.1/24", "dev", "services")
        output("ip", "link", "set", "services", "up")
        for name, address in addresses.items():
            inner = ["type", "veth", "peer", "name", "eth0", "netns", name]
            output("ip", "netns", "add", name)
            output("ip", "link", "add", f"of-{name}", "master", "services", "up", *inner)
            output("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                output("ip", "-n", name, "link", "set", link, "up")
        self.hosts = scratch / "hosts"
        lines = [f"{address} {name}\n" for name, address in addresses.items()]
        self.hosts.write_text("".join(["127.0.0.1 localhost\n", *lines]), "utf-8")
        output("mount", "--bind", self.hosts, "/etc/hosts")

    def command(
        self, name: str, words: list[str], more: Mapping[str, Path] | None = None
    ) -> list[str]:
        """Return the command that runs words as a service does; `more` is mounted too."""
        service = self.services[name]
        network = ["ip", "netns", "exec", name]
        variables = [f"{key}={value}" for key, value in service.get("environment", {}).items()]
        image = f"localhost/{service['image']}"
        if name == "postgres":
            image, user, mounts = POSTGRES, "postgres", {"/tmp": MEMORY}
        else:
            assert service["read_only"] and service["cap_drop"] == ["ALL"], name
            user = str(service.get("user", self.containers.config(image)["User"]))
            user += ":0" if user.isdecimal() else ""
            mounts = {service.get("working_dir", "/home/faceops"): self.scratch}
            mounts |= dict.fromkeys((each.partition(":")[0] for each in service["tmpfs"]), MEMORY)
            for volume in service.get("volumes", []):
                source, _, place = volume.partition(":")
                mounts[place] = self.here if source == "." else self.scratch / f"volume-{source}"
                if source != "." and not mounts[place].exists():
                    mounts[place].mkdir()
                    mounts[place].chmod(0o1777)
        mounts = {**mounts, "/etc/hosts": self.hosts, **(more or {})}
        return [*network, *self.containers.command(image, words, mounts, user, variables)]

    def start(self, name: str) -> None:
        """Start a service; wait until it is healthy, or has ended if it does not run on."""
        service, begin = self.services[name], time.monotonic()
        check = [str(word) for word in service["healthcheck"].get("test", [])[1:]]
        words = [*service.get("entrypoint", []), *service.get("command", [])]
        if name == "postgres":
            if not self.containers.has(POSTGRES):
                self.containers.make_debian(POSTGRES, "trixie", "postgresql-17-pgvector")
            words, check = ["sh", "-ec", START_POSTGRES], [f"{PROGRAMS}/{check[0]}", *check[1:]]
        if name == "s3":
            server = [sys.executable, "-m", "moto.server", "--host=0.0.0.0", "--port=8333"]
            command = ["ip", "netns", "exec", name, *server]
            check = ["bash", "-c", ": </dev/tcp/s3/8333"]
        else:
            command = self.command(name, words)
            check = self.command(name, check) if check else []
        with (self.scratch / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        cost = f", {self.wait_for(name, check):.2f} s of CPU for a health check" if check else ""
        if service["restart"] == "no" and self.processes[name].wait():
            self.fail(name)
        if name == "postgres":
            self.create_databases()
        print(f"{name}: {time.monotonic() - begin:.1f} s{cost}", flush=True)

    def wait_for(self, name: str, command: list[str]) -> float:
        """Repeat a command until it succeeds; return the CPU seconds of the last time."""
        begin = time.monotonic()
        while True:
            before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
            if not subprocess.run(command, capture_output=True).returncode:
                return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
            if time.monotonic() - begin > PATIENCE_S or self.processes[name].poll() is not None:
                self.fail(name)
            time.sleep(1)

    def fail(self, name: str) -> None:
        """Exit with the end of a service's log."""
        sys.exit(f"{name} failed:\n{(self.scratch / f'{name}.log').read_text('utf-8')[-3000:]}")

    def create_databases(self) -> None:
        """Do what the image of PostgreSQL does at its first start."""
        first = f"CREATE DATABASE {self.services['postgres']['environment']['POSTGRES_DB']}"
        then = self.file["configs"]["databases"]["content"].splitlines()
        for database, statements in (("postgres", [first]), ("faceops", then)):
            access = f"host=postgres user=faceops password=of-postgres dbname={database}"
            with psycopg.connect(access, autocommit=True) as connection:
                for statement in statements:
                    connection.execute(statement)

    def run(self, name: str, words: list[str], more: Mapping[str, Path] | None = None) -> str:
        """Run words as a service does, in its network, and return what they print."""
        return output(*self.command(name, words, more))

    def run_deployment(self, name: str, deployment: str) -> None:
        """Run a deployment of Prefect that a service serves, and wait for its end."""
        command = self.command(name, [*DEPLOYED, "run", deployment, "--watch"])
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            self.fail(name)

    def report(self) -> None:
        """Print what servers know of the runs, and the memory of the services."""
        api = "http://prefect:4200/api"
        for what in ("flow_runs", "task_runs"):
            runs = httpx.post(f"{api}/{what}/filter", json={}).raise_for_status().json()
            names = [f"{run['name']} {run['state_name']}" for run in runs if run["start_time"]]
            print(f"Prefect's {what}: {', '.join(names)}")
        client = mlflow.MlflowClient("http://mlflow:5000")
        for run in client.search_runs([each.experiment_id for each in client.search_experiments()]):
            files = [file.path for file in client.list_artifacts(run.info.run_id)]
            print(f"MLflow's run: {run.info.run_name} {run.info.status} {files}")
        for name, process in self.processes.items():
            if process.poll() is None:
                server = psutil.Process(process.pid)
                each = [one.memory_info().rss for one in (server, *server.children(recursive=True))]
                print(f"{name}: {sum(each) / 2**20:.0f} MiB")

    def stop(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.containers.close()
        output("umount", "/etc/hosts")
        for name in self.services:
            output("ip", "netns", "delete", name)
        output("ip", "link", "delete", "services")


def on_one_machine(services: Services, album: Path) -> str:
    """Name people by a deployment of docker-compose.yml; return the records."""
    for folder in ("people", "photos"):
        (album / folder).rename(services.here / folder)
    output("chown", "-R", "1000:0", services.here)
    services.run("worker", ["faceops", "enrol", "people", "--gallery", "gallery"])
    services.wait_for(
        "worker", services.command("worker", [*DEPLOYED, "inspect", "identify/nightly"])
    )
    services.run_deployment("worker", "identify/nightly")
    return (services.here / "found/faces.csv").read_text("utf-8")


def on_several_workers(services: Services, album: Path) -> str:
    """Name people by the flow that docker-compose.scale.yml serves; return the records."""
    services.run("identify", ["python", "-c", PUT], {"/photos": album / "photos"})
    (gallery,) = (word for word in services.services["identify"]["command"] if "--gallery" in word)
    enrol = ["faceops", "enrol", "/people", gallery]
    print(services.run("identify", enrol, {"/people": album / "people"}).strip())
    services.start("identify")
    inspect = services.command("identify", [*DEPLOYED, "inspect", "identify/identify"])
    services.wait_for("identify", inspect)
    print((services.scratch / "identify.log").read_text("utf-8").strip())
    services.run_deployment("identify", "identify/identify")
    s3 = s3fs.S3FileSystem(key="key", secret="of-s3", endpoint_url="http://s3:8333")
    names = [name for name in s3.find("faceops") if not name.endswith(".jpg")]
    print(f"in the bucket: {', '.join(names)}")
    return str(s3.cat_file("faceops/results/faces.csv"), "utf-8")


FILES = {
    "docker-compose.yml": (on_one_machine, ""),
    "docker-compose.scale.yml": (on_several_workers, "worker"),
}


def main() -> None:
    """Start the services of each file, and name people with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True, help="a folder for each person")
    parser.add_argument("--files", nargs="+", choices=FILES, default=list(FILES))
    args = parser.parse_args()
    if "FACEOPS_OWN_NETWORK" not in os.environ:  # all processes end when this one does
        os.environ["FACEOPS_OWN_NETWORK"] = "1"
        new = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        module = ["-m", "benchmarks.compose", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", *new, sys.executable, *module])
    Path("/run/netns").mkdir(exist_ok=True)
    output("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    problems = []
    for file in args.files:
        name_people, second = FILES[file]
        with tempfile.TemporaryDirectory() as folder:
            scratch, here = Path(folder), Path(folder, "repository")
            output("git", "clone", "--quiet", ROOT, here)
            print(file, flush=True)
            services = Services(file, here, scratch, second)
            graph = {name: one.get("depends_on", {}) for name, one in services.services.items()}
            try:
                for name in TopologicalSorter(graph).static_order():
                    if name != "identify":  # needs a gallery
                        services.start(name)
                expected = copy_album(args.lfw, scratch, PEOPLE)
                problems += wrong_names(name_people(services, scratch), expected)
                services.report()
            finally:
                services.stop()
    sys.exit("\n".join(problems) or None)


if __name__ == "__main__":
    main()
