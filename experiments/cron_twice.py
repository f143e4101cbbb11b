"""The schedule, for real: a served flow fires twice by cron against a running Prefect server.

python experiments/cron_twice.py PHOTOS_DIR --gallery gallery --bundle build/export --out OUT

Starts a Prefect server, serves the flow for every minute on a copy of the first half of the
photos, adds the rest after the first run, and prints what each run's shards had to open: the second
one only what is new.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

LONGEST_S = 420.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def ask(api: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Return the server's answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{api}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_for(what: str, test: Any) -> Any:
    """Return the first true value of `test`."""
    began = time.monotonic()
    while time.monotonic() - began < LONGEST_S:
        try:
            if found := test():
                return found
        except (urllib.error.URLError, OSError, ValueError):
            pass
        time.sleep(1)
    sys.exit(f"waited {LONGEST_S:g} s in vain for {what}")


def finished(out: Path, done: int) -> dict[str, Any] | None:
    """Return the summary of the latest run when more than `done` runs are finished."""
    if len(list((out / "runs").glob("[!.]*"))) <= done:
        return None
    content: dict[str, Any] = json.loads((out / "summary.json").read_text("utf-8"))
    return content


def main() -> None:
    """Serve, wait for two firings, print what each did."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos_dir", type=Path)
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=200, help="at most so many")
    args = parser.parse_args()
    photos = sorted(path for path in args.photos_dir.rglob("*") if path.is_file())[: args.photos]
    first, rest = photos[::2], photos[1::2]
    album, found = args.out / "album", args.out / "found"
    album.mkdir(parents=True)
    for path in first:
        shutil.copyfile(path, album / path.name)
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str((args.out / "prefect").resolve()),
    }
    server = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    flow = [sys.executable, "-m", "flows.identify", str(album), "--gallery", str(args.gallery)]
    flow += ["--bundle", str(args.bundle), "--out", str(found), "--serve", "--cron", "* * * * *"]
    processes = []
    try:
        for command, log in ((server, "server.log"), (flow, "flow.log")):
            with (args.out / log).open("w") as file:
                processes.append(
                    subprocess.Popen(
                        command, env=environment, stdout=file, stderr=file, start_new_session=True
                    )
                )
            if command is server:
                wait_for("the server", lambda: ask(api, "/health"))
        one = wait_for("the first run", lambda: finished(found, 0))
        print(f"first run, {one['started']}: {one['photos']} photos")
        for path in rest:
            shutil.copyfile(path, album / path.name)
        two = wait_for("the second run", lambda: finished(found, 1))
        print(f"second run, {two['started']}: {two['photos']} photos; by the flow's log:")
        body = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "RUNNING"]}}}}
        for run in ask(api, "/flow_runs/filter", body):
            print(f"  {run['name']}: {run['state_type']}, scheduled by {run['created_by']['type']}")
        log = (args.out / "flow.log").read_text("utf-8", "replace")
        for line in log.splitlines():
            if "new" in line and "shard" in line:
                print(f"  {line.strip()}")
    finally:
        for process in reversed(processes):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


if __name__ == "__main__":
    main()
