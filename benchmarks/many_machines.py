"""The identify flow on a cluster: equal rows in every way, speed, and runs in which things fail.

    python -m benchmarks.many_machines --lfw LFW/lfw-deepfunneled --out OUT --table rows | speed
    python -m benchmarks.many_machines ... --table failures [--failures NAME ...]

Photos of LFW and the published release. The rows of faces.csv and unknown.csv, without the id of
the run, are compared with those of one undisturbed `faceops identify`. All servers run on this
machine; exit code 1 if a row is lost, doubled or different.

rows: the flow's thread pool, Dask with two and four workers, photos and shards in an S3 store,
results copied to it, and a gallery in PostgreSQL. speed: the flow by threads and by Dask, in turns.
failures: photos, shards and results in S3, the gallery in PostgreSQL, two workers of Dask, which a
supervisor starts again when they end. The command is run again until it ends well. Workers or the
driver are cut off by a network namespace, which takes root and `ip`.
"""

import argparse
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import FACEOPS, output, timed
from benchmarks.cluster import (
    BUCKET,
    MODEL,
    PREFECT,
    SCHEDULER,
    STORE,
    WORKER,
    Cluster,
    Rows,
    choose,
    copy_gallery,
    rows,
)
from experiments import parser
from tests.postgres_server import PostgresServer

STORE_S, POSTGRES_S = 30, 10
CUT_S = 60  # Dask closes a silent connection after 30 s
HOST, OTHER = "10.231.8.1", "10.231.8.2"
DRIVER = "flows.identify"
MOST_RUNS = 5


@contextmanager
def namespace() -> Iterator[str]:
    """Make a network namespace with the address OTHER, which reaches HOST here; yield its name."""
    name = f"faceops{os.getpid()}"
    try:
        output("ip", "netns", "add", name)
        output("ip", "link", "add", name, "type", "veth", "peer", "name", "wire", "netns", name)
        for where, device, address in ((("-n", name), "wire", OTHER), ((), name, HOST)):
            output("ip", *where, "address", "add", f"{address}/24", "dev", device)
            output("ip", *where, "link", "set", device, "up")
        output("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


class Row(NamedTuple):
    """What fails when, until all is well again, and whom the namespace cuts off."""

    name: str
    moment: Callable[["World"], bool]
    fail: Callable[["World"], None]
    cut_off: str = ""


class World:
    """All servers, workers and runs; `wire` is the namespace, `command` gets where results go.

    Attributes:
        out: the results of this row's runs.
    """

    def __init__(
        self, cluster: Cluster, postgres: PostgresServer, wire: str, command: Sequence[str]
    ) -> None:
        self._cluster, self._postgres, self._wire = cluster, postgres, wire
        self._scheduler = cluster.serve_scheduler()
        self._command = (*command, "--dask", self._scheduler)
        self._inside, self._cut_off, self.out = ("ip", "netns", "exec", wire), "", Path()

    def run(self, row: Row, out: Path) -> list[int]:
        """Run the command until it ends well, with one failure; return the exit codes."""
        if WORKER in (row.cut_off, self._cut_off) and row.cut_off != self._cut_off:
            for process in self._cluster.processes[WORKER]:
                process.kill()
                process.wait()
        self.out, self._cut_off = out, row.cut_off
        inside = self._inside if row.cut_off == DRIVER else ()
        command = (*self._command, "--out", f"s3://{BUCKET}/{out.name}", "--state", str(out))
        codes, has_failed = list[int](), False
        while len(codes) < MOST_RUNS and codes[-1:] != [0]:
            self._cluster.start(DRIVER, *command, inside=inside)
            driver = self._cluster.processes[DRIVER][-1]
            while driver.poll() is None:
                self.supervise()
                if not has_failed and row.moment(self):
                    row.fail(self)
                    has_failed = True
                time.sleep(0.02)
            codes.append(driver.returncode)
        if not has_failed:
            print(f"  {out.name}: the run ended before the failure", flush=True)
        return codes

    def supervise(self) -> None:
        """See that there are two workers."""
        alive = sum(process.poll() is None for process in self._cluster.processes[WORKER])
        inside = self._inside if self._cut_off == WORKER else ()
        self._cluster.add_workers(self._scheduler, 2 - alive, inside)

    def said(self) -> str:
        """Return all messages of this row's runs so far."""
        return self._cluster.log(DRIVER).read_text("utf-8", errors="replace")

    def messages(self) -> list[str]:
        """Return each warning, error and sentence of a run that failed; forget the others."""
        told = re.compile(r"[0-9:.]+ \| (?:WARNING|ERROR|CRITICAL) *\| (.*)|(identify: .*)")
        said = self.said()
        self._cluster.log(DRIVER).rename(self.out.with_suffix(".log"))
        lines = filter(None, map(told.match, said.splitlines()))
        found = [re.sub("^(Flow|Task) run '.*?' - ", "", line[1] or line[2]) for line in lines]
        tracebacks = said.count("Traceback")
        return list(dict.fromkeys(found)) + ([f"{tracebacks} tracebacks"] if tracebacks else [])

    def kill(self, module: str, down_s: float = 0) -> None:
        """Kill the process by SIGKILL that was started last, and start a server again later."""
        process = self._cluster.processes[module][-1]
        process.kill()
        process.wait()
        time.sleep(down_s)
        if module not in (DRIVER, WORKER):
            self._cluster.serve(module)

    def restart_postgres(self) -> None:
        """Stop PostgreSQL, which ends all connections, and start it again."""
        self._postgres.stop()
        time.sleep(POSTGRES_S)
        self._postgres.start()

    def cut(self) -> None:
        """Take the link down; nobody gets a closed connection."""
        output("ip", "-n", self._wire, "link", "set", "wire", "down")
        time.sleep(CUT_S)
        output("ip", "-n", self._wire, "link", "set", "wire", "up")


def has_faces(world: World) -> bool:
    """Whether a shard was taken in."""
    state = world.out / "state.sqlite"
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
        return bool(db.execute("SELECT EXISTS (SELECT 1 FROM files)").fetchone()[0])
    return False


def is_naming(world: World) -> bool:
    """Whether all shards are done, and the names and the results are being made."""
    return any((world.out / "runs").glob("*"))


def is_published(world: World) -> bool:
    """Whether the results are done here, and are being copied to the store."""
    return (world.out / "summary.json").is_file()


KILL_DRIVER, CUT = partial(World.kill, module=DRIVER), World.cut
ROWS = {
    "worker": Row("a worker killed", has_faces, partial(World.kill, module=WORKER)),
    "scheduler": Row("the scheduler killed, another one started", has_faces,
                     partial(World.kill, module=SCHEDULER)),
    "driver": Row("the driver killed between shards", has_faces, KILL_DRIVER),
    "driver-naming": Row("the driver killed while it names", is_naming, KILL_DRIVER),
    "driver-copy": Row("the driver killed while it copies results", is_published, KILL_DRIVER),
    "store": Row(f"S3 killed, away for {STORE_S} s", has_faces,
                 partial(World.kill, module=STORE, down_s=STORE_S)),
    "postgres": Row(f"PostgreSQL stopped for {POSTGRES_S} s", has_faces, World.restart_postgres),
    "prefect": Row("Prefect's server killed, started again", has_faces,
                   partial(World.kill, module=PREFECT)),
    "workers-cut": Row(f"workers cut off for {CUT_S} s", has_faces, CUT, WORKER),
    "driver-cut": Row(f"the driver cut off for {CUT_S} s", has_faces, CUT, DRIVER),
}  # fmt: skip


def compare(out: Path, expected: Rows) -> tuple[int, int, int]:
    """Return how many rows are lost, doubled and different."""
    found = rows(out) if (out / "faces.csv").is_file() else {name: [] for name in expected}
    lost = doubled = different = 0
    for name in expected:
        wanted, there = (
            {(row["photo_path"], row["face_index"]): row for row in tables[name]}
            for tables in (expected, found)
        )
        lost += len(wanted.keys() - there.keys())
        doubled += len(found[name]) - len(there)
        different += sum(wanted.get(key) != row for key, row in there.items())
    return lost, doubled, different


def failures(args: argparse.Namespace, album: Path, expected: Rows) -> bool:
    """Let one thing fail in each run; print the table, return whether rows differ."""
    out, wrong = args.out, 0
    here = out / time.strftime("%Y%m%dT%H%M%S")
    with (
        namespace() as wire,
        Cluster(here, HOST) as cluster,
        closing(PostgresServer()) as postgres,
    ):
        database = postgres.address("archive")
        copy_gallery(out, database)
        cluster.serve_store()
        cluster.serve_prefect()
        command = [cluster.make_bucket(album), *MODEL, "--gallery", database]
        command += ["--shard-photos", "32", "--shared", f"s3://{BUCKET}/s"]
        world = World(cluster, postgres, wire, command)
        print("| what | exit codes | lost, doubled, different | messages |")
        print("| --- | --- | --- | --- |", flush=True)
        for name in args.failures:
            codes = world.run(ROWS[name], here / name)
            counts = compare(cluster.fetch(name, here / f"{name}-copy"), expected)
            wrong += sum(counts) + abs(codes[-1])
            cells = (ROWS[name].name, *(", ".join(map(str, each)) for each in (codes, counts)))
            print(f"| {' | '.join((*cells, '<br>'.join(world.messages())))} |", flush=True)
    return bool(wrong)


FLOW = (sys.executable, "-m", DRIVER)


def same_rows(args: argparse.Namespace, album: Path, expected: Rows) -> bool:
    """Run in all ways; print and return whether rows differ."""
    out, different = args.out, False
    folder = str(out / "gallery")

    def compare(
        way: str, command: Sequence[str], photos: str | Path, gallery: str, *more: str, to: str = ""
    ) -> None:
        nonlocal different
        target = ("--out", to, "--state", out / way) if to else ("--out", out / way)
        timed(*command, photos, "--gallery", gallery, *MODEL, *target, *more)
        is_same = rows(out / way) == expected
        different |= not is_same
        print(f"{way}: {'the same' if is_same else 'DIFFERENT'} rows", flush=True)

    with Cluster(out) as cluster, closing(PostgresServer()) as server:
        cluster.serve_store()
        url, identify = cluster.make_bucket(album), (*FACEOPS, "identify")
        compare("photos in S3", identify, url, folder)
        compare("results to S3", identify, album, folder, to=f"s3://{BUCKET}/results")
        database = server.address("archive")
        copy_gallery(out, database)
        compare("gallery in PostgreSQL", identify, album, database)
        cluster.serve_prefect()
        address = cluster.serve_scheduler()
        cluster.add_workers(address, 2)
        dask = ("--shard-photos", "64", "--dask", address, "--shared")
        compare("thread pool", FLOW, album, folder, "--shard-photos", "64")
        compare("Dask, 2 workers", FLOW, album, folder, *dask, str(out / "shared"))
        cluster.add_workers(address, 2)
        shared = f"s3://{BUCKET}/shared"
        compare("Dask, 4 workers, photos and shards in S3", FLOW, url, folder, *dask, shared)
    return different


def speed(args: argparse.Namespace, album: Path, expected: Rows) -> bool:
    """Time the flow by threads and by Dask; print the table, return whether rows differ."""
    out, different = args.out, False
    seconds: dict[str, list[float]] = {"threads": [], "Dask": []}
    with Cluster(out) as cluster:
        cluster.serve_prefect()
        address = cluster.serve_scheduler()
        cluster.add_workers(address, args.workers)
        dask = ("--dask", address, "--shared", str(out / "shared"))
        options = ("--gallery", out / "gallery", *MODEL, "--shard-photos", "512")
        timed(*FLOW, out / "people", *options, "--out", out / "warm", *dask)
        for number in range(args.times):
            for way in list(seconds) if number % 2 else list(seconds)[::-1]:
                found = out / f"{way}{number}"
                more = dask if way == "Dask" else ()
                seconds[way].append(timed(*FLOW, album, *options, "--out", found, *more).seconds)
                different |= rows(found) != expected
    for way, taken in seconds.items():
        median = statistics.median(taken)
        print(f"| {way} | {median:.1f} s | {args.photos / median:.1f} photos/s |")
    return different


TABLES = {"rows": same_rows, "speed": speed, "failures": failures}


def main() -> int:
    """Make the album and the undisturbed run, then one table."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    text = "a new folder; for the table failures also that of an earlier call, which has the photos"
    options.add_argument("--out", type=Path, required=True, help=text)
    options.add_argument("--table", choices=TABLES, required=True)
    options.add_argument("--photos", type=int, default=160)
    options.add_argument("--failures", nargs="+", choices=ROWS, default=list(ROWS))
    options.add_argument("--workers", type=int, default=2, help="of the table speed")
    options.add_argument("--times", type=int, default=3, help="runs of the table speed")
    args = options.parse_args()
    args.out = args.out.resolve()
    album, expected = choose(args.lfw, args.photos, args.out)
    print({name: len(there) for name, there in expected.items()}, flush=True)
    return int(TABLES[args.table](args, album, expected))


if __name__ == "__main__":
    sys.exit(main())
