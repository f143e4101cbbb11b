"""The schedules deployed, for real: `make up`, a worker, and runs of both deployments.

python experiments/deployed_run.py OUT

In OUT, a folder that it makes: a copy of this repository with a handful of synthetic people, its
two servers on free ports, a process worker started elsewhere, and every record of theirs. Runs
`weekly` twice (rebuild and register; nothing to do) with a second rebuild by hand beside the first,
then `nightly` three times (half of the photos; the other half too; the folder is gone). Prints a
table of what Prefect's server says about each run, and stops all that it started. About ten minutes
on two cores.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cron_twice import ask, free_port

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track

SOURCE = Path(__file__).resolve().parent.parent
LONGEST_S = 1800
LOGS_COME_S = 4  # Prefect sends them in batches
FEW = "--people 24 --photos 5 --gallery 6 --strangers 6 --scenes 12"
TINY = """
split: {train: 0.35, val: 0.4, test: 0.25}
validate: {max_rejected_share: 0.2}
evaluate: {robustness_photos: 8}
verify: {budget: 0.6}
gate: {min_people: 4, fpir: 0.5, far: 0.1, gallery_photos: 1, slice_people: 2}
train: {warmup_epochs: 1, triplet_epochs: 1, people_per_batch: 4, photos_per_person: 2}
"""


class Deployed:
    """A copy of the repository in `out`, its servers and its worker."""

    def __init__(self, out: Path) -> None:
        self.root = out / "repository"
        self.elsewhere = out / "elsewhere"
        self.log = out / "worker.log"
        ports = {"MLFLOW_PORT": str(free_port()), "PREFECT_PORT": str(free_port())}
        self.api = f"http://127.0.0.1:{ports['PREFECT_PORT']}/api"
        own = {
            **ports,
            "PREFECT_HOME": str(out / "prefect"),
            "PREFECT_API_URL": self.api,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports['MLFLOW_PORT']}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root / "src"),
        }
        self.environment = os.environ | own
        self.worker: subprocess.Popen[bytes] | None = None

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository; what it prints is shown when it fails."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise FaceOpsError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done

    def copy(self, people: str = FEW, params: str = TINY) -> None:
        """Copy what git would commit, and add synthetic people; `params` stand in tiny.yaml."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=SOURCE,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(SOURCE / name, self.root / name)
        self.elsewhere.mkdir()
        self.run("git", "init", "-q")
        self.run("faceops", "data", "synthetic", *people.split())
        (self.root / "tiny.yaml").write_text(params, encoding="utf-8")
        self.run("faceops", "params", "use", "tiny.yaml")
        self.run("git", "add", "-A")
        author = ["-c", "user.name=FaceOps", "-c", "user.email=faceops@example.org"]
        self.run("git", *author, "commit", "-qm", "a handful of people")

    def start(self) -> None:
        """Start the servers, deploy prefect.yaml, start a worker in another folder."""
        print(self.run(sys.executable, "-m", "flows.servers", "up").stdout.split("\n\n")[0])
        self.run("prefect", "work-pool", "create", "faceops", "--type", "process")
        self.run("prefect", "--no-prompt", "deploy", "--all")
        with self.log.open("wb") as log:
            self.worker = subprocess.Popen(
                ["prefect", "worker", "start", "--pool", "faceops", "--limit", "2"],
                cwd=self.elsewhere,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Stop the worker and the servers."""
        if self.worker is not None:
            self.worker.send_signal(signal.SIGTERM)
            try:
                self.worker.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(self.worker.pid, signal.SIGKILL)
        print(self.run(sys.executable, "-m", "flows.servers", "down", check=False).stdout)

    def trigger(self, deployment: str, **parameters: Any) -> str:
        """Ask for a run now; return its id."""
        command = ["prefect", "deployment", "run", deployment]
        for name, value in parameters.items():
            command += ["--param", f"{name}={json.dumps(value)}"]
        before = {run["id"] for run in ask(self.api, "/flow_runs/filter", {})}
        self.run(*command)
        body = {
            "flow_runs": {"deployment_id": {"is_null_": False}},
            "sort": "EXPECTED_START_TIME_DESC",
        }
        new = [run for run in ask(self.api, "/flow_runs/filter", body) if run["id"] not in before]
        (one,) = [run for run in new if not run["auto_scheduled"]]
        return str(one["id"])

    def state(self, run: str) -> dict[str, Any]:
        """Return the state of a run."""
        state: dict[str, Any] = ask(self.api, f"/flow_runs/{run}")["state"]
        return state

    def finished(self, run: str, what: str) -> dict[str, Any]:
        """Wait for the end of a run and return it."""
        for _ in track(range(LONGEST_S), f"seconds of {what}"):
            if self.state(run)["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                found: dict[str, Any] = ask(self.api, f"/flow_runs/{run}")
                return found
            time.sleep(1)
        raise FaceOpsError(f"{what} did not end in {LONGEST_S} s; see {self.log}")

    def artifacts(self, run: str) -> dict[str, list[dict[str, Any]]]:
        """Return the tables that a run left on its page, by key."""
        body = {"artifacts": {"flow_run_id": {"any_": [run]}, "type": {"any_": ["table"]}}}
        return {
            one["key"]: json.loads(one["data"]) for one in ask(self.api, "/artifacts/filter", body)
        }

    def said(self, run: str, *words: str) -> list[str]:
        """Return the lines of a run's log that hold one of `words`."""
        time.sleep(LOGS_COME_S)
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        lines = [one["message"] for one in ask(self.api, "/logs/filter", body)]
        return [line for line in lines if any(word in line for word in words)]


def told(deployed: Deployed, what: str, run: str, words: tuple[str, ...] = ()) -> None:
    """Wait for a run and print its row, its tables and what its log says of `words`."""
    ended = deployed.finished(run, what)
    state = ended["state"]
    message = (state.get("message") or "").splitlines()
    print(
        f"| {what} | {state['name']} | {ended['total_run_time']:.0f} s | {''.join(message[:1])} |"
    )
    for key, table in sorted(deployed.artifacts(run).items()):
        rows = (" ".join(f"{value}" for value in row.values() if value != "") for row in table)
        print(f"|   {key} | {'; '.join(rows)} | | |")
    for line in deployed.said(run, *words) if words else []:
        print(f"|   log | {line} | | |", flush=True)


def play(deployed: Deployed) -> None:
    """Run both deployments and print what became of each run."""
    print("| run | state | time | message |\n| --- | --- | --- | --- |")
    rebuilding = deployed.trigger("rebuild/weekly")
    while not deployed.said(rebuilding, "Running stage"):
        if deployed.state(rebuilding)["type"] in ("COMPLETED", "FAILED", "CRASHED"):
            break
    beside = deployed.run(sys.executable, "-m", "flows.rebuild", check=False)
    last = beside.stderr.strip().splitlines()[-1]
    print(f"| a rebuild by hand meanwhile | exit code {beside.returncode} | | {last} |")
    told(deployed, "weekly", rebuilding)
    told(deployed, "weekly again", deployed.trigger("rebuild/weekly"))
    print(deployed.run("faceops", "release", "list").stdout.strip())

    deployed.run("faceops", "enrol", "data/enrol", "--gallery", "gallery")
    photos = sorted(path for path in (deployed.root / "data/album").rglob("*") if path.is_file())
    folder = deployed.root / "photos"
    folder.mkdir()
    new = ("new", "nothing has changed", "recorded in MLflow", "Great Expectations")
    for what, some in (("nightly", photos[::2]), ("nightly, more photos", photos[1::2])):
        for path in some:
            shutil.copyfile(path, folder / path.name)
        told(deployed, what, deployed.trigger("identify/nightly"), new)
    told(deployed, "nightly, nothing new", deployed.trigger("identify/nightly"), new)
    results = (deployed.root / "found/faces.csv").read_bytes()
    folder.rename(deployed.root / "away")
    gone = deployed.trigger("identify/nightly", patience_s=5)
    told(deployed, "nightly, folder gone", gone, ("waiting for it",))
    if (deployed.root / "found/faces.csv").read_bytes() != results:
        raise FaceOpsError("the run without photos changed found/faces.csv")
    print("\nfound/:", *sorted(path.name for path in (deployed.root / "found").iterdir()))


def main() -> int:
    """Make the copy, start everything, run the deployments, stop everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--stay", action="store_true", help="wait for Enter before the end")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} exists; name a new folder")
    args.out.mkdir(parents=True)
    deployed = Deployed(args.out.resolve())
    try:
        deployed.copy()
        deployed.start()
        play(deployed)
        if args.stay:
            input(f"Prefect at {deployed.api}; press Enter to stop everything: ")
    except FaceOpsError as error:
        print(f"deployed_run: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        deployed.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
