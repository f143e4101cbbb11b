"""The identify flow on a Dask cluster of this machine, against its thread pool.

    python -m benchmarks.dask_overhead --lfw DIR --out OUT [--photos 5000] [--workers 2] [--times 3]

Whole commands over the same photos of LFW into new output folders, with the published release, in
alternating order; the Prefect server, the scheduler and the workers (one thread each) run already,
and have worked on photos before.
The medians, their ratio, and whether the rows are those of `faceops identify`.
"""

import argparse
import csv
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import FACEOPS, timed

ENROLLED = 100  # people
SERVER_S = 300  # for the server to start


def free_port() -> int:
    """Return a port of the loopback that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(folder: Path, module: str, *arguments: str) -> Iterator[None]:
    """Run a module as a process of its own, with its log in `folder`."""
    with (folder / f"{module}.log").open("ab") as log:
        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    """Wait until a server listens."""
    for _ in range(SERVER_S):
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(1)
    sys.exit(f"nothing listens on port {port} after {SERVER_S} s; see the logs")


def start_cluster(start: Callable[..., None]) -> str:
    """Start Prefect's server, for this process and its children, and a Dask scheduler.

    `start` runs a module, see `running`. Returns the scheduler's address.
    """
    api, scheduler = free_port(), free_port()
    start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(api))
    listen = ("--host", "127.0.0.1", "--port", str(scheduler), "--no-dashboard")
    start("distributed.cli.dask_scheduler", *listen)
    wait_for(api)
    wait_for(scheduler)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{api}/api"
    return f"tcp://127.0.0.1:{scheduler}"


def add_workers(start: Callable[..., None], address: str, count: int) -> None:
    """Start workers of one thread each."""
    for _ in range(count):
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
        start("distributed.cli.dask_worker", address, *options)


def choose(lfw: Path, photos: int, out: Path) -> tuple[Path, Path]:
    """Copy photos and one photo each of people to enrol; return both folders."""
    album, people = out / "album", out / "people"
    found = sorted(lfw.glob("*/*.jpg"))[: photos + ENROLLED]
    firsts = [path for path in found if path.stem.endswith("_0001")][:ENROLLED]
    for path in firsts:
        (people / path.parent.name).mkdir(parents=True)
        shutil.copyfile(path, people / path.parent.name / path.name)
    album.mkdir()
    for path in [path for path in found if path not in set(firsts)][:photos]:
        shutil.copyfile(path, album / path.name)
    return album, people


def rows(out: Path) -> dict[str, list[dict[str, str]]]:
    """Return the rows of a run's tables without what differs from run to run."""
    tables = {}
    for name in ("faces.csv", "unknown.csv"):
        with (out / name).open(newline="", encoding="utf-8") as file:
            found = csv.DictReader(file)
            tables[name] = [{**row, "run_id": ""} for row in found]
    return tables


def main() -> None:
    """Run all; print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dask_overhead")
    parser.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--shard-photos", type=int, default=512)
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, ("src", ".")))
    os.environ["PREFECT_HOME"] = str(out / "prefect")
    album, people = choose(args.lfw, args.photos, out)
    release = ("--gallery", out / "gallery", "--model", "published", "--precision", "float32")
    timed(*FACEOPS, "enrol", people, *release)
    timed(*FACEOPS, "identify", album, *release, "--out", out / "alone")
    seconds: dict[str, list[float]] = {"threads": [], "Dask": []}
    different = []
    with ExitStack() as stack:
        start = lambda *command: stack.enter_context(running(out, *command))  # noqa: E731
        address = start_cluster(start)
        add_workers(start, address, args.workers)
        dask = ("--dask", address, "--shared", str(out / "shared"))
        command = (sys.executable, "-m", "flows.identify")
        timed(*command, people, *release, "--out", out / "warm", "--shard-photos", "32", *dask)
        flow = (*command, album, *release)
        for number in range(args.times):
            order = list(seconds) if number % 2 else list(seconds)[::-1]
            for name in order:
                found = out / f"{name}{number}"
                where = ("--out", found, "--shard-photos", str(args.shard_photos))
                where = (*where, *(dask if name == "Dask" else ()))
                seconds[name].append(timed(*flow, *where).seconds)
                print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
                if rows(found) != rows(out / "alone"):
                    different.append(found.name)
    print("| way | seconds, median | photos/s |\n| --- | ---: | ---: |")
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, median in medians.items():
        print(f"| {name} | {median:.1f} | {args.photos / median:.1f} |")
    print(f"Dask / threads, {args.workers} workers: {medians['Dask'] / medians['threads']:.3f}")
    print(f"rows that differ from `faceops identify`: {', '.join(different) or 'none'}")


if __name__ == "__main__":
    main()
